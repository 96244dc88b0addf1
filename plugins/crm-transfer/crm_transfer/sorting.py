"""Brings the rows of a file that share a key together, in constant memory, by a merge sort on disk.

Runs of rows are sorted in memory and written to a temporary folder, then merged. What lies on disk is at most twice
the rows, for a moment, and is gone when the sort is closed.
"""

from __future__ import annotations

import marshal
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from crm_core.settings import ScratchFolder
from crm_transfer.errors import FileFault

Keyed = tuple[str, int, Any]
"""What is sorted: a key, the number of the row, and what belongs to it (plain values: texts, numbers, tuples)."""
_RUN: Final = 20_000
_CHARACTERS: Final = 8_000_000
"""Rows, and characters of text, that are sorted in memory at once."""
_FAN_IN: Final = 32
_BLOCK: Final = 256
"""Runs merged at once, and rows read from each at a time: together they bound the memory of a merge."""
_SIZE: Final = 8


class Sorter:
    """The temporary folder of one sort; use it as a context."""

    def __init__(self) -> None:
        """Make the folder."""
        self._folder = ScratchFolder("import-sort")
        self._made = 0
        self.largest = 0

    def __enter__(self) -> Sorter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    @property
    def size(self) -> int:
        """Bytes that lie in the folder now."""
        return sum(path.stat().st_size for path in self._folder.path.iterdir())

    def sorted(self, rows: Iterable[Keyed]) -> Iterator[Keyed]:
        """Yield the rows by key, those of one key by number.

        Raises:
            FileFault: the temporary folder has no room; nothing was imported yet.
        """
        try:
            runs = [self._write(run) for run in self._runs(rows)]
            while len(runs) > _FAN_IN:
                first, runs = runs[:_FAN_IN], runs[_FAN_IN:]
                runs.append(self._write(_merged([_read(path) for path in first])))
                for path in first:
                    path.unlink()
        except OSError as error:
            raise FileFault(
                f"the rows cannot be sorted in {self._folder.path}: {error.strerror}",
                hint="make room there (about twice the size of the file), or set TMPDIR to a folder that has it",
            ) from error
        self.largest = max(self.largest, self.size)
        return _merged([_read(path) for path in runs])

    def store(self) -> Store:
        """Return a place to put things away until the sorted rows are through."""
        self._made += 1
        return Store(self._folder.path / f"{self._made}.kept")

    def _runs(self, rows: Iterable[Keyed]) -> Iterator[list[Keyed]]:
        run: list[Keyed] = []
        characters = 0
        for row in rows:
            run.append(row)
            characters += len("".join(row[2][0]))
            if len(run) >= _RUN or characters >= _CHARACTERS:
                run.sort(key=_ORDER)
                yield run
                run, characters = [], 0
        if run:
            run.sort(key=_ORDER)
            yield run

    def _write(self, rows: Iterable[Any]) -> Path:
        self._made += 1
        path = self._folder.path / f"{self._made}.run"
        source = iter(rows)
        with path.open("wb") as file:
            while block := list(islice(source, _BLOCK)):
                _dump(block, file)
        return path


class Store:
    """Things of plain values, written away one after the other and read again in that order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[Any] = []

    def append(self, thing: Any) -> None:
        """Put one away."""
        self._waiting.append(thing)
        if len(self._waiting) >= _BLOCK:
            self._flush()

    def __iter__(self) -> Iterator[Any]:
        self._flush()
        return chain.from_iterable(_read(self._path))

    def _flush(self) -> None:
        with self._path.open("ab") as file:
            _dump(self._waiting, file)
        self._waiting = []


_ORDER: Final = itemgetter(0, 1)


def _merged(runs: Sequence[Iterator[list[Keyed]]]) -> Iterator[Keyed]:
    """Yield the rows of several sorted runs by key: what is before the end of every block in memory is sorted at once.

    Sorting finds the runs again, so that is a merge, without a step of Python for each row as `heapq.merge` takes.
    """
    blocks = [(block, run) for run in runs for block in islice(run, 1)]
    while len(blocks) > 1:
        end = min(_ORDER(block[-1]) for block, _ in blocks)
        ready: list[Keyed] = []
        left: list[tuple[list[Keyed], Iterator[list[Keyed]]]] = []
        for block, run in blocks:
            at = bisect_right(block, end, key=_ORDER)
            ready += block[:at]
            left += [(block[at:], run)] if at < len(block) else [(more, run) for more in islice(run, 1)]
        ready.sort(key=_ORDER)
        yield from ready
        blocks = left
    for block, run in blocks:
        yield from block
        yield from chain.from_iterable(run)


def _read(path: Path) -> Iterator[list[Any]]:
    with path.open("rb") as file:
        while size := file.read(_SIZE):
            yield marshal.loads(file.read(int.from_bytes(size, "big")))


def _dump(block: list[Any], file: BinaryIO) -> None:
    """Write a block behind its size: reading it from a file in small steps would take ten times as long."""
    content = marshal.dumps(block)
    file.write(len(content).to_bytes(_SIZE, "big"))
    file.write(content)
