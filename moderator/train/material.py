"""Gathers the examples a configuration names: labelled texts, pictures, synthesised speech."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from moderator.errors import TrainingError
from moderator.media.decode import decode
from moderator.plugin import Extractor
from moderator.settings import Limits
from moderator.taxonomy import Taxonomy
from moderator.train.config import TrainConfig
from moderator.train.evasion import evaded
from moderator.train.examples import Example, read_text
from moderator.train.folders import DataFolders
from moderator.train.media_manifest import read_manifest
from moderator.train.reading import drawable, read_posts, readings
from moderator.train.speech import synthesise
from moderator.types import Content, Item, Modality

Report = Callable[[str], None]


def contents_of(item: Item) -> Sequence[Content]:
    """An item's contents as plugins see them; nothing for what cannot be decoded."""
    return decode(item, Limits()).contents


def gather_texts(config: TrainConfig, data: DataFolders, taxonomy: Taxonomy) -> list[Example]:
    """Texts without the left-out sources; whole validation sources are marked ``valid``."""
    text = config.text
    if not text.files:
        return []
    examples = read_text(
        data.files(text.files),
        labels=taxonomy.names,
        leave_out=text.leave_out,
        valid_share=text.valid_share,
        max_per_source=text.max_per_source,
        caps=text.caps,
    )
    whole = set(text.validation)
    if absent := whole - {example.dataset for example in examples}:
        raise TrainingError(f"validation sources {sorted(absent)} are not in {', '.join(text.files)}")
    marked = [
        replace(
            each,
            split="valid" if each.dataset in whole else each.split,
            labels=_assumed(each, text.assume_negative.get(each.dataset, ())),
        )
        for each in examples
    ]
    return marked + [copy for each in marked if (copy := _disguised(each, text.evasion)) is not None]


def _disguised(example: Example, share: float) -> Example | None:
    """A copy in an evasive spelling, for a share of the training rows that depends on the text alone."""
    text = str(example.item.parts[0].value)
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
    rng = np.random.default_rng(int.from_bytes(digest[8:16], "big"))
    if example.split != "train" or rng.random() >= share:
        return None
    changed = evaded(text, rng)
    if changed == text:
        return None
    # the group keeps it in one fold with its original: the n-grams would know it otherwise
    return replace(example, item=Item.of(id=example.item.id, text=changed), group=example.group or text)


def _assumed(example: Example, labels: Sequence[str]) -> Mapping[str, float]:
    """The example's labels, and ``labels`` as negative if nothing in it is harmful."""
    if not labels or any(value > 0 for value in example.labels.values()):
        return example.labels
    return {**dict.fromkeys(labels, 0.0), **example.labels}


def gather_readings(
    config: TrainConfig,
    data: DataFolders,
    texts: Sequence[Example],
    reader: Callable[[], Extractor],
    out: Path,
    taxonomy: Taxonomy,
    report: Report,
) -> list[Example]:
    """What is read in pictures of words, alone and beside captions; ``reader`` loads what reads them."""
    reading = config.reading
    if not reading.posts and not reading.texts:
        return []
    posts = read_posts(data.files(reading.posts), taxonomy.names, config.text.valid_share)
    posts = [each for each in posts if each.dataset not in config.text.leave_out]
    photographs = (
        [
            Path(str(example.item.parts[0].value))
            for example in read_manifest(
                data.file(config.image.manifest),
                modality=Modality.IMAGE,
                datasets=reading.photographs,
                taxonomy=taxonomy,
            )
            if example.split == "train"
        ]
        if reading.photographs
        else []
    )

    def progress(done: int, total: int) -> None:
        report(f"reading: {done}/{total} pictures of words read")

    chosen = drawable(texts, reading)
    return readings(posts, chosen, reader(), photographs, reading, out / "reading", progress)


def gather_images(config: TrainConfig, data: DataFolders, taxonomy: Taxonomy) -> list[Example]:
    image = config.image
    if not image.manifest:
        return []
    return read_manifest(
        data.file(image.manifest), modality=Modality.IMAGE, datasets=image.datasets, taxonomy=taxonomy
    )


def gather_audio(
    config: TrainConfig, data: DataFolders, out: Path, taxonomy: Taxonomy, report: Report
) -> list[Example]:
    """Synthesised speech and the backgrounds by themselves."""
    audio = config.audio
    if not audio.texts:
        return []
    backgrounds = read_manifest(
        data.file(audio.manifest), modality=Modality.AUDIO, datasets=audio.backgrounds, taxonomy=taxonomy
    )
    texts = read_text(
        data.files(config.text.files),
        labels=taxonomy.names,
        only=list(audio.texts),
        leave_out=config.text.leave_out,
        valid_share=0.15,
    )
    chosen: list[Example] = []
    for source, quota in audio.texts.items():
        for positive, count in ((True, quota.positives), (False, quota.negatives)):
            fitting = (
                each
                for each in texts
                if each.dataset == source
                and quota.label in each.labels
                and (each.labels[quota.label] >= 0.5) is positive
                and _speakable(each, audio.max_words)
            )
            chosen += [each for each, _ in zip(fitting, range(count), strict=False)]

    def progress(done: int, total: int) -> None:
        if done == total or not done % 500:
            report(f"speech: {done}/{total} texts spoken")

    speech = synthesise(chosen, backgrounds, out / "speech", audio.speech, progress)
    return speech + backgrounds


def _speakable(example: Example, max_words: int) -> bool:
    text = str(example.item.parts[0].value)
    size = len(text) / 2 if example.lang == "zh" else len(text.split())
    return 3 <= size <= max_words
