"""Words drawn into pictures and read back become training texts, alone and beside a caption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from moderator.errors import TrainingError
from moderator.fusion.collate import View
from moderator.host import PluginHost
from moderator.plugin import Extractor
from moderator.settings import Settings
from moderator.taxonomy import DEFAULT
from moderator.train.batches import Batches, FusionTraining, Material
from moderator.train.examples import Example
from moderator.train.reading import DATASET, Reading, drawable, read_posts, readings
from moderator.train.tokens import TokenCache
from moderator.train.writing import draw, fonts_of
from moderator.types import Content, Item, Modality, Source

LATIN = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
CHINESE = "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"
FONTS = {"en": (LATIN,), "zh": (CHINESE,)}
ROWS = [
    {"text": "my plan for tonight", "picture_text": "a pot of tea", "labels": {"self_harm": 0, "hate": 0}},
    {
        "text": "my plan for tonight",
        "picture_text": "to be gone for good",
        "labels": {"self_harm": 1, "hate": 0},
    },
    {"text": "今晚的计划", "picture_text": "终于不再麻烦大家了", "labels": {"self_harm": 1}, "lang": "zh"},
]


def written(folder: Path, rows: Sequence[object]) -> Path:
    path = folder / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def posts_file(folder: Path) -> Path:
    return written(
        folder, [{"id": str(n), "dataset": "memes", "lang": "en", **r} for n, r in enumerate(ROWS)]
    )


@pytest.fixture(scope="module")
def reader() -> Extractor:
    made = PluginHost.discover(Settings()).extractors["ocr"]
    made.load("cpu")
    return made


def text_of(example: Example) -> str:
    return str(example.item.parts[0].value)


@pytest.mark.usefixtures("fonts")
def test_what_is_drawn_is_read_and_labelled_as_the_whole(tmp_path: Path, reader: Extractor) -> None:
    posts = read_posts([posts_file(tmp_path)], DEFAULT.names)
    plain = Example(Item.of(id="t", text="free watches, click now"), {"spam": 1.0}, "mail", "en", "train")
    config = Reading(texts=1, sources=("mail",), fonts=FONTS)
    chosen = drawable([plain, replace(plain, split="valid"), replace(plain, dataset="other")], config)
    assert chosen == [plain]
    told: list[tuple[int, int]] = []

    def go(with_reader: Extractor) -> list[Example]:
        return readings(posts, chosen, with_reader, [], config, tmp_path, lambda *done: told.append(done))

    made = go(reader)
    assert told == [(4, 4)]
    found = {text_of(each): each for each in made}
    whole = found["my plan for tonight\nto be gone for good"]
    assert dict(whole.labels) == {"self_harm": 1.0, "hate": 0.0} and whole.source is Source.OCR
    caption = found["my plan for tonight"]
    assert dict(caption.labels) == {"self_harm": 0.0, "hate": 0.0} and caption.source is Source.NATIVE
    assert dict(found["to be gone for good"].labels) == {"self_harm": 0.0, "hate": 0.0}
    assert found["今晚的计划\n终于不再麻烦大家了"].labels == {"self_harm": 1.0}
    read = next(each for each in made if each.dataset == DATASET)
    assert "free watches" in text_of(read) and read.labels == {"spam": 1.0}
    assert read.source is Source.OCR and read.group == text_of(plain)
    # a stop in the middle of a line costs that line alone, and nothing is read twice
    store = (
        tmp_path / "reading" / "read.jsonl" if (tmp_path / "reading").is_dir() else tmp_path / "read.jsonl"
    )
    whole_file = store.read_text(encoding="utf-8")
    store.write_text(whole_file[:-20], encoding="utf-8")
    told.clear()
    assert [text_of(each) for each in go(reader)] == [text_of(each) for each in made]
    assert told == [(1, 1)]


class Blind(Extractor):
    name, modality, fingerprint = "ocr", Modality.IMAGE, "blind"

    def load(self, device: str) -> None: ...

    def extract_batch(self, contents: Sequence[Content]) -> list[list[Content]]:
        return [[] for _ in contents]

    @classmethod
    def examples(cls) -> Sequence[Content]:
        return []


@pytest.mark.usefixtures("fonts")
def test_harm_is_not_lost_where_nothing_can_be_read(tmp_path: Path) -> None:
    posts = read_posts([posts_file(tmp_path)], DEFAULT.names)
    made = readings(posts, [], Blind(), [], Reading(fonts=FONTS), tmp_path, lambda *_: None)
    assert len(made) == 6  # no picture by itself: it would be an empty text
    assert {text_of(each) for each in made if each.labels["self_harm"]} == {
        "my plan for tonight\nto be gone for good",
        "今晚的计划\n终于不再麻烦大家了",
    }


def test_posts_that_share_a_part_are_on_one_side(tmp_path: Path) -> None:
    rows = [
        {
            **ROWS[0],
            "dataset": "memes",
            "lang": "en",
            "text": f"{n // 2}",
            "picture_text": f"- {(n + 1) // 2}",
        }
        for n in range(200)
    ]
    posts = read_posts([written(tmp_path, rows)], DEFAULT.names, valid_share=0.3)
    assert len({post.split for post in posts}) == 1  # all hang together
    apart = [{**row, "picture_text": f"words {n}"} for n, row in enumerate(rows)]
    split = {post.caption: post.split for post in read_posts([written(tmp_path, apart)], DEFAULT.names, 0.3)}
    assert 10 <= list(split.values()).count("valid") <= 50


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"id": "1", "dataset": "d", "lang": "en", "text": "a", "labels": {}},
            "posts.jsonl:1: not a labelled",
        ),
        (
            {"text": "a", "picture_text": "b", "labels": [1], "dataset": "d", "lang": "en"},
            "not a labelled post",
        ),
    ],
)
def test_what_is_no_post_is_said(tmp_path: Path, row: object, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        read_posts([written(tmp_path, [row])], DEFAULT.names)


def test_missing_fonts_are_named() -> None:
    with pytest.raises(TrainingError, match=r"/no/such\.ttf; apt-get install fonts-dejavu-core"):
        fonts_of({"en": ["/no/such.ttf"]})


@pytest.mark.usefixtures("fonts")
def test_a_picture_depends_on_text_and_seed_alone(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (60, 40), "teal").save(tmp_path / "photo.jpg")
    shown = [draw("words " * 40, [Path(LATIN)], [tmp_path / "photo.jpg"], seed) for seed in (1, 1, 2)]
    assert np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[0], shown[2])
    for pixels in shown:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and 400 < pixels.shape[1] < 1000


def test_the_model_is_told_what_was_read() -> None:
    native = Example(Item.of(text="a"), {"spam": 1.0}, "mail", "en", "train")
    examples = [native, replace(native, source=Source.OCR)]
    cache = TokenCache.of_lengths(np.ones((4, 3), dtype=np.float16), [2, 2])
    material = Material(examples, {"words": cache})
    assert [material.view(row).sources for row in (0, 1)] == [
        {"words": Source.NATIVE},
        {"words": Source.OCR},
    ]
    targets = np.array([[1.0], [1.0]], dtype=np.float32)
    batches = Batches(material, FusionTraining(batch_size=64), [0, 1], targets, np.ones(2, dtype=np.float32))
    views: list[View] = batches.draw(np.random.default_rng(0)).views
    assert {view.sources["words"] for view in views} == {Source.NATIVE, Source.OCR}
    assert all(torch.is_tensor(view.tokens["words"]) for view in views)
