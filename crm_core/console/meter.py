"""Progress of long work, on standard error: only on a terminal, and only once it takes longer than a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from crm_core.console.text import clip, duration, pad

_PATIENCE, _INTERVAL, _BAR = 1.0, 0.1, 24


class Progress:
    """Counts steps of a piece of work; `advance` is cheap enough to be called for every row."""

    def __init__(self, total: int | None, label: str, *, visible: bool) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self._visible = visible
        self._started = monotonic()
        self._next = self._started + _PATIENCE
        self._drawn = False

    def advance(self, steps: int = 1) -> None:
        """Count so many more steps as done."""
        self.done += steps
        if self._visible and monotonic() >= self._next:
            self._draw()

    def finish(self) -> None:
        """Take the bar off the terminal."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def line(self, columns: int = 79) -> str:
        """Return the line that is shown: label, bar, counts, rate and the time that is left."""
        elapsed = max(monotonic() - self._started, 0.001)
        rate = self.done / elapsed
        if not self.total:
            return clip(f"{self.label}  {self.done:,}  {rate:,.0f}/s  {duration(elapsed)}", columns)
        part = min(self.done / self.total, 1.0)
        bar = pad("━" * int(part * _BAR), _BAR)
        left = duration((self.total - self.done) / rate) if rate else "?"
        return clip(
            f"{self.label}  {bar} {part:4.0%}  {self.done:,}/{self.total:,}  {rate:,.0f}/s  {left} left", columns
        )

    def _draw(self) -> None:
        self._next = monotonic() + _INTERVAL
        self._drawn = True
        sys.stderr.write("\r" + self.line() + "\x1b[K")
        sys.stderr.flush()


@contextmanager
def progress(total: int | None, label: str) -> Iterator[Progress]:
    """Show how far a piece of work is; call `advance` on what it yields.

    Args:
        total: how many steps there are; None when nobody knows.
        label: what is being done, in a word or two.
    """
    bar = Progress(total, label, visible=sys.stderr.isatty())
    try:
        yield bar
    finally:
        bar.finish()
