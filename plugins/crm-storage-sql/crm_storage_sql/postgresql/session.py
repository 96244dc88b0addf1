"""A thread's connection to PostgreSQL, and what the server's errors mean."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crm_core.errors import (
    CrmError,
    DuplicateKey,
    NumberTooLarge,
    StorageConflict,
    StorageError,
    StorageFull,
    StorageLocked,
)
from crm_core.records.schema import Row, Table
from crm_storage_sql.dialect import quote
from crm_storage_sql.room import MANIFEST, Parameters
from crm_storage_sql.server import ServerSession
from crm_storage_sql.server_url import Server

PARAMETERS: Final = frozenset({"host", "schema", "sslcert", "sslkey", "sslmode", "sslrootcert"})
_OLDEST: Final = 130000  # incremental sort, which keeps a page of a sorted list short
_FEW: Final = 4
"""Up to so many rows go as INSERT: COPY cannot be prepared."""
_STEPS: Final = 1000
"""Statements sent before their answers are read."""
_TYPES: Final = {"int": "int8", "text": "text"}
_DUPLICATE, _DANGLING, _GAVE_WAY = "23505", "23503", frozenset({"40001", "40P01"})
_TOO_LARGE: Final = "22003"
_WAITED, _FULL = "55P03", frozenset({"53100", "53200"})
_NO_TABLE: Final = "42P01"
_HINTS: Final = {
    "25006": "the server takes no writes now (a standby?): name the primary server in the storage URL",
    "42501": "ask the database's owner for the right, or name another user in the storage URL",
    "53300": "all connections are taken: close some, or raise max_connections of the server",
    "2BP01": "a view of somebody builds on the CRM's: drop it, upgrade, and create it again",
    _NO_TABLE: "bring the database up to date: crm storage upgrade",
}


class PostgresqlSession(ServerSession):
    """A thread's connection to PostgreSQL; `put_off` is a statement that goes to the server with the next one."""

    put_off: tuple[str, Sequence[Any]] | None = None

    def connect(self) -> Any:
        """Open a connection; each statement outside a transaction is one of its own."""
        driver_ = driver()
        self.errors = (driver_.Error, OverflowError, UnicodeEncodeError)
        try:
            connection = driver_.connect(**arguments(self.server), autocommit=True)
        except driver_.Error as error:
            raise _no_connection(self.server, error) from error
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def start(self, *, write: bool) -> None:
        """Begin; a snapshot is taken by its first statement."""
        if write:
            self.connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            return
        # A table that `replace` has put in place after the snapshot would be empty in it. So before it is taken comes a
        # lock for which `replace` waits; a database that lacks the manifest has nothing to replace.
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        try:
            self.connection.execute(f"{begin}; LOCK TABLE {MANIFEST} IN ACCESS SHARE MODE; SELECT 1")
        except self.errors as error:
            if not self.is_lost(error):
                self.connection.execute("ROLLBACK")
            if getattr(error, "sqlstate", None) != _NO_TABLE:
                raise
            self.connection.execute(f"{begin}; SELECT 1")

    def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        """Return the rows of a statement."""
        self._catch_up()
        found: list[Row] = self.connection.execute(statement, parameters).fetchall()
        return found

    def last_rows(self, statements: str) -> list[Row]:
        """Return the rows of the last one of several statements, which go to the server in one way."""
        self._catch_up()
        try:
            cursor = self.connection.execute(statements)
            while cursor.nextset():
                pass
            found: list[Row] = cursor.fetchall()
        except self.errors as error:
            raise self.failure(error) from error
        return found

    def change(self, statement: str) -> None:
        """Carry out a statement without parameters or rows, with the one that was put off before it."""
        if self.put_off is None:
            self.connection.execute(statement)
            return
        with self.connection.pipeline():
            self._catch_up()
            self.connection.execute(statement, prepare=False)

    def end(self) -> None:
        """Note that there is no transaction any more."""
        super().end()
        self.put_off = None

    def rollback(self) -> None:
        """Forget the transaction, and what was put off in it."""
        self.put_off = None
        super().rollback()

    def _catch_up(self) -> None:
        put_off, self.put_off = self.put_off, None
        if put_off is not None:
            self.connection.execute(*put_off, prepare=False)

    def is_lost(self, error: Exception) -> bool:
        """Return whether the connection is gone."""
        return self.connection is None or bool(self.connection.closed)

    def run_all(self, steps: Iterable[tuple[str, Sequence[Any]]], table: str) -> list[int]:
        """Run statements; many are sent before the first answer is read."""
        waiting = list(steps)
        counts: list[int] = []
        try:
            self._catch_up()
            if len(waiting) == 1:
                return [self.connection.execute(*waiting[0]).rowcount]
            for start in range(0, len(waiting), _STEPS):
                with self.connection.pipeline():
                    # Not prepared: of a pipeline that the server breaks off, psycopg remembers what was never prepared.
                    steps = waiting[start : start + _STEPS]
                    cursors = [self.connection.execute(*step, prepare=False) for step in steps]
                counts += [cursor.rowcount for cursor in cursors]
        except self.errors as error:
            raise self.failure(error, table) from error
        return counts

    def insert(self, statement: str, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert a few rows by the statement, more by COPY."""
        if len(rows) <= _FEW:
            self.run_all([(statement, row) for row in rows], table.name)
            return
        kinds = {column.name: _TYPES[column.type] for column in table.columns}
        names = ", ".join(map(quote, columns))
        try:
            self._catch_up()
            with (
                self.connection.cursor() as cursor,
                cursor.copy(f"COPY {quote(table.name)} ({names}) FROM STDIN (FORMAT BINARY)") as copy,
            ):
                copy.set_types([kinds[name] for name in columns])
                for row in rows:
                    copy.write_row(row)
        except self.errors as error:
            raise self.failure(error, table.name) from error

    def translated(self, error: Exception, table: str = "") -> CrmError:
        """Return the CRM's error for one of psycopg's."""
        title = self.server.title
        code = getattr(error, "sqlstate", None) or ""
        words = said(error)
        if code == _DUPLICATE:
            where, columns = self.duplicate_of(str(_diagnosis(error, "constraint_name")), table)
            told = f"{where}: another record has the same {', '.join(columns)}"
            return DuplicateKey(told, table=where, columns=columns)
        if code == _DANGLING:
            return StorageError(
                f"{_diagnosis(error, 'table_name')}: a record points at one that does not exist; nothing was written",
                hint="write the record that is pointed at first, or delete those that point at it",
            )
        if code == _TOO_LARGE or isinstance(error, OverflowError):
            return NumberTooLarge()
        if code in _GAVE_WAY:
            return StorageConflict(
                f"{title}: two transactions were in each other's way, and this one gave way: {words}",
                hint="do the whole of it again",
            )
        if code == _WAITED:
            return StorageLocked(
                f"{title}: another transaction has held what is needed for {self.server.timeout:g} seconds",
                hint="let the running import or command end, then try again; or raise timeout in [storage] of crm.toml",
            )
        if code in _FULL:
            return StorageFull(f"{title}: there is no room left: {words}", hint="free some space on the server's disk")
        if self.is_lost(error):
            return StorageError(f"{title}: the connection was lost: {words}", hint="try again; is the server up?")
        return StorageError(f"{title}: PostgreSQL says: {words}", hint=_HINTS.get(code, ""))

    def _prepare(self, connection: Any) -> None:
        if connection.info.server_version < _OLDEST:
            raise StorageError(
                f"{self.server.title}: the server is PostgreSQL {connection.info.server_version // 10000}; "
                "13 or later is needed",
                hint="upgrade the server",
            )
        wait = max(1, round(self.server.timeout * 1000))
        settings = {"lock_timeout": f"{wait}ms", "jit": "off", "timezone": "UTC", "client_encoding": "UTF8"}
        connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))
        schema = self.server.parameters.get("schema", "")
        if schema:
            connection.execute("SELECT set_config('search_path', %s, false)", (quote(schema),))
        # A commit that has returned is on the server's disk, whatever its default says.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )


def driver() -> Any:
    """Return psycopg.

    Raises:
        StorageError: it is not installed, or finds no libpq.
    """
    try:
        import psycopg
    except ImportError as error:
        raise StorageError(
            f"postgresql:// needs psycopg, which cannot be used: {error}",
            hint='install it: pip install "crm-storage-sql[postgresql]"',
        ) from error
    logging.getLogger("psycopg").addFilter(_says_something)
    return psycopg


def _says_something(record: logging.LogRecord) -> bool:
    """Pass over what psycopg notes when a statement of several fails: the failure itself is raised."""
    return not str(record.msg).startswith("error ignored terminating")


def arguments(server: Server) -> Mapping[str, Any]:
    """Return what psycopg connects by; what the URL leaves open is libpq's to find (PGPASSFILE, say)."""
    given = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        **{name: value for name, value in server.parameters.items() if name != "schema"},
    }
    return {
        **{name: value for name, value in given.items() if value},
        "dbname": server.database,
        "connect_timeout": max(2, round(server.connect_timeout)),  # less is none to libpq
        "application_name": "crm",
    }


def _no_connection(server: Server, error: Exception) -> StorageError:
    return StorageError(
        f"{server.title}: the server cannot be reached: {said(error)}",
        hint="is it up, and are host, port, user and password right? "
        "the password may be in the URL, in [storage] of crm.toml or in CRM_STORAGE_PASSWORD",
    )


def said(error: Exception) -> str:
    """Return the first line of what the server says: the others may hold values of records."""
    return " ".join((_diagnosis(error, "message_primary") or str(error)).split("\n")[0].split())


def _diagnosis(error: Exception, what: str) -> str:
    return str(getattr(getattr(error, "diag", None), what, None) or "")
