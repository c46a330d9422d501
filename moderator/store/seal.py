"""What binds the rows of a table to the log: their exact bytes, and one hash over a run of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from moderator.errors import AuditError
from moderator.store.canonical import row_bytes
from moderator.store.merkle import Frontier, leaf_hash


@dataclass(frozen=True, slots=True)
class Form:
    """How a row of a table becomes bytes. ``name`` is part of the bytes and of every seal.

    A form never changes. A column added to the table later needs a new form; rows in the older one must
    then have null in it, so that every column of every row stays covered.
    """

    name: str
    table: str
    columns: tuple[str, ...]

    def row_bytes(self, row: Mapping[Any, Any]) -> bytes:
        """The exact bytes of a row, from its columns alone."""
        return row_bytes(self.name, row, self.columns)

    def with_leaf(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its leaf beside its columns, which tells later which of a run was changed."""
        return {**row, "leaf": self.leaf(row)}

    def leaf(self, row: Mapping[Any, Any]) -> bytes:
        """The leaf of a row in the tree of its batch."""
        return leaf_hash(self.row_bytes(row))


@dataclass(frozen=True, slots=True)
class Seal:
    """A run of rows, from key ``first`` to key ``last``, and the hash an event keeps of them.

    ``tree``: the hash is the root of the Merkle tree over their leaves; else it is ``list_hash``, as in
    the first version of the log.
    """

    form: str
    first: int
    last: int
    root: bytes
    tree: bool = True

    @classmethod
    def over_rows(cls, form: Form, rows: Sequence[Mapping[str, Any]]) -> Self:
        """The seal over rows of neighbouring keys that hold their own leaves."""
        return cls.over(form, [row["id"] for row in rows], (row["leaf"] for row in rows))

    @classmethod
    def over(cls, form: Form, keys: Sequence[int], leaves: Iterable[bytes]) -> Self:
        """The seal over rows of neighbouring ``keys``, by their leaves."""
        return cls(form.name, keys[0], keys[-1], Frontier(leaves).root())

    def said(self) -> dict[str, Any]:
        """The seal as an event says it."""
        return {"form": self.form, "first": self.first, "last": self.last, "root": self.root.hex()}


def list_hash(rows: Iterable[bytes]) -> bytes:
    """SHA-256 over the SHA-256 of each row's bytes."""
    whole = hashlib.sha256()
    for row in rows:
        whole.update(hashlib.sha256(row).digest())
    return whole.digest()


def seals_of(said: Mapping[str, Any]) -> tuple[Seal, ...]:
    """The seals in the payload of an event. ``AuditError`` if it cannot be understood."""
    try:
        if said["v"] == 2:
            return tuple(
                Seal(
                    _text(each["form"]), _key(each["first"]), _key(each["last"]), bytes.fromhex(each["root"])
                )
                for each in said.get("seals", ())
            )
        if said["v"] == 1:
            if said["kind"] == "verdicts":
                root = bytes.fromhex(said["rows"])
                return (
                    Seal("moderator.verdict.v1", _key(said["first"]), _key(said["last"]), root, tree=False),
                )
            if said["kind"] == "decision":
                key = _key(said["decision"])
                return (Seal("moderator.decision.v1", key, key, bytes.fromhex(said["row"]), tree=False),)
            return ()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AuditError(f"what it says of rows cannot be understood: {error!r}") from error
    raise AuditError(f"version {said['v']!r} is not known; a newer Moderator may have written it")


def _key(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no key")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
