"""Reads the next rows of a file while the last ones are being committed, which takes the disk about as long.

A thread of its own does so, and only then: it is awaited before anything else goes on. So nothing of an import runs
side by side, and what it does of rows must ask nobody: no storage, no progress, no vendor's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from time import sleep
from types import TracebackType
from typing import Final

from crm_core.extend import BadRow
from crm_transfer.entries import Draft
from crm_transfer.rows import Row

_LATER: Final = 0.002
"""Seconds after the last record was written in which the ledger is, too: about as many as that takes.

Each of its statements would have to wait until Python takes the turn from the other thread, 5 ms.
"""

Rows = Sequence[Row | BadRow]
Drafts = Sequence[Draft]
"""What rows say of each record of the mapping; none where nothing was read ahead."""


class Ahead:
    """The chunks of a file, each with what is said of it already; leaving it as a context awaits the other thread."""

    def __init__(self, chunks: Iterator[Rows], draft: Callable[[Rows], Drafts]) -> None:
        """Read chunks, and `draft` those that are read ahead."""
        self._chunks = chunks
        self._draft = draft
        self._thread: Thread | None = None
        self._read: list[tuple[Rows, Drafts]] | None = None
        self._fault: BaseException | None = None

    def __iter__(self) -> Iterator[tuple[Rows, Drafts]]:
        while True:
            self._await()
            fault, self._fault = self._fault, None
            if fault is not None:
                raise fault
            read, self._read = self._read, None
            if read is None:
                read = [(rows, ()) for rows in (next(self._chunks, None),) if rows is not None]
            if not read:
                return
            yield from read

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._await()

    def start(self) -> None:
        """Begin to read the next chunk, unless that was done: to be called when only the commit is left."""
        if self._thread is None and self._read is None and self._fault is None:
            self._thread = Thread(target=self._fetch, name="crm-import-reader", daemon=True)
            self._thread.start()

    def _fetch(self) -> None:
        sleep(_LATER)
        try:
            rows = next(self._chunks, None)
            self._read = [] if rows is None else [(rows, self._draft(rows))]
        except BaseException as fault:  # raised where the next chunk is asked for
            self._fault = fault

    def _await(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
