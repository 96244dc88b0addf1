"""Writes records to files: page by page, whole or not at all, harmless to the spreadsheet that opens them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

from crm_core import CRM, RecordService
from crm_core.errors import CrmError, UsageError
from crm_core.extend import ExportColumn, Exporter
from crm_core.records import Record
from crm_core.settings import whole_file
from crm_transfer.cells import guarded, join_tags
from crm_transfer.csvtext import csv_writer
from crm_transfer.export_columns import Columns

_PAGE: Final = 1_000
_GROUP: Final = re.compile(r"(?P<name>[\w-]+)\s*(?:\((?P<parameters>[^()]*)\))?\s*=(?P<label>.+)")

Told = Callable[[int, int], None]


def export_records(
    crm: CRM,
    type_name: str,
    *,
    exporter: Exporter,
    path: Path | None = None,
    where: str | None = None,
    segments: Sequence[str] = (),
    columns: Sequence[str] = (),
    sort: str = "",
    force: bool = False,
    progress: Told | None = None,
) -> int:
    """Write records of a type and return how many.

    Args:
        crm: where from.
        type_name: the record type, singular or plural.
        exporter: the format.
        path: the file, written whole or not at all; None for standard output.
        where: the filter; without it every record is written.
        segments: groups of segments, such as `abc=A`: customers that are in all of them.
        columns: fields by path, beside them `id`, `external_id`, `version`, and what a reference points at by name
            (`owner`); without them all.
        sort: the order, such as `-amount,name`; else the order in which records were made.
        force: write over a file that is there.
        progress: called with how many records are done and how many there are, page by page.

    Raises:
        UsageError: there is no such type, field or segment, the filter is not understood, or the file is there.
        CrmError: the file cannot be written.
    """
    kind = crm.registry.named(type_name)
    if exporter.columns and kind.name not in exporter.columns:
        raise UsageError(
            f"the format {exporter.name} has no form for {kind.plural}",
            hint=f"it is for {', '.join(exporter.columns)}; other formats: --format csv, jsonl or xlsx",
        )
    if path is None and exporter.binary:
        raise UsageError(f"the format {exporter.name} is for files", hint=f"-o {kind.plural}{exporter.suffixes[0]}")
    chosen = list(columns) or list(exporter.columns.get(kind.name, ()))
    shown = Columns(crm, kind, chosen, exporter)
    wanted = _in_segments(crm, kind.name, segments) if segments else None
    rows = _rows(crm, shown, kind.name, where, sort, wanted, progress)
    if path is None:
        return exporter.write(None, shown.columns, rows)
    return _write_whole(exporter, path, shown.columns, rows, force=force)


def _rows(
    crm: CRM,
    columns: Columns,
    kind: str,
    where: str | None,
    sort: str,
    wanted: Collection[int] | None,
    progress: Told | None,
) -> Iterator[list[Any]]:
    service: RecordService[Record] = crm.records(kind)
    total = 0 if progress is None else service.count(where)
    after: str | None = None
    done = 0
    while True:
        page = service.find(where, sort=sort, after=after, limit=_PAGE)
        yield from columns.of([record for record in page if wanted is None or record.id in wanted])
        done += len(page)
        if progress is not None:
            progress(done, total)
        if page.next is None:
            return
        after = page.next


def _in_segments(crm: CRM, kind: str, segments: Sequence[str]) -> set[int]:
    """Return the customers that are in all of these groups: `abc=A`, or with parameters `abc(currency=EUR)=A`."""
    if kind != "customer":
        raise UsageError(f"--segment is for customers, not for {kind}", hint="filter the others with --where")
    wanted: set[int] | None = None
    for group in segments:
        match = _GROUP.fullmatch(group.strip())
        if match is None:
            raise UsageError(f"{group!r} is no group of a segment", hint="--segment abc=A")
        name, label = match["name"], match["label"].strip().casefold()
        given = [each.partition("=") for each in (match["parameters"] or "").split(",") if each.strip()]
        parameters: dict[str, Any] = {key.strip(): value.strip() for key, _, value in given}
        found = crm.segments.run(name, **parameters)
        members = {each.id for each in found.members if each.label.casefold() == label}
        known = [each.label for each in found.summary]
        if label not in {each.casefold() for each in known}:
            raise UsageError(
                f"the segment {name} has no group {match['label']!r}", hint=f"its groups: {', '.join(known)}"
            )
        wanted = members if wanted is None else wanted & members
    return wanted or set()


def _write_whole(
    exporter: Exporter, path: Path, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]], *, force: bool
) -> int:
    """Write to a name of its own beside the file, and rename that once all of it is on the disk."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"{path} is no file", hint="name a file with -o, or leave -o out for standard output")
    if target.exists() and not force:
        raise UsageError(
            f"{path} is there already, and is not written over", hint="name another file, or say --force to replace it"
        )
    try:
        with whole_file(target) as beside:
            count = exporter.write(beside, columns, rows)
    except OSError as error:
        raise CrmError(f"{path}: cannot be written: {error.strerror}", hint="name another file with -o") from error
    return count


