"""Which process works on an operation, so that the log can tell one at work from one that was killed."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path


def this_process() -> str:
    """Return this process as "host:pid:start".

    The start tells it from a later one of the same pid, as they come in a container.
    """
    return _named(os.getpid())


@lru_cache(maxsize=1)
def _named(pid: int) -> str:
    return f"{platform.node()}:{pid}:{_started(pid)}"


def may_be_alive(process: str) -> bool:
    """Whether the process may still be at work; on another host (and on Windows) nobody can tell, so it may."""
    _, pid, start = process.rsplit(":", 2)
    if not is_here(process) or os.name == "nt":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return start == _started(int(pid))


def is_here(process: str) -> bool:
    """Whether the process is, or was, one of this machine, with whose clock it shares its own."""
    return process.rsplit(":", 2)[0] == platform.node()


def _started(pid: int) -> str:
    """Return when a process started, in ticks since boot; empty where the system does not say."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The name, in brackets, may hold spaces; the start is the 22nd field of all, the 20th behind the name.
    return told.rpartition(")")[2].split()[19]
