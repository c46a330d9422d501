"""A verdict reached again: equal by the same model and policy, and every way it can fail is said."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sqlalchemy import text

from moderator.audit.replay import compared, replay
from moderator.audit.source import Live
from moderator.audit.verify import verify
from moderator.errors import AuditError, StoreError
from moderator.pipeline.moderator import Moderator
from moderator.scan.runner import run_scan
from moderator.settings import Settings
from moderator.sources import open_sources
from moderator.store import Store
from moderator.types import Action, Item
from tests.pipeline.small_model import BENIGN, HARMFUL, small_model


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (40, 90, 160)).save(buffer, "PNG")
    return buffer.getvalue()


POLICY = """
name: strict-enough
version: 3
rules:
  - name: violent
    when: violence >= 0.5 || item.surface == "kids"
    then: block
otherwise: allow
on_degraded: review
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("replay")
    (made / "policy.yaml").write_text(POLICY)
    (made / "cat.png").write_bytes(png(64, 48))
    lines = [
        {"id": "a", "text": HARMFUL["violence"][0]},
        {"id": "b", "text": [BENIGN[0], "第二 \ud83d\ude00"], "context": {"surface": "kids"}},
        {"id": "c", "text": BENIGN[1], "image": "cat.png"},
        {"id": "d", "image": "lost.png"},
    ]
    (made / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "not json\n")
    return made


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    return Settings(model=str(small_model()), policy=str(folder / "policy.yaml"), device="cpu")


@pytest.fixture(scope="module")
def moderator(settings: Settings) -> Iterator[Moderator]:
    with Moderator.load(settings=settings) as made:
        yield made


@pytest.fixture
def store(database_url: str, folder: Path, moderator: Moderator) -> Iterator[Store]:
    with Store.open(database_url) as opened:
        run_scan(moderator, open_sources([folder / "in.jsonl"]), opened, name="in.jsonl")
        yield opened


def test_equal_by_its_own_model_and_policy(store: Store, settings: Settings) -> None:
    """Also when another policy is in use by now: its text is kept."""
    other = replace(settings, policy="default")
    for number in (1, 2, 3):
        found = replay(store, number, other)
        assert found.equal, found.differences
        assert not found.notes
        assert found.tolerance in (1e-5, 2e-3)
    assert [replay(store, number, other).again.action for number in (1, 2)] == [Action.BLOCK, Action.BLOCK]
    run = store.start_scan("again", "0" * 64, "1" * 64, "moderator")
    assert run == 2
    with store.snapshot() as connection:
        report = verify(Live(connection))
    assert report.fault is None
    assert report.rows["registered"] == 2


def test_what_cannot_be_reached_again_is_said(
    store: Store, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(AuditError, match="there is no verdict 99"):
        replay(store, 99, settings)
    with pytest.raises(AuditError, match="verdict 5: its record could not be read then"):
        replay(store, 5, settings)
    elsewhere = Item.of(id="c", text=BENIGN[1], image=(folder / "cat.png").read_bytes())
    assert replay(store, 3, settings, content=elsewhere).equal
    with pytest.raises(AuditError, match="the content given is not what was judged: its digest differs"):
        replay(store, 3, settings, content=Item.of(id="c", text=BENIGN[2], image=folder / "cat.png"))
    with pytest.raises(AuditError, match=r"no model [0-9a-f]{12} was found: default is"):
        replay(store, 1, replace(settings, model="default"))
    assert replay(store, 1, replace(settings, model="default"), models=[str(small_model())]).equal


def test_content_that_was_changed_is_noticed(store: Store, settings: Settings, folder: Path) -> None:
    before = (folder / "cat.png").read_bytes()
    (folder / "cat.png").write_bytes(png(65, 48))
    try:
        with pytest.raises(AuditError, match="lies where it lay, is not what was judged"):
            replay(store, 3, settings)
    finally:
        (folder / "cat.png").write_bytes(before)


def test_a_policy_that_is_not_kept_or_was_changed(store: Store, settings: Settings) -> None:
    sqlite = store.url.startswith("sqlite")
    drop = "DROP TRIGGER registered_no_update" if sqlite else "DROP TRIGGER registered_no_edit ON registered"
    with store.writing() as connection:
        connection.execute(text(drop))
        connection.execute(
            text("UPDATE registered SET body = :body WHERE kind = 'policy'"), {"body": b"other"}
        )
    with pytest.raises(StoreError, match=r"the policy kept as [0-9a-f]{12} was changed"):
        replay(store, 1, settings)
    with store.snapshot() as connection:
        fault = verify(Live(connection)).fault
    assert fault is not None and (fault.table, fault.row) == ("registered", 1)


def test_another_embedder_under_the_same_model_is_a_difference(moderator: Moderator) -> None:
    verdict = moderator.check(text=BENIGN[0])
    assert compared(verdict, verdict).equal
    named = dict(verdict.embedders)
    name = next(iter(named))
    other = replace(verdict, embedders={**named, name: "1:0123"})
    assert [each.what for each in compared(verdict, other).differences] == ["embedders"]
    half = replace(verdict, embedders={**named, name: named[name].removesuffix(":bfloat16") + ":bfloat16"})
    plain = replace(verdict, embedders={**named, name: named[name].removesuffix(":bfloat16")})
    found = compared(half, plain)
    assert found.equal and found.notes == ("computed in another precision",) and found.tolerance == 2e-3
    moved = replace(verdict, scores={**verdict.scores, "hate": verdict.scores["hate"] + 0.01})
    assert [each.what for each in compared(verdict, moved).differences] == ["score hate"]
    odd = replace(verdict, scores={**verdict.scores, "hate": float("nan")})
    assert [each.what for each in compared(odd, verdict).differences] == ["score hate"]
    newer = replace(verdict, software="moderator 9")
    assert compared(verdict, newer).equal
    assert compared(verdict, newer).notes[0].startswith("recorded by moderator ")


def nudged(out: Path) -> Path:
    """The small model with its output moved a little."""
    shutil.copytree(small_model(), out)
    path = out / "fusion.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["bias"] = tensors["bias"] + torch.tensor(1.0, dtype=tensors["bias"].dtype)
    save_file(tensors, path, metadata=metadata)
    return out


def test_diff_of_a_model_with_itself_and_with_another(tmp_path: Path, settings: Settings) -> None:
    from moderator.audit.diff import compare, sampled

    items = [Item.of(id=str(at), text=words) for at, words in enumerate([*BENIGN, *HARMFUL["violence"]])]
    assert sampled(items, 5) == sampled(iter(items), 5)
    assert sampled(items, 5) != sampled(items, 5, seed=2)
    assert len(sampled(items, 100)) == len(sampled(items, 0)) == len(items)
    with (
        Moderator.load(settings=settings) as first,
        Moderator.load(settings=replace(settings, model=str(nudged(tmp_path / "b")))) as second,
    ):
        same = compare(items, first, first)
        assert (same.changes, same.changed) == (0, ())
        assert all(each.most == 0 for each in same.shifts)
        told: list[int] = []
        found = compare(items, first, second, told.append)
    assert told == [len(items)]
    assert sum(found.actions.values()) == found.items == len(items)
    assert all(each.signed > 0 and each.most >= each.p95 >= 0 for each in found.shifts)
    weights = [(each.before.action is each.after.action, -abs(each.moved)) for each in found.changed]
    assert weights == sorted(weights) and weights
    assert isinstance(found.changes, int)
