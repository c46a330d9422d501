"""Who a post's context names: its author, and who reported it. The only place that reads them.

``context`` is what ``items`` holds: canonical JSON, or ``None`` for a record that could not be read.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, or_

from moderator.store.canonical import canonical_json, parse_json
from moderator.store.tables import ItemRow


def author_of(context: bytes | None, key: str) -> str | None:
    """The author, if the context names one."""
    return _name(_said(context).get(key))


def may_name(connection: Connection, key: str, name: str) -> ColumnElement[bool]:
    """A condition on ``ItemRow`` that holds wherever ``author_of`` is ``name``, and hardly anywhere else.

    It spares reading 100,000 contexts to find those of one author.
    """
    named = canonical_json({key: name})[1:-1]
    needles = [named]
    if name.lstrip("-").isdecimal():  # it may be a number there
        needles.append(canonical_json(key) + b":" + name.encode())
    return or_(*(_holds(connection, needle) for needle in needles))


def names_any(connection: Connection, key: str) -> ColumnElement[bool]:
    """A condition on ``ItemRow`` that holds wherever the context has ``key``, and hardly anywhere else."""
    return _holds(connection, canonical_json(key) + b":")


def _holds(connection: Connection, needle: bytes) -> ColumnElement[bool]:
    if connection.dialect.name == "sqlite":
        return func.instr(ItemRow.context, needle) > 0
    return func.position(literal(needle).op("IN")(ItemRow.context)) > 0


def reporters_of(context: bytes | None, key: str) -> tuple[tuple[str, ...], bool]:
    """Who reported the post, one or several, each once; and whether they are said to be software."""
    said = _said(context)
    given = said.get(key)
    names = (_name(each) for each in (given if isinstance(given, list) else [given]))
    bot = said.get(f"{key}_bot", False)
    return tuple(dict.fromkeys(name for name in names if name)), str(bot).lower() in ("true", "yes", "1")


def _said(context: bytes | None) -> dict[str, Any]:
    said = {} if context is None else parse_json(context)
    return said if isinstance(said, dict) else {}


def _name(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value) if str(value).strip() else None
