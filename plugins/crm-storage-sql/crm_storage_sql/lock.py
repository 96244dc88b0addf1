"""The queue of writers: an operating-system lock on a file beside the database.

SQLite alone lets writers poll for its lock, unfairly: four busy processes then wait seconds. Here they wait in line.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from crm_core.errors import StorageError, StorageLocked

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


_log = logging.getLogger("crm_core.storage")
"""What is said here, `crm` shows on standard error."""
PATIENCE: Final = 2.0
"""Seconds after which who waits says so."""


def say_waiting(path: Path, who: str, timeout: float) -> None:
    """Tell the person for whom a command waits, and how long at most."""
    _log.warning("%s: waiting for %s, at most %g seconds", path, who, timeout)


class WriterQueue:
    """The right to write to a database, for one thread of one process at a time; a thread may take it again.

    It ends with the process that holds it, however that ends.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._pid = os.getpid()
        self._threads = threading.RLock()
        self._depth = 0
        self._fd = -1

    def acquire(self, timeout: float | None = None) -> None:
        """Wait in line for the right to write, at most `timeout` seconds (None: those of the queue).

        Raises:
            StorageLocked: it did not come within the time-out.
            StorageError: the lock file cannot be opened.
        """
        if self._pid != os.getpid():
            self._after_fork()
        patience = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + patience
        if not self._threads.acquire(timeout=patience):
            raise self._locked()
        if self._depth == 0:
            try:
                self._lock_file(deadline)
            except BaseException:
                self._threads.release()
                raise
        self._depth += 1

    def release(self) -> None:
        """Let the next in line go on."""
        self._depth -= 1
        if self._depth == 0 and self._fd >= 0:
            _unlock(self._fd)
        self._threads.release()

    def close(self) -> None:
        """Close the lock file."""
        if self._fd >= 0 and self._pid == os.getpid():
            os.close(self._fd)
            self._fd = -1

    def _after_fork(self) -> None:
        """Drop what the parent holds: its lock file's position in line is shared, so the child opens one of its own."""
        if self._fd >= 0:
            os.close(self._fd)
        self._pid, self._threads, self._depth, self._fd = os.getpid(), threading.RLock(), 0, -1

    def _lock_file(self, deadline: float) -> None:
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            except OSError as error:
                raise StorageError(
                    f"{self._path}: the lock file of the database cannot be opened: {error.strerror}",
                    hint="writing needs the right to write in the folder of the database",
                ) from error
        if not _try_lock(self._fd) and not self._wait_in_line(deadline):
            raise self._locked()
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, b"%-20d\n" % os.getpid())

    def _wait_in_line(self, deadline: float) -> bool:
        if sys.platform == "win32":
            told = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if _try_lock(self._fd):
                    return True
                if time.monotonic() >= told:
                    self._say_waiting()
                    told = deadline
                time.sleep(0.005)
            return False
        waiter = _Waiter(self._fd)
        if deadline - time.monotonic() > PATIENCE and not waiter.is_answered(PATIENCE):
            self._say_waiting()
        if waiter.got_it(max(0.0, deadline - time.monotonic())):
            return True
        self._fd = -1  # the waiter closes it
        return False

    def _say_waiting(self) -> None:
        say_waiting(self._database, f"another writer{self._holder()}", self._timeout)

    def _locked(self) -> StorageLocked:
        return StorageLocked(
            f"{self._database}: another writer{self._holder()} has held it for {self._timeout:g} seconds",
            hint="let the running import or command end, then try again; or raise timeout in [storage] of crm.toml",
        )

    @property
    def _database(self) -> Path:
        return self._path.with_name(self._path.name.removesuffix("-lock"))

    def _holder(self) -> str:
        with suppress(OSError, ValueError):
            pid = int(self._path.read_text())
            return " (this process, another thread)" if pid == os.getpid() else f" (process {pid})"
        return ""


if sys.platform == "win32":

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, 1024, os.SEEK_SET)  # beyond the process id, which others may read
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, 1024, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

    class _Waiter:
        """A thread that waits for the lock: the kernel serves `flock` in order, but knows no time-out."""

        def __init__(self, fd: int) -> None:
            self._fd = fd
            self._decision = threading.Lock()
            self._answer = threading.Event()
            self._error: OSError | None = None
            self._given_up = False
            threading.Thread(target=self._wait, daemon=True, name="crm-writer-queue").start()

        def is_answered(self, timeout: float) -> bool:
            """Wait; False: not yet."""
            return self._answer.wait(timeout)

        def got_it(self, timeout: float) -> bool:
            """Wait; False: the time is over, and the thread lets go of the lock if it still comes."""
            self._answer.wait(timeout)
            with self._decision:
                if self._error is not None:
                    raise self._error
                self._given_up = not self._answer.is_set()
            return not self._given_up

        def _wait(self) -> None:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX)
            except OSError as error:
                self._error = error
            with self._decision:
                if self._given_up:
                    os.close(self._fd)
                self._answer.set()
