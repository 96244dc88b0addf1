"""Failing at the k-th statement: an error, an error from then on (a disk that is gone), or the end of the process.

SQLite is failed at each statement that reaches the driver, other storages at each call of the contract that writes, and
servers at each statement that changes their schema.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from crm_core.errors import StorageError
from tests.torture import Broken, require

Mode = Literal["count", "raise", "gone", "exit"]
KILLED = 9
DATABASE = "crm.db"
_CALLS = ("begin", "commit", "insert_many", "put_many", "update_if_version", "delete", "append_ledger", "apply")
_CHANGES = ("ALTER", "CREATE", "DROP", "RENAME")


class Injected(StorageError):
    """The error that a storage of the contract is made to raise."""


class Faults:
    """Counts statements while it is armed, and fails at the one it was told."""

    def __init__(self) -> None:
        self.on = False
        self.reads = False
        self.mode: Mode = "count"
        self.at = 0
        self.count = 0
        self.committed: Callable[[], None] | None = None
        self.rewrite: Callable[[str], str] = str

    @contextmanager
    def armed(self, mode: Mode, at: int = 0, committed: Callable[[], None] | None = None) -> Iterator[None]:
        """Count, and fail at statement `at`; `committed` is called after each commit."""
        self.on, self.mode, self.at, self.count, self.committed = True, mode, at, 0, committed
        try:
            yield
        finally:
            self.on = False

    def step(self, error: Callable[[], Exception]) -> None:
        """Pass a statement, or fail."""
        if not self.on:
            return
        self.count += 1
        if self.count == self.at and self.mode == "exit":
            os._exit(KILLED)
        if (self.count == self.at and self.mode == "raise") or (self.count >= self.at > 0 and self.mode == "gone"):
            raise error()

    def done(self, is_commit: bool) -> None:
        """Tell of a commit."""
        if self.on and is_commit and self.committed is not None:
            self.on = False
            try:
                self.committed()
            finally:
                self.on = True


faults = Faults()


class _Connection(sqlite3.Connection):
    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return self._failing(sql, super().execute, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        return self._failing(sql, super().executemany, *parameters)

    def _failing(self, sql: str, call: Callable[..., sqlite3.Cursor], *parameters: Any) -> sqlite3.Cursor:
        sql = faults.rewrite(sql)
        word = sql.split(None, 1)[0].upper()
        if faults.reads or word not in ("SELECT", "PRAGMA"):
            faults.step(_disk_error)
        found = call(sql, *parameters)
        faults.done(word == "COMMIT")
        return found


@contextmanager
def rewriting(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Have SQLite's statements pass by a function that may change them: the control of a check breaks something."""
    before, faults.rewrite = faults.rewrite, rewrite
    try:
        yield
    finally:
        faults.rewrite = before


def must_break(told: str, rewrite: Callable[[str], str], tried: Callable[[], object]) -> None:
    """Break a promise on purpose by other statements: `tried` must find it and say `told`, else it finds nothing."""
    try:
        with rewriting(rewrite):
            tried()
    except Broken as error:
        require(told in str(error), f"the control ended otherwise than by {told!r}: {error}")
        return
    raise Broken(f"what was broken on purpose was not noticed: {told}")


def _disk_error() -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR"
    return error


def instrument_sqlite() -> None:
    """Have every connection to a workspace's database pass its statements by; scratch files are left alone."""
    connect = sqlite3.connect

    def connected(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        if str(database).endswith(DATABASE):
            options["factory"] = _Connection
        return connect(database, *arguments, **options)

    sqlite3.connect = connected


def instrument(storage_class: type[Any]) -> None:
    """Have every storage of a class pass its writing calls by."""
    for name in _CALLS:
        setattr(storage_class, name, _passing(getattr(storage_class, name), name))


def instrument_changes(session_class: type[Any]) -> None:
    """Have a server's statements that change its schema pass by, too: MariaDB commits each of them by itself."""
    method = session_class.change

    @functools.wraps(method)
    def change(session: Any, statement: str) -> None:
        if statement.split(None, 1)[0].upper() in _CHANGES:
            faults.step(lambda: Injected("injected"))
        method(session, statement)

    session_class.change = change


def _passing(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        faults.step(lambda: Injected("injected"))
        found = method(*arguments, **options)
        faults.done(name == "commit")
        return found

    return call


def in_child(action: Callable[[], None]) -> int:
    """Run an action in a forked process and return its exit code, -9 when it was killed."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            action()
        except BaseException:
            traceback.print_exc()
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
