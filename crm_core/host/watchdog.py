"""The watchdog: names a hook that keeps a transaction waiting. It cannot end it: a thread cannot be killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from threading import Event, Lock, Thread
from time import perf_counter

from crm_core.host.plugin import Implementation

logger = logging.getLogger("crm_core.host")


class Watchdog:
    """A thread that looks, while calls are under way, how long each has taken; without any it ends, until the next one.

    A timer per call would cost more than most hooks; a look at `Implementation.running` costs a call nothing.
    """

    def __init__(self, slow_after: float, watched: Callable[[], Iterable[Implementation]]) -> None:
        """Args: `slow_after` in seconds; `watched` returns the implementations that run inside transactions."""
        self.slow_after = slow_after
        self.awake = False
        self._watched = watched
        self._lock = Lock()
        self._pause = Event()
        self._named: set[tuple[int, int, float]] = set()

    def wake(self) -> None:
        """Start looking; called when a call has begun and `awake` is false."""
        with self._lock:
            if not self.awake:
                self.awake = True
                Thread(target=self._look, name="crm-core watchdog", daemon=True).start()

    def check(self, now: float) -> int:
        """Name every call that began `slow_after` seconds before `now`, once; return how many are under way."""
        under_way = 0
        for implementation in self._watched():
            for thread, start in implementation.running.copy().items():
                under_way += 1
                call = (id(implementation), thread, start)
                if now - start >= self.slow_after and call not in self._named:
                    self._named.add(call)
                    self._warn(implementation, now - start)
        if not under_way:
            self._named.clear()
        return under_way

    def _look(self) -> None:
        # Nothing under way: `awake` is cleared first and the look repeated, so that a call that begins meanwhile either
        # finds it cleared, or is found here.
        while True:
            self._pause.wait(self.slow_after / 4)
            if self.check(perf_counter()):
                continue
            self.awake = False
            if not self.check(perf_counter()):
                return
            with self._lock:
                if self.awake:
                    return
                self.awake = True

    def _warn(self, implementation: Implementation, seconds: float) -> None:
        logger.warning(
            "plugin %r of %s has been in %s for %.1f s, inside a transaction that others wait for;"
            " it cannot be stopped within this process. Run `crm plugins explain %s`",
            implementation.plugin.name,
            implementation.plugin.title,
            implementation.hook.name,
            seconds,
            implementation.plugin.name,
        )
