"""One writer at a time over all threads and processes: a lock on a file, which the system frees when a process ends."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from crm_core.errors import StorageError, StorageLocked

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class WriterLock:
    """The right to write to a folder; a thread that has it may take it again."""

    def __init__(self, path: Path, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._reset()

    @property
    def held(self) -> bool:
        """Whether a thread of this process has the right to write now."""
        return self._depth > 0 and self._pid == os.getpid()

    def acquire(self) -> None:
        """Wait for the right to write.

        Raises:
            StorageLocked: it did not come within the time-out.
            StorageError: the lock file cannot be opened.
        """
        if self._pid != os.getpid():  # a fork: the parent's lock is not ours
            self._reset()
        deadline = time.monotonic() + self._timeout
        if not self._threads.acquire(timeout=self._timeout):
            raise self._locked()
        if self._depth == 0:
            try:
                self._lock_file(deadline)
            except BaseException:
                self._threads.release()
                raise
        self._depth += 1

    def release(self) -> None:
        """Let the next one write."""
        self._depth -= 1
        if self._depth == 0:
            os.close(self._fd)
        self._threads.release()

    def _reset(self) -> None:
        self._pid, self._threads, self._depth, self._fd = os.getpid(), threading.RLock(), 0, -1

    def _lock_file(self, deadline: float) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise StorageError(
                f"{self._path} cannot be opened: {error.strerror}",
                hint="give yourself the right to write in that folder",
            ) from error
        while not _try_lock(fd):
            if time.monotonic() >= deadline:
                os.close(fd)
                raise self._locked()
            time.sleep(0.002)
        self._fd = fd

    def _locked(self) -> StorageLocked:
        return StorageLocked(
            f"{self._path.parent}: another writer has held it for {self._timeout:g} seconds",
            hint="let the running import or command end, then try again; or raise timeout in [storage] of crm.toml",
        )


if sys.platform == "win32":

    def _try_lock(fd: int) -> bool:
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
