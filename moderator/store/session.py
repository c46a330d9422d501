"""The store: opened once, then scans are recorded batch by batch, each batch whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute

from moderator.errors import StoreError
from moderator.routing import Router, plain_route
from moderator.store import audit_log, clock, engine, facets, golden, placing, registry
from moderator.store.bulk import insert_rows
from moderator.store.canonical import canonical_json, escape_text, jsonable, unescape_text
from moderator.store.seal import Seal
from moderator.store.tables import SCHEMA_REVISION, ItemRow, ScanRow, TaskRow, VerdictRow
from moderator.store.verdicts import (
    VERDICT_COLUMNS,
    VERDICT_FORM,
    item_columns,
    verdict_columns,
    verdict_from_row,
)
from moderator.types import Action, Item, Verdict

Entry = tuple[int, Item | None, str, Verdict, bool]
"""``(position, item, external_id, verdict, opens_review)``; ``item`` is ``None`` if it could not be read."""

ScanState = Literal["finished", "interrupted", "failed"]
_PAGE = 1000
ERASED = "(erased)"
"""In place of an item's id and of words that were erased."""


class Store:
    """A database of verdicts. Open it with ``Store.open``; it may be used from several threads.

    Not across a fork: open a store in each process.
    """

    def __init__(self, bound: Engine, *, words: bool = False) -> None:
        self._engine = bound
        self._words = words

    @classmethod
    def open(cls, url: str, *, migrate: bool = True, words: bool = False) -> Store:
        """Open the database at ``url``, creating or upgrading it first unless ``migrate`` is off.

        ``words``: whether review tasks recorded can be found by the words of their texts, which are kept in
        the clear for it.

        Raises ``StoreError`` if it cannot be reached, or was written by a newer version.
        """
        parsed = engine.parse_url(url)
        if not migrate:
            engine.must_exist(parsed)
        bound = engine.make_engine(parsed)
        try:
            with engine.translated(bound.url):
                engine.use_wal(bound)
                with engine.reading(bound) as connection:
                    at = engine.schema_revision(connection)
                if at != SCHEMA_REVISION:
                    from moderator.store.migrate import ensure_current  # Alembic: only when there is work

                    ensure_current(bound, migrate=migrate)
        except BaseException:
            bound.dispose()
            raise
        return cls(bound, words=words)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def url(self) -> str:
        """Where the database is, for people: without its password."""
        return engine.shown(self._engine.url)

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads."""
        return engine.reading(self._engine)

    def snapshot(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads, and sees one moment of the database however long it takes."""
        return engine.snapshot(self._engine)

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes, one at a time over all processes."""
        return engine.writing(self._engine)

    def acting(self) -> AbstractContextManager[Connection]:
        """A transaction that locks rows of tasks first, and takes its turn to add others after that."""
        return engine.acting(self._engine)

    def settle(self) -> None:
        """After an erasure: SQLite's write-ahead log still holds what the pages held before; empty it.

        ``StoreError`` if somebody reads from it, and it cannot be emptied yet.
        """
        if self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                connection.rollback()
                raw = connection.connection.driver_connection
                if raw is not None and raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise StoreError(
                        f"{self.url}: erased, but the write-ahead log beside the database still holds it, "
                        "since somebody reads from it; erase again when nobody does, which empties it"
                    )

    def start_scan(
        self,
        source: str,
        policy_digest: str,
        model_digest: str,
        software: str,
        options: Mapping[str, Any] | None = None,
        *,
        policy: bytes | None = None,
        model: Mapping[str, Any] | None = None,
    ) -> int:
        """Begin a scan and return its number.

        ``policy``, the bytes of its file, and ``model``, what it was made of, are kept under their digests,
        so that verdicts can be reached again.
        """
        at = clock.now()
        row: dict[str, Any] = {
            "source": escape_text(source),
            "state": "running",
            "started_at": at,
            "policy_digest": escape_text(policy_digest),
            "model_digest": escape_text(model_digest),
            "software": escape_text(software),
            "options": canonical_json(jsonable(options or {})),
        }
        with self.writing() as connection:
            scan_id = next_key(connection, ScanRow.id)
            connection.execute(insert(ScanRow), {"id": scan_id, **row})
            kept: list[dict[str, Any] | None] = []
            if policy is not None:
                kept.append(registry.register(connection, "policy", policy_digest, policy, at))
            if model is not None:
                body = canonical_json(jsonable(model))
                kept.append(registry.register(connection, "model", model_digest, body, at))
            seals = registry.seals_over([each for each in kept if each is not None])
            digests = {key: row[key] for key in ("policy_digest", "model_digest", "software")}
            audit_log.append(connection, "scan_started", at, {"scan": scan_id, **digests}, seals)
        return scan_id

    def record(self, scan_id: int, batch: Sequence[Entry], route: Router = plain_route) -> None:
        """Store a batch in one transaction: items, verdicts, review tasks and the event that seals them.

        A task is opened for every ``review``, and wherever ``opens_review`` says so; it waits in the queue
        that ``route`` says. When this returns
        the batch is on disk; when it raises, nothing of it is.
        """
        if not batch:
            return
        at = clock.now()
        prepared = [
            (
                position,
                escape_text(external_id),
                item_columns(item, verdict.content_digests),
                verdict_columns(verdict),
            )
            for position, item, external_id, verdict, _ in batch
        ]
        tasks = [
            (index, {"action": verdict.action.value, **placing.placed(*route(item, verdict), at)})
            for index, (_, item, _, verdict, opens_review) in enumerate(batch)
            if opens_review or verdict.action is Action.REVIEW
        ]
        found = [batch[index] for index, _ in tasks]
        with self.writing() as connection:
            source = self._must_run(connection, scan_id)
            item_id, verdict_id = next_key(connection, ItemRow.id), next_key(connection, VerdictRow.id)
            items = [
                {"id": item_id + index, "external_id": external_id, **kept}
                for index, (_, external_id, kept, _) in enumerate(prepared)
            ]
            verdicts = [
                {
                    "id": verdict_id + index,
                    "scan_id": scan_id,
                    "position": position,
                    "item_id": item_id + index,
                    "created_at": at,
                    **columns,
                }
                for index, (position, _, _, columns) in enumerate(prepared)
            ]
            for row in verdicts:
                row["leaf"] = VERDICT_FORM.leaf(row)
            insert_rows(connection, ItemRow, items)
            insert_rows(connection, VerdictRow, verdicts)
            numbers = golden.numbers(connection, next_key(connection, TaskRow.id))
            opened = [
                {"id": next(numbers), "verdict_id": verdict_id + index, "state": "open", **columns}
                for index, columns in tasks
            ]
            insert_rows(connection, TaskRow, opened)
            facets.add(
                connection,
                opened,
                [
                    (facets.facets_of(item, verdict, source, words=self._words), facets.scores_of(verdict))
                    for _, item, _, verdict, _ in found
                ],
            )
            event = {"scan": scan_id, "tasks": [opened[0]["id"], opened[-1]["id"]] if opened else None}
            seal = Seal.over_rows(VERDICT_FORM, verdicts)
            audit_log.append(connection, "verdicts", at, event, [seal])

    def finish_scan(self, scan_id: int, state: ScanState) -> None:
        """Say how a scan ended: ``finished``, ``interrupted`` or ``failed``."""
        if state not in ("finished", "interrupted", "failed"):
            raise StoreError(f"scan {scan_id} cannot end as {state!r}; use finished, interrupted or failed")
        at = clock.now()
        with self.writing() as connection:
            self._must_run(connection, scan_id)
            connection.execute(
                update(ScanRow).where(ScanRow.id == scan_id).values(state=state, finished_at=at)
            )
            audit_log.append(connection, "scan_finished", at, {"scan": scan_id, "state": state})

    def verdicts(self, scan_id: int) -> Iterator[tuple[int, Verdict]]:
        """The position and verdict of each item of a scan, in order; streams, holding one page."""
        columns = [getattr(VerdictRow, name) for name in VERDICT_COLUMNS]
        query = (
            select(ItemRow.external_id, *columns)
            .join(ItemRow, ItemRow.id == VerdictRow.item_id)
            .where(VerdictRow.scan_id == scan_id)
            .order_by(VerdictRow.position)
            .limit(_PAGE)
        )
        after: int | None = None
        while True:
            page = query if after is None else query.where(VerdictRow.position > after)
            with self.reading() as connection:
                rows = connection.execute(page).mappings().all()
            for row in rows:
                yield row["position"], verdict_from_row(row, row["external_id"])
            if len(rows) < _PAGE:
                return
            after = rows[-1]["position"]

    def _must_run(self, connection: Connection, scan_id: int) -> str:
        """The source of a scan that has not ended."""
        query = select(ScanRow.state, ScanRow.source).where(ScanRow.id == scan_id)
        state, source = connection.execute(query).one_or_none() or (None, "")
        if state is None:
            raise StoreError(f"{self.url}: there is no scan {scan_id}; begin one with start_scan")
        if state != "running":
            raise StoreError(
                f"{self.url}: scan {scan_id} is already {state}; begin a new one with start_scan"
            )
        return unescape_text(source)


def next_key(connection: Connection, column: InstrumentedAttribute[int]) -> int:
    """The next dense key of a table, for the writer whose turn it is."""
    return int(connection.execute(select(func.coalesce(func.max(column), 0))).scalar_one()) + 1
