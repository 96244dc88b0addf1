"""The queue of writers: an operating-system lock on a file beside the database, and the line for it.

SQLite alone lets writers poll for its lock, unfairly: four busy processes then wait seconds. Here they wait in line.
The operating system does not keep one: it wakes who waits, and whoever asks at that moment may be quicker. So the next
process is chosen while the one before it still writes: it holds a second lock, and only who holds that may wait for the
first. The threads of a process pass the right on in the order in which they asked.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
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


class _Turns:
    """Whose turn it is among the threads of this process; who lets go hands it to the one that asked first."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._owner: int | None = None
        self._line: deque[tuple[int, threading.Lock]] = deque()

    def acquire(self, timeout: float) -> bool:
        """Wait for this thread's turn, at most so many seconds; it may be its turn already."""
        me, turn = threading.get_ident(), threading.Lock()
        with self._mutex:
            if self._owner in (None, me):
                self._owner = me
                return True
            turn.acquire()
            self._line.append((me, turn))
        came = False
        try:
            came = turn.acquire(timeout=timeout)
        finally:
            if not came:
                self._leave(me, turn)
        return came

    def release(self) -> None:
        """Let the next thread go on."""
        with self._mutex:
            self._owner = None
            if self._line:
                self._owner, turn = self._line.popleft()
                turn.release()

    def _leave(self, me: int, turn: threading.Lock) -> None:
        with self._mutex, suppress(ValueError):
            self._line.remove((me, turn))
            return
        self.release()  # the turn came just now


class WriterQueue:
    """The right to write to a database, for one thread of one process at a time; a thread may take it again.

    It ends with the process that holds it, however that ends.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._pid = os.getpid()
        self._threads = _Turns()
        self._depth = 0
        self._files: _Files | None = None

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
        if self._depth == 0:
            if self._files is not None:
                _unlock(self._files.lock)
            self._threads.release()

    def close(self) -> None:
        """Close the files."""
        if self._files is not None and self._pid == os.getpid():
            self._files.close()
            self._files = None

    def _after_fork(self) -> None:
        """Drop what the parent holds: its place in line is shared, so the child opens files of its own."""
        if self._files is not None:
            self._files.close()
        self._pid, self._threads, self._depth, self._files = os.getpid(), _Turns(), 0, None

    def _lock_file(self, deadline: float) -> None:
        if self._files is None:
            self._files = self._opened()
        if not self._files.at_once() and not self._wait_in_line(self._files, deadline):
            raise self._locked()
        os.lseek(self._files.lock, 0, os.SEEK_SET)
        os.write(self._files.lock, b"%-20d\n" % os.getpid())

    def _opened(self) -> _Files:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        opened: list[int] = []
        try:
            for path in (self._path, self._path.with_name(f"{self._path.name}-line")):
                opened.append(os.open(path, flags, 0o666))
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise StorageError(
                f"{self._path}: the lock file of the database cannot be opened: {error.strerror}",
                hint="writing needs the right to write in the folder of the database",
            ) from error
        return _Files(*opened)

    def _wait_in_line(self, files: _Files, deadline: float) -> bool:
        if sys.platform == "win32":
            told = time.monotonic() + PATIENCE
            try:
                while time.monotonic() < deadline:
                    if files.at_once():
                        return True
                    if time.monotonic() >= told:
                        self._say_waiting()
                        told = deadline
                    time.sleep(0.005)
                return False
            finally:
                files.leave_line()
        waiter = _Waiter(files)
        self._files = None  # the waiter's, until it has the lock: it closes them when that comes too late
        try:
            if deadline - time.monotonic() > PATIENCE and not waiter.is_answered(PATIENCE):
                self._say_waiting()
            if not waiter.got_it(max(0.0, deadline - time.monotonic())):
                return False
        except BaseException:  # Ctrl-C, say
            if waiter.got_it(0):
                files.close()
            raise
        self._files = files
        return True

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


class _Files:
    """The lock file and the one on which processes wait for it, as file descriptors."""

    def __init__(self, lock: int, line: int) -> None:
        self.lock = lock
        self.line = line
        self.is_next = False
        """Whether this process holds the right to wait for the lock."""

    def at_once(self) -> bool:
        """Take the lock if nobody has it or waits for it; who cannot may be the next one from now on."""
        self.is_next = self.is_next or _try_lock(self.line)
        if not self.is_next or not _try_lock(self.lock):
            return False
        self.leave_line()
        return True

    def leave_line(self) -> None:
        """Let another process be the next one."""
        if self.is_next:
            _unlock(self.line)
        self.is_next = False

    def close(self) -> None:
        """Close both, which frees what this process holds of them."""
        os.close(self.lock)
        os.close(self.line)


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
        """A thread that waits for the lock, because `flock` knows no time-out."""

        def __init__(self, files: _Files) -> None:
            self._files = files
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
                if not self._files.is_next:
                    fcntl.flock(self._files.line, fcntl.LOCK_EX)
                    self._files.is_next = True
                fcntl.flock(self._files.lock, fcntl.LOCK_EX)
                self._files.leave_line()
            except OSError as error:
                self._error = error
            with self._decision:
                if self._given_up:
                    self._files.close()
                self._answer.set()
