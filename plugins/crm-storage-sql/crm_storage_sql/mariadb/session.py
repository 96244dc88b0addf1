"""A thread's connection to MariaDB, and what the server's errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import repeat
from typing import Any, Final, cast

from crm_core.errors import (
    CrmError,
    DuplicateKey,
    NumberTooLarge,
    StorageConflict,
    StorageError,
    StorageFull,
    StorageLocked,
)
from crm_core.records.schema import Primitive, Row, Table
from crm_storage_sql.mariadb.packet import LARGE, TooLong, in_rows, in_step
from crm_storage_sql.room import MANIFEST, Parameters
from crm_storage_sql.server import ServerSession
from crm_storage_sql.server_url import Server

COLLATION: Final = "utf8mb4_nopad_bin"
PARAMETERS: Final = frozenset({"ssl_ca", "ssl_cert", "ssl_key", "unix_socket"})
_OLDEST: Final = (10, 6)
_STATEMENT: Final = 1 << 18
"""The characters of one INSERT: at most 1 MB, well below what any server takes."""
_TOGETHER: Final = 1_000
"""Rows whose columns are looked at together: mostly empty or of few values, which takes a third of the time."""
_MODE: Final = "ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO"
_SORTED: Final = 1 << 16
"""The bytes of a text by which MariaDB sorts; its own default, 1024, ends within 256 characters of emoji."""
_GATHERED: Final = 1 << 30
"""The bytes of texts that MariaDB puts together, of the addresses of one record; its own default cuts them at 1 MB."""
_SPECIAL: Final = re.compile(r"[\0\n\r\x1a\"'\\]")
_KEY: Final = re.compile(r"'([^']*)'\s*$")
_DUPLICATE, _GAVE_WAY, _WAITED, _FULL = {1062, 1586}, {1213, 1020, 1412}, {1205}, {1021, 1114, 3675}
_NO_TABLE: Final = 1146
_TOO_LARGE: Final = frozenset({1264, 1690})
_LOST: Final = frozenset({0, 1053, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2014, 2055, 4031})
_HINTS: Final = {
    1040: "all connections are taken: close some, or raise max_connections of the server",
    1118: "the record type has more text fields than a row of MariaDB takes: give some more than 200 characters, "
    "which are stored apart",
    1142: "ask the database's owner for the right, or name another user in the storage URL",
    _NO_TABLE: "bring the database up to date: crm storage upgrade",
    1290: "the server takes no writes now (a replica?): name the primary server in the storage URL",
}


class MariadbSession(ServerSession):
    """A thread's connection to MariaDB, and what its transaction must find at the end for its references to hold."""

    def __init__(self, server: Server) -> None:
        self.pointed_at: dict[str, dict[int, str]] = {}
        """Per table the ids that were written into references, each with the table that holds it."""
        self.deleted: dict[str, set[int]] = {}
        super().__init__(server)

    def connect(self) -> Any:
        """Open a connection; each statement outside a transaction is one of its own."""
        driver_ = driver()
        self.errors = (driver_.MySQLError, OverflowError, UnicodeEncodeError, TooLong)
        self._limit = 0
        try:
            connection = connected(**arguments(self.server), database=self.server.database)
        except driver_.MySQLError as error:
            raise _no_connection(self.server, error) from error
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def start(self, *, write: bool) -> None:
        """Begin; a snapshot is taken at once."""
        if write:
            self.change("START TRANSACTION READ WRITE")
            return
        self.change("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # The first table that is read takes the snapshot, and what waits for it (`replace`) waits for all of it. A
        # database that lacks the manifest has nothing to replace.
        self.change("START TRANSACTION READ ONLY")
        try:
            self.fetch(f"SELECT id FROM {MANIFEST}", ())
        except self.errors as error:
            if code_of(error) == _NO_TABLE:
                return
            if not self.is_lost(error):
                self.change("ROLLBACK")
            raise

    def end(self) -> None:
        """Note that there is no transaction any more."""
        super().end()
        self.pointed_at.clear()
        self.deleted.clear()

    def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        """Return the rows of a statement."""
        return list(self._run(statement, parameters).fetchall())

    def change(self, statement: str) -> None:
        """Carry out a statement without parameters or rows."""
        self._run(statement, ())

    def is_lost(self, error: Exception) -> bool:
        """Return whether the connection is gone."""
        return self.connection is None or not self.connection.open or code_of(error) in _LOST

    def run_all(self, steps: Iterable[tuple[str, Sequence[Any]]], table: str) -> list[int]:
        """Run statements after each other; a row that was found counts, changed or not."""
        counts = []
        for statement, parameters in steps:
            try:
                counts.append(int(self._run(statement, parameters).rowcount))
            except self.errors as error:
                raise self.failure(in_step(error, table, statement, parameters), table) from error
        return counts

    def insert(self, statement: str, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert by statements of many rows, written by hand: the driver's own way takes twice as long."""
        head = statement[: statement.index(" VALUES ")] + " VALUES "
        try:
            for values in _values(rows):
                self._run(head + values, ())
        except self.errors as error:
            raise self.failure(in_rows(error, table.name, columns, rows), table.name) from error

    def last_id(self) -> int:
        """Return what the last statement gave to LAST_INSERT_ID, which came with its answer."""
        return int(self.connection.insert_id())

    def translated(self, error: Exception, table: str = "") -> CrmError:
        """Return the CRM's error for one of PyMySQL's."""
        title, code, words = self.server.title, code_of(error), said(error)
        if code in _DUPLICATE:
            name = _KEY.search(words)
            where, columns = self.duplicate_of(name[1] if name else "", table)
            told = f"{where}: another record has the same {', '.join(columns)}"
            return DuplicateKey(told, table=where, columns=columns)
        if code in _TOO_LARGE or isinstance(error, OverflowError):
            return NumberTooLarge()
        if isinstance(error, TooLong):
            return StorageError(f"{title}: {error}", hint=error.hint)
        if code in _GAVE_WAY:
            return StorageConflict(
                f"{title}: two transactions were in each other's way, and this one gave way",
                hint="do the whole of it again",
            )
        if code in _WAITED:
            return StorageLocked(
                f"{title}: another transaction has held what is needed for {self.server.timeout:g} seconds",
                hint="let the running import or command end, then try again; or raise timeout in [storage] of crm.toml",
            )
        if code in _FULL:
            return StorageFull(f"{title}: there is no room left: {words}", hint="free some space on the server's disk")
        if self.is_lost(error):
            return StorageError(f"{title}: the connection was lost: {words}", hint="try again; is the server up?")
        return StorageError(f"{title}: MariaDB says: {words}", hint=_HINTS.get(code, ""))

    def _run(self, statement: str, parameters: Parameters) -> Any:
        cursor = self.connection.cursor()
        query = cursor.mogrify(statement, parameters) if parameters else statement
        sent = query.encode()  # the driver would let half a character through
        if len(sent) >= LARGE:
            self._require_room(len(sent))
        cursor.execute(sent)
        return cursor

    def _require_room(self, size: int) -> None:
        if not self._limit:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT @@max_allowed_packet")
                self._limit = int(cursor.fetchone()[0])
        if size >= self._limit:
            raise TooLong(size, self._limit)

    def _prepare(self, connection: Any) -> None:
        version = connection.get_server_info()
        found = re.search(r"(\d+)\.(\d+)\.\d+-MariaDB", version)
        if found is None or (int(found[1]), int(found[2])) < _OLDEST:
            raise StorageError(
                f"{self.server.title}: the server is {version}; MariaDB 10.6 or later is needed",
                hint="upgrade the server; MySQL is another database",
            )
        wait = max(1, round(self.server.timeout))
        settings = (
            f"sql_mode = '{_MODE}'",
            "time_zone = '+00:00'",
            f"innodb_lock_wait_timeout = {wait}",
            f"lock_wait_timeout = {wait}",
            f"max_sort_length = {_SORTED}",
            f"group_concat_max_len = {_GATHERED}",
        )
        with connection.cursor() as cursor:
            cursor.execute(f"SET NAMES utf8mb4 COLLATE {COLLATION}")
            cursor.execute(f"SET SESSION {', SESSION '.join(settings)}")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


def _values(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the rows as SQL, as many in one text as a statement should have."""
    parts: list[str] = []
    size = 0
    for text in _texts(rows):
        if parts and size + len(text) > _STATEMENT:
            yield ",".join(parts)
            parts, size = [], 0
        parts.append(text)
        size += len(text)
    if parts:
        yield ",".join(parts)


def _texts(rows: Sequence[Row]) -> Iterator[str]:
    """Yield each row as SQL; what all of some rows have alike is written once for them."""
    for start in range(0, len(rows), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        forms: list[str] = []
        varying: list[Iterable[object]] = []
        for cells in zip(*some, strict=True):
            form, column = _column(cells)
            forms.append(form)
            if column is not None:
                varying.append(column)
        form = f"({','.join(forms)})"
        for row in zip(*varying, strict=True) if varying else repeat((), len(some)):
            yield form % row


def _column(cells: Sequence[Primitive]) -> tuple[str, Iterable[object] | None]:
    """Return how a cell of this column is written, and what goes there in each row; None: all rows are alike."""
    distinct = set(cells)
    if len(distinct) == 1:
        return _literal(cells[0]).replace("%", "%%"), None
    if len(distinct) * 4 < len(cells):
        return "%s", map({cell: _literal(cell) for cell in distinct}.__getitem__, cells)
    kinds = set(map(type, distinct))
    if kinds == {int}:
        return "%s", cells
    if kinds == {str} and not any(map(_SPECIAL.search, cast("set[str]", distinct))):
        return "'%s'", cells
    return "%s", map(_literal, cells)


def _literal(cell: Primitive) -> str:
    if cell is None:
        return "NULL"
    if isinstance(cell, str):
        return f"'{_SPECIAL.sub(_escaped, cell)}'"
    return str(cell)


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPES[found[0]]


_ESCAPES: Final = {
    "\0": "\\0", "\n": "\\n", "\r": "\\r", "\x1a": "\\Z", '"': '\\"', "'": "\\'", "\\": "\\\\"
}  # fmt: skip


def driver() -> Any:
    """Return PyMySQL.

    Raises:
        StorageError: it is not installed.
    """
    try:
        import pymysql
    except ImportError as error:
        raise StorageError(
            f"mariadb:// needs PyMySQL, which cannot be used: {error}",
            hint='install it: pip install "crm-storage-sql[mariadb]"',
        ) from error
    return pymysql


def connected(**given: Any) -> Any:
    """Return a connection of PyMySQL."""
    return _connection_class()(**given)


@cache
def _connection_class() -> Any:
    """Return PyMySQL's connection, whose settings of TLS are made once in a process.

    PyMySQL makes them for each connection, and reads all certificates of the system for it, also where none is looked
    at: twice the time of everything else that opens a connection.
    """
    made: dict[str, Any] = {}

    class Connection(driver().connections.Connection):  # type: ignore[misc]
        def _create_ssl_ctx(self, sslp: Any) -> Any:
            key = repr(sslp)
            if key not in made:
                made[key] = super()._create_ssl_ctx(sslp)
            return made[key]

    return Connection


def arguments(server: Server) -> Mapping[str, Any]:
    """Return what PyMySQL connects by: rows that an update finds count, and no server may ask for files."""
    from pymysql.constants import CLIENT

    given = {"host": server.host, "port": server.port, "user": server.user, **server.parameters}
    return {
        **{name: value for name, value in given.items() if value},
        "password": server.password,
        "charset": "utf8mb4",
        "autocommit": True,
        "connect_timeout": max(1, round(server.connect_timeout)),
        "client_flag": CLIENT.FOUND_ROWS,
        "local_infile": False,
    }


def _no_connection(server: Server, error: Exception) -> StorageError:
    return StorageError(
        f"{server.title}: the server cannot be reached: {said(error)}",
        hint="is it up, and are host, port, user and password right? "
        "the password may be in the URL, in [storage] of crm.toml or in CRM_STORAGE_PASSWORD",
    )


def code_of(error: BaseException) -> int:
    """Return the number of a driver's error, -1 when it has none."""
    code = error.args[0] if error.args else None
    return code if isinstance(code, int) else -1


def said(error: Exception) -> str:
    """Return the words of a driver's error in one line."""
    told = str(error.args[1] if len(error.args) > 1 else error)
    return " ".join(told.split())
