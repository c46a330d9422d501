"""What an extractor reads out of pictures of words, as training data: alone, and beside a caption.

A post is a caption and the words in a picture. Each part of it by itself is harmless; the labels are those of
the whole. Posts and plain texts are drawn (``writing``), read back by the extractor ``ocr``, and labelled as
what was drawn: mistakes of reading, and harm that only the whole post shows, are seen in training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from moderator.errors import TrainingError
from moderator.plugin import Extractor
from moderator.train.examples import Example, records, uniform
from moderator.train.writing import draw, fonts_of
from moderator.types import Content, Item, Modality, Source

DATASET = "read_from_pictures"
"""Plain texts drawn and read back are a source of their own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """``posts``: files of captions with the words in their pictures. ``texts``: how many texts of
    ``sources`` are drawn by themselves. ``fonts``: language → files. ``photographs``: data sets of the
    image manifest whose pictures are put behind the words now and then."""

    posts: tuple[str, ...] = ()
    texts: int = 0
    sources: tuple[str, ...] = ()
    longest: int = 160
    """Characters of a text to be drawn."""
    fonts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    photographs: tuple[str, ...] = ()
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Post:
    """``caption`` and the words ``written`` in the picture beside it; ``labels`` of the two together."""

    id: str
    caption: str
    written: str
    labels: Mapping[str, float]
    dataset: str
    lang: str
    split: str
    licence: str = ""


def read_posts(paths: Sequence[Path], labels: Sequence[str], valid_share: float = 0.05) -> list[Post]:
    """JSONL: ``id, dataset, lang, text, picture_text, labels, lic`` a line. Posts that share a part are on
    one side of the split. Raises ``TrainingError`` naming file and line."""
    posts = []
    sides: dict[str, str] = {}
    for path in paths:
        for number, row in records(path):
            try:
                caption, written = str(row["text"]), str(row["picture_text"])
                known = {name: float(value) for name, value in row["labels"].items() if name in labels}
                dataset, lang = str(row["dataset"]), str(row["lang"])
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                raise TrainingError(f"{path}:{number}: not a labelled post: {error!r}") from error
            fresh = "valid" if uniform(caption) < valid_share else "train"
            split = sides.get(caption) or sides.get(written) or fresh
            sides[caption] = sides[written] = split
            licence = str(row.get("lic", ""))
            posts.append(Post(str(row.get("id", "")), caption, written, known, dataset, lang, split, licence))
    return posts


def together(caption: str, read: str) -> str:
    """A caption and what was read beside it as one text: as ``pipeline.extracts.joined`` puts them."""
    return f"{caption}\n{read}"


def readings(
    posts: Sequence[Post],
    texts: Sequence[Example],
    reader: Extractor,
    photographs: Sequence[Path],
    config: Reading,
    folder: Path,
    progress: Callable[[int, int], None],
) -> list[Example]:
    """Text examples: of each post the whole, the caption and what was read; of each text what was read.

    What has been read before is kept in ``folder``. Where nothing was read, the words as drawn stand in a
    post's whole, and there is no example of the picture by itself. The reader must be loaded.
    """
    fonts = fonts_of(config.fonts)
    wanted = [(post.written, post.lang) for post in posts]
    wanted += [(_text(each), each.lang) for each in texts]
    wanted = [(text, lang) for text, lang in dict.fromkeys(wanted) if lang in fonts]

    def shown(text: str, lang: str) -> Content:
        return Content(Modality.IMAGE, draw(text, fonts[lang], photographs, config.seed))

    read = _read(wanted, shown, reader, config, folder / "read.jsonl", progress)
    made = []
    for post in posts:
        found = read.get(post.written, "")
        harmless = dict.fromkeys(post.labels, 0.0)
        whole = Example(
            Item.of(id=post.id, text=together(post.caption, found or post.written)),
            post.labels,
            post.dataset,
            post.lang,
            post.split,
            licence=post.licence,
            source=Source.OCR,
        )
        part = replace(whole, labels=harmless)
        made += [whole, replace(part, item=Item.of(id=post.id, text=post.caption), source=Source.NATIVE)]
        if found:
            made.append(replace(part, item=Item.of(id=post.id, text=found)))
    for each in texts:
        if found := read.get(_text(each), ""):
            item = Item.of(id=each.item.id, text=found)
            # with the original in one fold
            group = each.group or _text(each)
            made.append(replace(each, item=item, dataset=DATASET, group=group, source=Source.OCR))
    return made


def drawable(examples: Sequence[Example], config: Reading) -> list[Example]:
    """The texts of ``config.sources`` to draw: short ones, spread by their text alone."""
    fitting = [
        each
        for each in examples
        if each.dataset in config.sources
        and each.lang in config.fonts
        and len(_text(each)) <= config.longest
        and each.split == "train"
    ]
    fitting.sort(key=lambda each: uniform(_text(each) + "drawn"))
    return fitting[: config.texts]


def _read(
    wanted: Sequence[tuple[str, str]],
    shown: Callable[[str, str], Content],
    reader: Extractor,
    config: Reading,
    store: Path,
    progress: Callable[[int, int], None],
) -> dict[str, str]:
    """Text → what was read of it, from ``store`` where it is there already."""
    key = hashlib.sha256(
        json.dumps([asdict(replace(config, posts=(), texts=0, sources=())), reader.fingerprint]).encode()
    ).hexdigest()[:12]
    read: dict[str, str] = {}
    if store.is_file():
        # a run that was stopped may have left half a line: it ends here, and is read anew
        lines = store.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        rows = [json.loads(line) for line in lines if line.endswith("}\n")]
        read = {row["text"]: row["read"] for row in rows if row["key"] == key}
    waiting = [(text, lang) for text, lang in wanted if text not in read]
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.open("a", encoding="utf-8") as file:
        file.write("\n" if store.stat().st_size else "")
        for done, (text, lang) in enumerate(waiting, start=1):
            extracts = reader.extract_batch([shown(text, lang)])[0]
            read[text] = "\n".join(str(each.data) for each in extracts)
            row = {"key": key, "text": text, "read": read[text]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            if done == len(waiting) or not done % 200:
                file.flush()
                progress(done, len(waiting))
    return read


def _text(example: Example) -> str:
    return str(example.item.parts[0].value)
