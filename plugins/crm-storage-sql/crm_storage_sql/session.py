"""A thread's connection and the transaction it is in, and what becomes of it when the process forks.

SQLite counts its locks per process, and a forked child inherits the count but not the locks: were it to open the same
file beside an inherited connection, it would write unprotected. So the forking thread's idle connection is closed
before the fork, and a child that inherits any other one refuses that file.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Final, Literal
from weakref import WeakSet

from crm_core.errors import StorageError
from crm_storage_sql.lock import WriterQueue
from crm_storage_sql.sqlite import connect
from crm_storage_sql.url import Place


class Session:
    """A thread's connection, and the transaction it is in; it closes when its thread ends."""

    def __init__(self, place: Place, queue: WriterQueue) -> None:
        if place.path in _refused:
            raise StorageError(
                f"{place.path}: this process was forked while its parent was using the database",
                hint='open the CRM in the child alone, or start the process by "spawn" instead of "fork"',
            )
        self.path = place.path
        self.connection: sqlite3.Connection = connect(place, queue)
        self.mode: Literal["", "read", "write"] = ""
        self.failed = False
        self._pid = os.getpid()
        self._thread = threading.get_ident()
        _open.add(self)

    @property
    def usable(self) -> bool:
        """Whether it belongs to this process and was not closed for a fork."""
        return self._pid == os.getpid()

    def close(self) -> None:
        """Close the connection, unless it is a parent's: closing that here would break it there."""
        if self.usable:
            self._pid = 0
            self.connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_pid"):
            self.close()


_open: Final[WeakSet[Session]] = WeakSet()
_inherited: Final[list[Session]] = []
_refused: Final[set[Path]] = set()


def _before_fork() -> None:
    for session in list(_open):
        if session._thread == threading.get_ident() and not session.mode:
            session.close()


def _after_fork_in_child() -> None:
    kept = [session for session in _open if session._pid]
    _inherited.extend(kept)
    _refused.update(session.path for session in kept)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
