"""Items and verdicts as rows, and back. The only module that knows both forms."""

from __future__ import annotations

import base64
import math
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from moderator.errors import StoreError
from moderator.store.canonical import (
    canonical_json,
    escape_text,
    jsonable,
    parse_json,
    unescape_text,
)
from moderator.store.seal import Form
from moderator.types import Action, Evidence, Item, Modality, Part, RuleMatch, Verdict

VERDICT_COLUMNS = (
    "id",
    "scan_id",
    "position",
    "item_id",
    "action",
    "created_at",
    "policy_digest",
    "model_digest",
    "software",
    "content_digests",
    "embedders",
    "scores",
    "signals",
    "matches",
    "degraded",
    "coverage",
    "evidence",
)
"""The columns that say a verdict, in order."""

VERDICT_FORM = Form("moderator.verdict.v1", "verdicts", VERDICT_COLUMNS)
"""How rows of ``verdicts`` are sealed."""

_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def verdict_columns(verdict: Verdict) -> dict[str, Any]:
    """A verdict as columns (its keys and time are the caller's). ``StoreError`` for a number that is none."""
    try:
        return {
            "action": Action(verdict.action).value,
            "policy_digest": escape_text(verdict.policy_digest),
            "model_digest": escape_text(verdict.model_digest),
            "software": escape_text(verdict.software),
            "content_digests": canonical_json(list(verdict.content_digests)),
            "embedders": _names(tuple(verdict.embedders.items())),
            "scores": _numbers(verdict.scores),
            "signals": _numbers(verdict.signals),
            "matches": canonical_json(
                [[match.rule, match.action.value, match.why] for match in verdict.matches]
            ),
            "degraded": canonical_json(list(verdict.degraded)),
            "coverage": _numbers(verdict.coverage),
            "evidence": canonical_json(
                [
                    [found.source, found.part, [float(edge) for edge in found.span], found.detail]
                    for found in verdict.evidence
                ]
            ),
        }
    except ValueError as error:
        raise StoreError(
            f"the verdict on item {verdict.item_id!r} cannot be stored: {error}; a verdict must hold finite "
            "numbers only, and say `degraded` where there was none"
        ) from error


def verdict_from_row(row: Mapping[Any, Any], external_id: str) -> Verdict:
    """The verdict a row of ``verdicts`` holds; ``external_id`` as stored in ``items``."""
    return Verdict(
        item_id=unescape_text(external_id),
        action=Action(row["action"]),
        scores=parse_json(row["scores"]),
        signals=parse_json(row["signals"]),
        matches=tuple(
            RuleMatch(rule, Action(action), why) for rule, action, why in parse_json(row["matches"])
        ),
        degraded=tuple(parse_json(row["degraded"])),
        evidence=tuple(
            Evidence(source, part, tuple(span), detail)
            for source, part, span, detail in parse_json(row["evidence"])
        ),
        coverage=parse_json(row["coverage"]),
        content_digests=tuple(parse_json(row["content_digests"])),
        policy_digest=unescape_text(row["policy_digest"]),
        model_digest=unescape_text(row["model_digest"]),
        embedders=parse_json(row["embedders"]),
        software=unescape_text(row["software"]),
    )


def item_columns(item: Item | None, digests: Sequence[str]) -> dict[str, bytes | None]:
    """What is kept of an item: its context, and each part's content or where it lies."""
    if item is None:
        return {"context": None, "parts": None}
    parts = [
        {
            "modality": part.modality.value,
            "digest": digests[index] if index < len(digests) else "",
            **_content(part),
        }
        for index, part in enumerate(item.parts)
    ]
    return {"context": canonical_json(jsonable(item.context)), "parts": canonical_json(parts)}


def part_text(stored: Mapping[str, Any]) -> str | bytes | None:
    """The text of a stored part as it was handed in; ``None`` for media."""
    if "base64" in stored:
        raw = base64.b64decode(stored["base64"])
        return raw if stored["given"] == "bytes" else raw.decode("utf-8", "surrogatepass")
    if "text" not in stored:
        return None
    text: str = stored["text"]
    return text.encode("utf-8") if stored["given"] == "bytes" else text


@lru_cache(maxsize=64)  # a scan's verdicts all name the same embedders
def _names(items: tuple[tuple[str, str], ...]) -> bytes:
    return canonical_json(dict(items))


def _numbers(named: Mapping[str, float]) -> bytes:
    plain = {name: float(value) for name, value in named.items()}
    for name, value in plain.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
    return canonical_json(plain)


def _content(part: Part) -> dict[str, Any]:
    value = part.value
    if isinstance(value, PurePath):
        return {"path": os.fspath(value)}
    if part.modality is Modality.TEXT and isinstance(value, (str, bytes)):
        return _text(value)
    if isinstance(value, (bytes, bytearray)):
        return {"inline": "bytes", "size": len(value)}
    if isinstance(value, tuple) and len(value) == 2:
        return {"inline": "samples", "rate": jsonable(value[1]), "size": len(value[0])}
    return {"inline": type(value).__name__, "size": jsonable(list(getattr(value, "size", ()) or ()))}


def _text(value: str | bytes) -> dict[str, Any]:
    if isinstance(value, bytes):
        try:
            return {"text": value.decode("utf-8"), "given": "bytes"}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode("ascii"), "given": "bytes"}
    if _SURROGATE_PAIR.search(value):
        # JSON reads such a pair as the one character it stands for in UTF-16
        raw = value.encode("utf-8", "surrogatepass")
        return {"base64": base64.b64encode(raw).decode("ascii"), "given": "str"}
    return {"text": value, "given": "str"}
