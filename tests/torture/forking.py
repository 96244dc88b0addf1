"""The workers of `crm run` as forks of this process, for the quick form, most of which went to starting interpreters.

A fork has what matters here: a process and a session of its own, pipes for its orders and for what it says, and nothing
of its siblings. The long form, and the tests of `crm run`, start interpreters as users do.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from crm_core.upkeep import worker, workers


@contextmanager
def forked_workers(wanted: bool = True) -> Iterator[None]:
    """Have `Workers` fork its processes, if that is wanted."""
    before = workers.subprocess
    if wanted:
        vars(workers)["subprocess"] = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)
    try:
        yield
    finally:
        vars(workers)["subprocess"] = before


class Forked:
    """What `Workers` uses of `subprocess.Popen`: a process that runs a worker, and pipes to and from it."""

    def __init__(self, command: object, **options: Any) -> None:
        orders, to_worker = os.pipe()
        from_worker, said = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _work(orders, said)
        os.close(orders)
        os.close(said)
        self.stdin = os.fdopen(to_worker, "w", encoding="utf-8")
        self.stdout = os.fdopen(from_worker, encoding="utf-8")
        self._code: int | None = None

    def kill(self) -> None:
        """End it at once, unless its end was seen."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Return its exit code, when it has ended."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


def _work(orders: int, said: int) -> None:
    """Be a worker, in the forked process, to its end."""
    code = 1
    try:
        os.setsid()
        os.dup2(orders, 0)
        os.dup2(said, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # a pipe of another worker, kept open, would hide an end from it
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        logging.disable(logging.NOTSET)
        code = worker.main()
    finally:
        os._exit(code)
