"""Commands, file formats and data migrations: what plugins add around the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs


@attrs.frozen(kw_only=True)
class Command:
    """A command of `crm`: `target` ("package.module:attribute") names a click command, imported only when it is run."""

    name: str
    help: str
    target: str


@attrs.frozen
class SourceRow:
    """One row of a file: the line it starts on, counted from 1, and its cells, one for each source column."""

    number: int
    cells: Sequence[str]


@attrs.frozen
class BadRow:
    """A row that could not be read: its line, what could be saved of its cells, the rule it breaks, and the message."""

    number: int
    cells: Sequence[str]
    rule: str
    message: str
    column: str = ""
    value: str = ""


@attrs.frozen(kw_only=True)
class Source:
    """An open file, checked as a whole: its columns, what was found of its form in words, its rows, streamed.

    `guesses` says, by topic (encoding, delimiter), what the file was taken for; `total` is how many rows there are;
    `digest` is the SHA-256 of its bytes; `options` are those it was opened with, guesses filled in.
    """

    columns: tuple[str, ...]
    guesses: Mapping[str, str]
    rows: Iterator[SourceRow | BadRow]
    total: int
    digest: str
    options: Mapping[str, Any]


class OpenSource(Protocol):
    """How an importer opens a file; a fault of the whole file raises here.

    `options` come from the mapping's `[file]` table.
    """

    def __call__(self, path: Path, options: Mapping[str, Any]) -> Source: ...


class WriteBack(Protocol):
    """How an importer writes rows in the form it reads, so that rejected rows can be corrected and imported again."""

    def __call__(
        self, path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
    ) -> None: ...


@attrs.frozen(kw_only=True)
class Importer:
    """A format that `crm import` reads: chosen by `format` in the mapping, else by the ending of the file's name."""

    name: str
    suffixes: tuple[str, ...]
    open: OpenSource
    write: WriteBack
    help: str = ""


@attrs.frozen(kw_only=True)
class Exporter:
    """A format that `crm export` writes: `write(path, columns, rows)` returns how many rows; no path: to stdout.

    Cells are plain JSON data; money is one cell {"amount", "currency"} where the format is `nested`, else two cells.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Callable[[Path | None, Sequence[str], Iterable[Sequence[Any]]], int]
    nested: bool = False
    help: str = ""


@attrs.frozen(kw_only=True)
class DataMigration:
    """A change of stored values when the plugin's schema goes from version `from_version` to `to_version`.

    `change` receives rows (mappings of `columns` and `id`) of one chunk and returns, by id, the cells that change. It
    must give the same answer when run twice: an interrupted upgrade runs it again.
    """

    owner: str
    from_version: str
    to_version: str
    table: str
    columns: tuple[str, ...]
    change: Callable[[Sequence[Mapping[str, Any]]], Mapping[int, Mapping[str, Any]]]
