"""Connections: one kind of transaction for readers, one for writers, and errors people can act on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from moderator.errors import StoreError

BUSY_SECONDS = 30
_APPEND_LOCK = 0x6D6F6465_6C6F67  # "mode", "log": every writer of this software takes it
WRITER = "moderator_writer"
"""The execution option that makes a transaction a writer's from its start."""
_HIDDEN = "***"

# what a driver says → what to do about it; the first that fits
_ADVICE = (
    ("unable to open database file", "check that its folder exists and may be written to"),
    ("readonly database", "the file or its folder is read-only; make it writable or give another --db"),
    ("read-only transaction", "the server or the role is read-only; give the primary server as --db"),
    ("disk is full", "free some space and start again; what was reported as done is kept"),
    ("no space left", "free some space and start again; what was reported as done is kept"),
    ("database is locked", f"another command has been writing for over {BUSY_SECONDS} s; try again"),
    ("not a database", "the file is something else or damaged; give another --db"),
    ("malformed", "the file is damaged; restore a copy"),
    ("password", "check user and password in the URL"),
    ("are never edited", "if a scan or a decision says so: run `moderator audit verify`"),
    ("pk_audit_log", "a row was written into the log from outside; run `moderator audit verify`"),
    ("permission denied", "the role lacks a right it needs on these tables"),
    ("does not exist", "check the name, and that `moderator db upgrade` has been run"),
    ("no such table", "run `moderator db upgrade`"),
    ("connection", "check that the server runs and the URL is right, then start again"),
)


def parse_url(given: str) -> URL:
    """The URL with its driver; plain ``postgresql://`` means psycopg. ``StoreError`` if unusable."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        # not repeated: it may hold a password
        raise StoreError(
            "the database URL cannot be read; write sqlite:///file.db or postgresql://user@host/name"
        ) from None
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreError(
            f"{shown(url)}: databases of kind {url.drivername!r} are not supported; use sqlite or postgresql"
        )
    if url.database in (None, "", ":memory:"):
        raise StoreError(f"{shown(url)}: a database in memory is not shared between connections; name a file")
    return url


def must_exist(url: URL) -> None:
    """``StoreError`` if there is no such SQLite file, which connecting would create."""
    file = url.database or ""
    if url.get_backend_name() == "sqlite" and not file.startswith("file:") and not Path(file).exists():
        raise StoreError(
            f"{shown(url)}: there is no file {file}, the database has not been set up; "
            "run `moderator db upgrade` or give another --db"
        )


def shown(url: URL) -> str:
    """The URL for people, its passwords hidden."""
    secret = [key for key in url.query if "password" in key.lower()]
    return url.update_query_dict(dict.fromkeys(secret, _HIDDEN)).render_as_string(hide_password=True)


def make_engine(url: URL) -> Engine:
    """An engine whose writers take turns: see ``writing``."""
    if url.get_backend_name() == "postgresql":
        try:
            return create_engine(
                url,
                # after waiting for its turn a writer must see what the one before it wrote
                isolation_level="READ COMMITTED",
                pool_pre_ping=True,
                connect_args={} if "connect_timeout" in url.query else {"connect_timeout": 10},
            )
        except ModuleNotFoundError as error:
            raise StoreError(
                f"{shown(url)}: PostgreSQL needs the driver {error.name!r}; pip install 'moderator[postgres]'"
            ) from error
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin as we say, not at the driver's guess
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    connection.execute("PRAGMA synchronous=FULL")  # an acknowledged batch survives power loss


def _begin_sqlite(connection: Connection) -> None:
    # a reader that turns writer half way may be refused at once, so a writer says so from the start
    connection.exec_driver_sql(
        "BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITER) else "BEGIN"
    )


def use_wal(engine: Engine) -> None:
    """Put a SQLite file in WAL mode, where readers and a writer do not wait for each other."""
    if engine.dialect.name != "sqlite":
        return
    give_up = time.monotonic() + BUSY_SECONDS
    connection = engine.raw_connection()
    try:
        while True:
            try:
                connection.cursor().execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                # the switch ignores the busy timeout when another process is switching too
                if "locked" in str(error) and time.monotonic() < give_up:
                    time.sleep(0.02)
                    continue
                if "readonly" not in str(error):  # a read-only file can still be read
                    raise
            return
    finally:
        connection.close()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads."""
    with translated(engine.url), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads, and sees one moment of the database however long it takes.

    Text that is not UTF-8, which only tampering leaves in SQLite, comes as lone surrogates, not an error.
    """
    with translated(engine.url), engine.connect() as connection:
        sqlite = engine.dialect.name == "sqlite"
        raw: Any = connection.connection.driver_connection
        if sqlite:
            raw.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        try:
            with connection.begin():
                yield connection
        finally:
            if sqlite:
                raw.text_factory = str


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes, alone: whoever comes second waits, so that keys are dense."""
    with (
        translated(engine.url),
        engine.connect().execution_options(**{WRITER: True}) as connection,
        connection.begin(),
    ):
        lock(connection, _APPEND_LOCK)
        yield connection


@contextmanager
def acting(engine: Engine) -> Iterator[Connection]:
    """A transaction that locks rows first and calls ``take_turn`` before it adds any.

    All who lock rows of tasks do so in this order, or two of them could wait for each other.
    """
    with (
        translated(engine.url),
        engine.connect().execution_options(**{WRITER: True}) as connection,
        connection.begin(),
    ):
        yield connection


def take_turn(connection: Connection) -> None:
    """Wait until no other writer adds rows, so that keys are dense; until the transaction ends."""
    lock(connection, _APPEND_LOCK)


def schema_revision(connection: Connection) -> str | None:
    """The migration a database is at; ``None`` for one never used before."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def lock(connection: Connection, key: int) -> None:
    """Wait for this transaction's turn; SQLite's writers have it since ``BEGIN IMMEDIATE``."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the driver's errors into ``StoreError``: the database, what happened, what to do."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreError(f"{shown(url)}: {_said(error, url)}") from error


def _said(error: Exception, url: URL) -> str:
    cause: Any = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = " ".join(str(cause).split())
    for key, value in (("", url.password), *url.query.items()):
        if value and (not key or "password" in key.lower()):
            said = said.replace(str(value), _HIDDEN)
    advice = next((what for words, what in _ADVICE if words in said.lower()), "")
    return f"{said}; {advice}" if advice else said