def write_csv_export(path: Path | None, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]]) -> int:
    """Write comma-separated UTF-8; a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    count = 0
    with _target(path) as file:
        writer = csv_writer(file)
        writer.writerow([column.name for column in columns])
        for row in rows:
            writer.writerow([csv_cell(value) for value in row])
            count += 1
    return count


def write_json_lines_export(path: Path | None, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]]) -> int:
    """Write one JSON object a line, of the form records have everywhere in JSON."""
    count = 0
    names = [column.name for column in columns]
    with _target(path) as file:
        for row in rows:
            file.write(json.dumps(_nested(names, row), ensure_ascii=False, default=str) + "\n")
            count += 1
    return count


def write_json_array_export(path: Path | None, columns: Sequence[ExportColumn], rows: Iterable[Sequence[Any]]) -> int:
    """Write one JSON document: an array of what the JSON lines hold, record by record."""
    count = 0
    names = [column.name for column in columns]
    with _target(path) as file:
        file.write("[")
        for row in rows:
            file.write(",\n" if count else "\n")
            file.write(json.dumps(_nested(names, row), ensure_ascii=False, default=str))
            count += 1
        file.write("\n]\n" if count else "]\n")
    return count


CSV_EXPORT: Final = Exporter(
    name="csv", suffixes=(".csv",), write=write_csv_export, help="Comma-separated text, UTF-8."
)
JSON_LINES_EXPORT: Final = Exporter(
    name="jsonl",
    suffixes=(".jsonl", ".ndjson"),
    write=write_json_lines_export,
    nested=True,
    help="One JSON object a line.",
)

JSON_ARRAY_EXPORT: Final = Exporter(
    name="json", suffixes=(), write=write_json_array_export, nested=True, help="One JSON document, for --json."
)
"""What `--json` prints to standard output. It is no format of files, since no importer reads such a document back."""


def exporter_for(crm: CRM, wanted: str | None, path: Path | None) -> Exporter:
    """Return the exporter of a format, or of the ending of a file's name; CSV when neither says anything.

    Raises:
        UsageError: no installed plugin writes such files.
    """
    known: dict[str, Exporter] = {found.item.name: found.item for found in crm.host.collect("register_exporters")}
    if wanted is None and path is not None and path.suffix:
        wanted = next((each.name for each in known.values() if path.suffix.lower() in each.suffixes), None)
        if wanted is None and path.suffix.lower() != ".txt":
            raise UsageError(
                f"no installed plugin writes files that end in {path.suffix!r}",
                hint=f"say --format one of: {', '.join(known)}",
            )
    found = known.get(wanted or "csv")
    if found is None:
        raise UsageError(f"no installed plugin writes the format {wanted!r}", hint=f"formats: {', '.join(known)}")
    return found


@contextmanager
def _target(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield file


def csv_cell(value: Any) -> Any:
    """Return a value as the cell of a CSV export."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, (list, dict)):
        nested = any(isinstance(each, dict) for each in value)
        value = json.dumps(value, ensure_ascii=False) if nested or isinstance(value, dict) else join_tags(value, ", ")
    return guarded(value) if isinstance(value, str) else value


def _nested(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in zip(columns, row, strict=True):
        group, _, field = name.rpartition(".")
        if not group:
            made[name] = value
        elif group == "fields":
            made.setdefault("fields", {})[field] = value
        else:
            made.setdefault("ext", {}).setdefault(group, {})[field] = value
    return made
