"""Recompute everything the log says, and name the first thing that is not as it was written.

One pass in the order of the log. Each entry is checked by itself and against the one before it, then the
rows it seals are read beside it: batches and decisions got dense keys in the order of their entries, so
every row must come up exactly once. Memory does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from moderator.audit.checkpoint import Checkpoint
from moderator.audit.source import Row, Source
from moderator.errors import AuditError
from moderator.store.canonical import parse_json
from moderator.store.decisions import DECISION_FORM, LABEL_FORM
from moderator.store.golden import GOLDEN_FORM, TRIAL_FORM
from moderator.store.history import EVENT_FORM, EVENT_FORM_1
from moderator.store.merkle import Frontier, leaf_hash
from moderator.store.registry import REGISTERED_FORM
from moderator.store.seal import Form, Seal, list_hash, seals_of
from moderator.store.verdicts import VERDICT_FORM

FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        *(VERDICT_FORM, DECISION_FORM, EVENT_FORM_1, EVENT_FORM, LABEL_FORM),
        *(GOLDEN_FORM, TRIAL_FORM, REGISTERED_FORM),
    )
}
"""Every form rows were ever sealed in."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing found wrong. ``seq``: the entry it concerns; ``table`` and ``row``: the sealed row;
    each ``None`` where there is none to name."""

    what: str
    seq: int | None = None
    table: str | None = None
    row: int | None = None

    def __str__(self) -> str:
        entry = "" if self.seq is None else f"entry {self.seq}"
        table = self.table or ""
        return ": ".join(
            part
            for part in (entry, table if self.row is None else f"{table} row {self.row}", self.what)
            if part
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What was verified: entries, the root over them, rows by table. ``fault`` is ``None`` if all is well."""

    entries: int
    root: bytes
    rows: Mapping[str, int]
    fault: Fault | None


class _Found(Exception):  # noqa: N818 - ends the pass, is no error
    def __init__(self, what: str, seq: int | None = None, table: str | None = None, row: Any = None) -> None:
        self.fault = Fault(what, seq, table, row)


def verify(source: Source, checkpoint: Checkpoint | None = None) -> Report:
    """Recompute the whole log of ``source``, up to the first fault.

    ``checkpoint``: what the log once was, kept elsewhere; without one nobody can tell a log that was cut
    or rewritten as a whole from a true one. Its signature is the caller's to check.
    """
    tree = Frontier()
    fault: Fault | None = None
    with ExitStack() as opened:

        def stream(table: str) -> Iterator[Row]:
            return opened.enter_context(closing(source.rows(table)))

        names = dict.fromkeys(form.table for form in FORMS.values())
        tables = {name: _Table(name, stream(name)) for name in names}
        try:
            _check_entries(stream("audit_log"), tree, tables, checkpoint)
            _check_head(list(stream("audit_head")), tree)
            if checkpoint is not None and checkpoint.size > tree.size:
                cut = f"missing: the checkpoint counts {checkpoint.size} entries"
                raise _Found(cut, tree.size + 1)
            for table in tables.values():
                table.must_be_done()
        except _Found as found:
            fault = found.fault
    return Report(tree.size, tree.root(), {name: table.covered for name, table in tables.items()}, fault)


