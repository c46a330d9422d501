from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moderator.errors import TrainingError
from moderator.train.media_manifest import read_manifest, split_of
from moderator.types import Modality


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    for row in rows:
        file = folder / row["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def frame(index: int, cluster: int, **more: Any) -> dict[str, Any]:
    return {
        "path": f"images/f{index}.jpg",
        "labels": {"violence": 1},
        "dataset": "fights",
        "lic": "MIT",
        "group": f"clip{index}",
        "cluster": f"scene{cluster}",
        "weak": 1,
        **more,
    }


def test_reads_one_modality_of_the_data_sets_asked_for(tmp_path: Path) -> None:
    sound = {"path": "audio/a.ogg", "labels": {}, "dataset": "fights", "lic": "CC0"}
    other = frame(2, 2, dataset="other")
    manifest = write(tmp_path, [frame(1, 1, lang="en"), sound, other])
    [example] = read_manifest(manifest, modality=Modality.IMAGE, datasets=["fights"])
    assert example.item.parts[0].value == tmp_path / "images/f1.jpg"
    assert example.item.parts[0].modality is Modality.IMAGE
    assert dict(example.labels) == {"violence": 1.0}
    assert (example.dataset, example.weak, example.licence, example.lang) == ("fights", 1, "MIT", "en")
    assert example.group == "fights:scene1"
    assert len(read_manifest(manifest, modality=Modality.IMAGE)) == 2
    assert len(read_manifest(manifest, modality=Modality.AUDIO)) == 1


def test_a_cluster_is_never_on_both_sides(tmp_path: Path) -> None:
    manifest = write(tmp_path, [frame(index, index // 10) for index in range(400)])
    examples = read_manifest(manifest, modality=Modality.IMAGE)
    sides: dict[str, set[str]] = {}
    for example in examples:
        sides.setdefault(example.group, set()).add(example.split)
    assert len(sides) == 40
    assert all(len(side) == 1 for side in sides.values())
    assert {split for side in sides.values() for split in side} == {"train", "valid"}


def test_the_split_is_about_a_fifth_and_may_be_given(tmp_path: Path) -> None:
    held_out = sum(split_of(f"g{index}") == "valid" for index in range(5000))
    assert 0.17 < held_out / 5000 < 0.23
    manifest = write(tmp_path, [frame(1, 1, split="valid"), frame(2, 1, split="train")])
    assert [e.split for e in read_manifest(manifest, modality=Modality.IMAGE)] == ["valid", "train"]


def test_takes_of_one_recording_stay_together(tmp_path: Path) -> None:
    rows = [{"path": f"audio/esc10/dog/1-77-{take}.ogg", "labels": {}, "dataset": "esc10"} for take in "ABC"]
    examples = read_manifest(write(tmp_path, rows), modality=Modality.AUDIO)
    assert {example.group for example in examples} == {"esc10:77"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"manifest.jsonl:1: not JSON"),
        ("[]", "needs an object with a path"),
        ('{"path": "gone.png", "labels": {}}', "no file"),
        ('{"path": "here.png"}', "labels must be an object"),
        ('{"path": "here.png", "labels": {"rude": 1}}', "unknown label rude"),
        ('{"path": "here.png", "labels": {"hate": 2}}', "hate is 2"),
        ('{"path": "here.png", "labels": {}, "split": "test"}', "split is 'test'"),
        ("", "lists no image"),
    ],
)
def test_faults_are_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "here.png").write_bytes(b"x")
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=message):
        read_manifest(manifest, modality=Modality.IMAGE)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.jsonl"):
        read_manifest(tmp_path / "gone.jsonl", modality=Modality.IMAGE)
