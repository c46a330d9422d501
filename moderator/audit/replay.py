"""Reaching a verdict again: the same content, judged by the model and the policy that were recorded.

Equal within what is promised: scores 1e-5 apart in float32, 2e-3 in half precision; everything else exactly.
Evidence is not compared: it explains, and what stands first in it may change with the last digit of a score.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from moderator.errors import AuditError
from moderator.pipeline.models import CHECKPOINT, model_path
from moderator.pipeline.moderator import Moderator
from moderator.settings import Settings
from moderator.store import Store
from moderator.store.canonical import parse_json
from moderator.store.registry import registered
from moderator.store.session import ERASED
from moderator.store.tables import ItemRow, VerdictRow
from moderator.store.verdicts import VERDICT_COLUMNS, part_text, verdict_from_row
from moderator.types import Item, Modality, Part, Verdict
from moderator.weights import sha256_of

FLOAT32, HALF = 1e-5, 2e-3
"""How far scores may be apart."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that came out otherwise. ``what``: ``score hate``, ``action``, …"""

    what: str
    recorded: Any
    again: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """A verdict and the same again. ``notes``: what is not the same and need not be, such as the version."""

    recorded: Verdict
    again: Verdict
    tolerance: float
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.differences


def replay(
    store: Store,
    verdict_id: int,
    settings: Settings,
    *,
    content: Item | None = None,
    models: Sequence[str] = (),
    device: str | None = None,
) -> Replayed:
    """Judge a verdict's content once more.

    ``content``: in place of what is stored, for media that lie elsewhere now; it must be what was judged.
    ``models``: directories to look in besides the configured model and the shipped one. Raises ``AuditError``
    saying why it cannot be done: no such verdict, content that is gone, a policy or model not to be had.
    """
    recorded, context, parts, policy = _stored(store, verdict_id)
    if content is not None:
        item = replace(content, id=recorded.item_id, context=context)
    elif parts is not None:
        item = Item(recorded.item_id, _parts(verdict_id, parts), context)
    elif recorded.item_id == ERASED:
        raise AuditError(f"verdict {verdict_id}: its content was erased")
    else:
        raise AuditError(
            f"verdict {verdict_id}: its record could not be read then; there is nothing to judge"
        )
    if policy is None:
        raise AuditError(
            f"verdict {verdict_id}: the policy {recorded.policy_digest[:12]} is not kept here; the verdict "
            "is older than the keeping of policies"
        )
    directory = _directory(recorded.model_digest, [*models, settings.model, "default"])
    with _file_of(policy) as file:
        chosen = replace(settings, model=directory, policy=file)
        with Moderator.load(settings=chosen, device=device) as moderator:
            again = moderator.judge([item])[0]
    if again.content_digests != recorded.content_digests:
        what = "given" if content is not None else "stored, or lies where it lay,"
        raise AuditError(
            f"verdict {verdict_id}: the content {what} is not what was judged: its digest differs"
        )
    return compared(recorded, again)


def compared(recorded: Verdict, again: Verdict) -> Replayed:
    """How two verdicts on the same content differ."""
    exact = {*recorded.embedders.values(), *again.embedders.values()}
    tolerance = HALF if any(each.endswith("bfloat16") or "int8" in each for each in exact) else FLOAT32
    found: list[Difference] = []
    for name in ("action", "matches", "degraded", "coverage", "policy_digest", "model_digest"):
        before, after = getattr(recorded, name), getattr(again, name)
        if before != after:
            found.append(Difference(name, before, after))
    for kind in ("scores", "signals"):
        found += _numbers(kind.removesuffix("s"), getattr(recorded, kind), getattr(again, kind), tolerance)
    plain = {name: _plain(fingerprint) for name, fingerprint in recorded.embedders.items()}
    now = {name: _plain(fingerprint) for name, fingerprint in again.embedders.items()}
    if plain != now:
        found.append(Difference("embedders", recorded.embedders, again.embedders))
    notes = []
    if recorded.software != again.software:
        notes.append(f"recorded by {recorded.software}, replayed by {again.software}")
    if recorded.embedders != again.embedders and plain == now:
        notes.append("computed in another precision")
    return Replayed(recorded, again, tolerance, tuple(found), tuple(notes))


def _numbers(
    kind: str, before: Mapping[str, float], after: Mapping[str, float], tolerance: float
) -> Iterator[Difference]:
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None or not abs(one - other) <= tolerance:  # NaN is equal to nothing
            yield Difference(f"{kind} {name}", one, other)


def _plain(fingerprint: str) -> str:
    """A fingerprint without the precision it was computed in."""
    for precision in (":bfloat16", ":int8+bfloat16", ":int8+float32", ":int8"):
        if fingerprint.endswith(precision):
            return fingerprint.removesuffix(precision)
    return fingerprint


def _stored(
    store: Store, verdict_id: int
) -> tuple[Verdict, Mapping[str, Any], Sequence[Mapping[str, Any]] | None, bytes | None]:
    """A verdict, its item's context and parts as stored, and its policy."""
    columns = [getattr(VerdictRow, name) for name in VERDICT_COLUMNS]
    query = (
        select(ItemRow.external_id, ItemRow.context, ItemRow.parts, *columns)
        .join(ItemRow, ItemRow.id == VerdictRow.item_id)
        .where(VerdictRow.id == verdict_id)
    )
    with store.reading() as connection:
        row = connection.execute(query).mappings().first()
        if row is None:
            raise AuditError(f"there is no verdict {verdict_id}")
        verdict = verdict_from_row(row, row["external_id"])
        policy = registered(connection, "policy", verdict.policy_digest)
    context = {} if row["context"] is None else parse_json(row["context"])
    return verdict, context, None if row["parts"] is None else parse_json(row["parts"]), policy


def _parts(verdict_id: int, parts: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """Parts from their columns; ``AuditError`` where one was handed over in memory, which is not kept."""
    made = []
    for number, stored in enumerate(parts):
        text = part_text(stored)
        if text is None and "path" not in stored:
            raise AuditError(
                f"verdict {verdict_id}: part {number} ({stored['modality']}) was handed over in memory and "
                "is not kept; give the content with --content"
            )
        value = Path(stored["path"]) if text is None else text
        made.append(Part(Modality(stored["modality"]), value))
    return tuple(made)


def _directory(digest: str, candidates: Sequence[str]) -> str:
    looked = []
    for each in dict.fromkeys(candidates):
        file = model_path(each) / CHECKPOINT
        if file.is_file():
            found = sha256_of(file)
            if found == digest:
                return each
            looked.append(f"{each} is {found[:12]}")
        else:
            looked.append(f"{each} has no {CHECKPOINT}")
    raise AuditError(
        f"no model {digest[:12]} was found: {', '.join(looked)}; name its directory with --model"
    )


@contextmanager
def _file_of(policy: bytes) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="moderator-") as folder:
        file = Path(folder) / "policy.yaml"
        file.write_bytes(policy)
        yield str(file)