def _check_entries(
    entries: Iterable[Row], tree: Frontier, tables: Mapping[str, _Table], checkpoint: Checkpoint | None
) -> None:
    last = b""
    version = 1
    _check_checkpoint(tree, checkpoint)
    for row in entries:
        seq = tree.size + 1
        if row["seq"] != seq:
            if _comes_later(row["seq"], seq):
                raise _Found("missing", seq)
            raise _Found("not one of the log's: its number is out of turn", row["seq"])
        payload, leaf = row["payload"], row["leaf"]
        if type(payload) is not bytes or leaf_hash(payload) != leaf:
            raise _Found("its payload is not what its leaf was made of", seq)
        try:
            said = parse_json(payload)
            seals = seals_of(said)
            if said["v"] < version:
                raise AuditError("it is of an older version than the one before")
            version = said["v"]
            if (said["seq"], said["kind"], said["at"]) != (seq, row["kind"], row["created_at"]):
                raise _Found("its number, kind or time is not what its payload says", seq)
            if version > 1 and bytes.fromhex(said["prev"]) != last:
                raise _Found(f"it was changed together with its leaf, or entry {seq} was", max(seq - 1, 1))
        except (AuditError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise _Found(f"its payload cannot be read as an entry: {error}", seq) from None
        for seal in seals:
            form = FORMS.get(seal.form)
            if form is None:
                raise _Found(f"it seals rows in a form not known here: {seal.form!r}", seq)
            tables[form.table].take(seal, form, seq)
        tree.append(leaf)
        last = leaf
        _check_checkpoint(tree, checkpoint)


def _comes_later(found: Any, expected: int) -> bool:
    return type(found) is int and found > expected


def _check_checkpoint(tree: Frontier, checkpoint: Checkpoint | None) -> None:
    if checkpoint is not None and checkpoint.size == tree.size and checkpoint.root != tree.root():
        what = "the entries up to this one are not those of the checkpoint"
        raise _Found(what, tree.size or None)


def _check_head(heads: Sequence[Row], tree: Frontier) -> None:
    if len(heads) != 1 or type(heads[0]["size"]) is not int:
        raise _Found(f"the log has no head: audit_head has {len(heads)} rows, not 1 as it should be")
    (head,) = heads
    if head["size"] > tree.size:
        raise _Found(f"missing: the head counts {head['size']} entries", tree.size + 1)
    if head["size"] < tree.size:
        raise _Found(f"not one of the log's: the head counts {head['size']} entries", head["size"] + 1)
    if (head["id"], head["frontier"], head["root"]) != (1, tree.dump(), tree.root()):
        raise _Found("it was changed together with its leaf, or the head was", tree.size or None)


class _Table:
    """The rows of a sealed table, taken as entry after entry claims them."""

    def __init__(self, name: str, rows: Iterator[Row]) -> None:
        self._name = name
        self._rows = rows
        self._next = next(rows, None)
        self.covered = 0

    def take(self, seal: Seal, form: Form, seq: int) -> None:
        """Check the rows of one seal; they must be the next ones."""
        if seal.first != self.covered + 1 or seal.last < seal.first:
            what = (
                f"it seals rows {seal.first} to {seal.last} of {self._name}, but {self.covered + 1} is next"
            )
            raise _Found(what, seq)
        rows = self._rows_of(seal, form, seq)
        if seal.tree:
            found = Frontier(leaf for _, leaf in rows).root()
        else:
            found = list_hash(data for data, _ in rows)
        if found != seal.root:
            if seal.first == seal.last:
                raise _Found("not what was sealed", seq, self._name, seal.first)
            what = f"rows {seal.first} to {seal.last} are not what was sealed"
            raise _Found(what, seq, self._name)

    def must_be_done(self) -> None:
        """Check that no row is left."""
        if self._next is not None:
            raise _Found("no entry of the log covers it", None, self._name, self._next["id"])

    def _rows_of(self, seal: Seal, form: Form, seq: int) -> Iterator[tuple[bytes, bytes]]:
        """The exact bytes and the leaf of each row of a seal, checked by itself."""
        for key in range(seal.first, seal.last + 1):
            row = self._next
            if row is None or row["id"] != key:
                if row is not None and not _comes_later(row["id"], key):
                    self.must_be_done()
                raise _Found("missing", seq, self._name, key)
            try:
                data = form.row_bytes(row)
            except (TypeError, ValueError):  # only an export can hold such values
                raise _Found("not what was sealed", seq, self._name, key) from None
            leaf = leaf_hash(data)
            if row.get("leaf", leaf) != leaf:
                raise _Found("not what its leaf was made of", seq, self._name, key)
            for name in row.keys() - {*form.columns, "leaf"}:
                if row[name] is not None:
                    raise _Found(f"has {name}, which is newer than the row", seq, self._name, key)
            yield data, leaf
            self.covered = key
            self._next = next(self._rows, None)
