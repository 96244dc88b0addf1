"""One record of one row, from its key to what its cells say.

Apart from the chunk, which knows what is there already and writes: here a row stands for itself.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence, Set
from typing import Any, Final

import attrs

from crm_core.records import ExternalId
from crm_transfer.errors import BadCell
from crm_transfer.failed import failure_of
from crm_transfer.readers import RecordReader, Reference
from crm_transfer.rows import Row

_LONGEST_KEY: Final = 400
_SCIENTIFIC: Final = re.compile(r"[0-9]+[.,][0-9]+E\+[0-9]+", re.ASCII)
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@attrs.define
class Entry:
    """One record of one row: its key, what the mapping uses of the row, the digest of that, and what its cells say.

    `drafted` is what its cells say where that was read ahead, `values` the same once it counts. `known` is what is
    there under the key; `wanted` are the names of what the record points at.
    """

    row: Row
    key: str
    content: str = ""
    digest: str = ""
    drafted: dict[str, Any] | BadCell | None = None
    known: ExternalId | None = None
    values: dict[str, Any] | None = None
    wanted: Sequence[tuple[Reference, str]] = ()
    changed: dt.datetime | None = None


@attrs.frozen
class Draft:
    """What rows say of one record before anything is looked up; `again` are those that repeat what was said before."""

    entries: list[Entry]
    again: list[Row]


def draft(reader: RecordReader, rows: Sequence[Row], settled: Set[str], *, values: bool = False) -> Draft:
    """Read the key of each row that makes this record, what the mapping uses of it, and the `values` if wanted.

    A row whose content is `settled` needs none of it. Nothing is refused here, so that it may be done ahead.
    """
    applies, key_of, content_of, digest_of = reader.applies, reader.key, reader.content, reader.digest
    entries: list[Entry] = []
    again: list[Row] = []
    for row in rows:
        cells = row.cells
        if row.error is not None or (applies is not None and not applies(cells)):
            continue
        content = content_of(cells)
        if content in settled:
            again.append(row)
        else:
            entries.append(Entry(row, key_of(cells), content, digest_of(content)))
    if values and reader.is_quiet:
        for entry, said in zip(entries, reader.values([entry.row.cells for entry in entries]), strict=True):
            entry.drafted = said
    return Draft(entries, again)


def with_keys(reader: RecordReader, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of rows that are good so far; a row whose key cannot be one is refused."""
    good: list[Entry] = []
    for entry in entries:
        row, key = entry.row, entry.key
        if row.error is not None:
            continue
        plain = key and len(key) <= _LONGEST_KEY and key.isprintable() and "E+" not in key and key[0] not in "#E"
        row.error = None if plain else _wrong_key(reader, key)
        if row.error is None:
            good.append(entry)
    return good


def _wrong_key(reader: RecordReader, key: str) -> BadCell | None:
    """Return what is wrong with a key, None where it is only unusual."""
    if not key:
        message = f"is empty, so the {reader.kind.name} has no key; give it one"
    elif (failure := failure_of(key)) is not None:
        return failure.at(reader.key_columns, key)
    elif _SCIENTIFIC.fullmatch(key):
        message = "is in scientific notation: a spreadsheet cut it; export the column as text"
    elif len(key) > _LONGEST_KEY or _UNFIT.search(key):
        message = f"is no key: at most {_LONGEST_KEY} characters, and no control characters; correct it"
    else:
        return None
    return BadCell("key", message, column=reader.key_columns, value=key)


def read_cells(reader: RecordReader, entries: Sequence[Entry]) -> None:
    """Read the values of rows, and what they point at; a row that says something wrong is refused."""
    changed, references = reader.changed, reader.references
    for entry, values in zip(entries, _said(reader, entries), strict=True):
        if isinstance(values, BadCell):
            entry.row.error = values
            continue
        entry.values = values
        try:
            if changed is not None:
                entry.changed = changed(entry.row.cells)
            if references:
                entry.wanted = _wanted(reader, entry.row.cells, values)
        except BadCell as bad:
            entry.row.error = bad


def _said(reader: RecordReader, entries: Sequence[Entry]) -> list[dict[str, Any] | BadCell]:
    """Return what cells say: as it was read ahead, if it was."""
    drafted = [entry.drafted for entry in entries if entry.drafted is not None]
    return drafted if len(drafted) == len(entries) else reader.values([entry.row.cells for entry in entries])


def _wanted(reader: RecordReader, cells: Sequence[str], values: dict[str, Any]) -> list[tuple[Reference, str]]:
    wanted: list[tuple[Reference, str]] = []
    for reference in reader.references:
        name = reference.read(cells)
        if name:
            wanted.append((reference, name))
        elif reference.required:
            message = f"is empty, and no {reader.kind.name} is without {reference.field}; fill it in"
            raise BadCell("required", message, column=reference.column)
        elif not reference.lenient:
            values[reference.field] = None
    return wanted
