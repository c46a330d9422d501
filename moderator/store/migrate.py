"""Migrations, configured in code: the schema is created and brought up to date under a lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

import moderator
from moderator.errors import StoreError
from moderator.store.engine import WRITER, lock, reading, schema_revision, shown, translated, use_wal
from moderator.store.tables import APPEND_ONLY, SCHEMA_REVISION, Base

_MIGRATION_LOCK = 0x6D6F6465_6D6967  # "mode", "mig"
_ONE_AT_A_TIME = threading.Lock()  # Alembic keeps the running migration in module globals


def head() -> str:
    """The revision this software writes."""
    return SCHEMA_REVISION


def current(engine: Engine) -> str | None:
    """The revision the database is at; ``None`` for one never used before."""
    with reading(engine) as connection:
        return schema_revision(connection)


def ensure_current(engine: Engine, *, migrate: bool) -> None:
    """Leave the database at ``head()``, or say why not: unknown revision, or ``migrate`` is off."""
    at = current(engine)
    if at == SCHEMA_REVISION:
        return
    _refuse_unknown(engine, at)
    if not migrate:
        state = "has not been set up" if at is None else f"is at schema {at}, not {SCHEMA_REVISION}"
        raise StoreError(f"{shown(engine.url)}: the database {state}; run `moderator db upgrade`")
    upgrade(engine)


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database up to ``revision``. Safe to call from several processes at once."""
    with translated(engine.url):
        use_wal(engine)
    with _migrating(engine) as (connection, config):
        at = schema_revision(connection)
        _refuse_unknown(engine, at)
        if at != SCHEMA_REVISION or revision != "head":
            command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to ``revision`` (``base``: drop everything). Loses what is dropped."""
    with _migrating(engine) as (_, config):
        command.downgrade(config, revision)


def check(engine: Engine) -> list[str]:
    """How the database differs from what this software expects; empty if it does not."""
    file = engine.url.database or ""
    if engine.dialect.name == "sqlite" and not file.startswith("file:") and not Path(file).exists():
        return [f"there is no file {file}; run `moderator db upgrade`"]  # looking would create it
    with reading(engine) as connection:
        at = schema_revision(connection)
        if at != SCHEMA_REVISION:
            return [
                f"schema revision is {at or 'none'}, expected {SCHEMA_REVISION}; run `moderator db upgrade`"
            ]
        options: dict[str, Any] = {"compare_type": True, "include_object": _is_ours}
        context = MigrationContext.configure(connection, opts=options)
        found = [str(difference) for difference in compare_metadata(context, Base.metadata)]
        return found + [
            f"{table}: its triggers against edits are missing" for table in _unguarded(connection)
        ]


def _is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
    return kind != "table" or name in Base.metadata.tables  # others may share a PostgreSQL schema


def _unguarded(connection: Connection) -> list[str]:
    """Append-only tables without one of their triggers."""
    query = (
        "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'"
        if connection.dialect.name == "sqlite"
        else "SELECT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
        "WHERE NOT tgisinternal AND tgenabled <> 'D' AND relnamespace = current_schema()::regnamespace"
    )
    guarded = [row[0] for row in connection.execute(text(query))]
    # SQLite: no update, no delete, no replace; PostgreSQL: no edit, no truncate
    needed = 3 if connection.dialect.name == "sqlite" else 2
    return [table for table in APPEND_ONLY if guarded.count(table) < needed]


def _refuse_unknown(engine: Engine, revision: str | None) -> None:
    with _config() as config:
        script = ScriptDirectory.from_config(config)
        known = {each.revision for each in script.walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreError(
            f"{shown(engine.url)}: the database is at schema {revision!r}, which this software (schema "
            f"{SCHEMA_REVISION}) does not know: upgrade the software, or give another --db if the database "
            "belongs to another program"
        )


@contextmanager
def _config() -> Iterator[Config]:
    with as_file(_folder()) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        yield config


def _folder() -> Any:
    try:
        return files("moderator.migrations")
    except ModuleNotFoundError:
        # a checkout that is run without being installed, or that shadows an installed copy
        beside = Path(moderator.__file__).parents[1] / "migrations"
        if not beside.is_dir():
            raise StoreError(
                "the package moderator.migrations is not installed; reinstall moderator, or from a "
                "checkout run `pip install -e .`"
            ) from None
        return beside


@contextmanager
def _migrating(engine: Engine) -> Iterator[tuple[Connection, Config]]:
    """One transaction that holds the right to migrate, from before the version is read to the end."""
    with _ONE_AT_A_TIME, _config() as config, translated(engine.url):
        sqlite = engine.dialect.name == "sqlite"
        with engine.connect().execution_options(**{WRITER: True}) as connection:
            raw: Any = connection.connection.driver_connection
            if sqlite:  # rebuilding a table others refer to; impossible to switch inside a transaction
                raw.execute("PRAGMA foreign_keys=OFF")
            try:
                with connection.begin():
                    lock(connection, _MIGRATION_LOCK)
                    config.attributes["connection"] = connection
                    yield connection, config
                    if sqlite and (broken := connection.execute(text("PRAGMA foreign_key_check")).first()):
                        raise StoreError(
                            f"{shown(engine.url)}: the migration broke a reference in {broken[0]}"
                        )
            finally:
                if sqlite:
                    raw.execute("PRAGMA foreign_keys=ON")
