"""Temporary folders that do not outlive their process for long, even where it was killed.

What lies in them is data of customers, and as large as the files it comes from.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCK: Final = ".lock"
_DAY: Final = 86_400
"""After so many seconds a folder without a lock is nobody's: its process died before it made one."""
_ATTEMPTS: Final = 5


class ScratchFolder:
    """A temporary folder, called `crm-KIND-...`, that its process holds by a lock until it cleans up or dies.

    Making one removes those of the same kind whose process is gone.
    """

    def __init__(self, kind: str) -> None:
        """Make it in the folder for temporary files (`TMPDIR`).

        Raises:
            OSError: there is no room, or no such folder.
        """
        import tempfile  # few commands make one, and all of them read settings

        prefix = f"crm-{kind}-"
        _sweep(Path(tempfile.gettempdir()), prefix)
        for _ in range(_ATTEMPTS):
            self._folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
            lock = Path(self._folder.name) / _LOCK
            self._held = _hold(lock, os.O_CREAT)
            if self._held is None or lock.exists():  # else another process took it for left behind, and removed it
                break
        self.path: Final = Path(self._folder.name)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        """Remove the folder and all that is in it."""
        held, self._held = self._held, None
        if held is not None and sys.platform == "win32":
            os.close(held)  # what is open cannot be removed there
        self._folder.cleanup()
        if held is not None and sys.platform != "win32":
            os.close(held)


def _sweep(place: Path, prefix: str) -> None:
    """Remove folders of ours whose process is gone; what cannot be looked at or removed stays."""
    with suppress(OSError):
        for folder in place.glob(f"{prefix}*"):
            with suppress(OSError):
                _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or (sys.platform != "win32" and about.st_uid != os.geteuid()):
        return
    if not (folder / _LOCK).exists():
        if about.st_mtime < time.time() - _DAY:
            shutil.rmtree(folder, ignore_errors=True)
        return
    held = _hold(folder / _LOCK)
    if held is None:
        return
    if sys.platform == "win32":
        os.close(held)
    shutil.rmtree(folder, ignore_errors=True)
    if sys.platform != "win32":
        os.close(held)


def _hold(lock: Path, more: int = 0) -> int | None:
    """Return an open file whose lock ends with its process; None where another one has it, or there is no room."""
    try:
        held = os.open(lock, os.O_RDWR | more, 0o600)
    except OSError:
        return None
    try:
        if sys.platform == "win32":
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held
