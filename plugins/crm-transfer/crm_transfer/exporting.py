"""Writes records as delimited text or JSON lines: page by page, harmless to the spreadsheet that opens them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

from crm_core import CRM, RecordService
from crm_core.errors import CrmError, UsageError
from crm_core.extend import Exporter
from crm_core.records import ExternalId, Record, RecordType
from crm_core.records.registry import Field
from crm_core.values import format_id
from crm_transfer.cells import is_formula, join_tags
from crm_transfer.csvtext import csv_writer
from crm_transfer.names import Labels, plain_id

_PAGE: Final = 1_000
_SYSTEM: Final = ("id", "external_id", "version")

Show = Callable[[Record], Any]


def export_records(
    crm: CRM,
    type_name: str,
    *,
    exporter: Exporter,
    path: Path | None = None,
    where: str | None = None,
    columns: Sequence[str] = (),
) -> int:
    """Write records of a type and return how many.

    Args:
        crm: where from.
        type_name: the record type, singular or plural.
        exporter: the format.
        path: the file, written whole or not at all; None for standard output.
        where: the filter; without it every record is written.
        columns: fields by path, beside them `id`, `external_id`, `version`, and what a reference points at by name
            (`owner`); without them all.

    Raises:
        UsageError: there is no such type or field, or the filter is not understood.
    """
    kind = crm.registry.named(type_name)
    labels = Labels(crm, kind)
    chosen = list(columns) or [*_SYSTEM, *(kind.fields if exporter.nested else labels.beside(kind.fields))]
    shown: list[tuple[str, Show]] = []
    for name in chosen:
        shown += _column(kind, name, labels, nested=exporter.nested)
    with_externals = "external_id" in chosen
    service: RecordService[Record] = crm.records(kind.name)

    def rows() -> Iterator[list[Any]]:
        after: str | None = None
        while True:
            page = service.find(where, after=after, limit=_PAGE)
            labels.load(page.records, chosen)
            ids = [record.id for record in page]
            known = crm.external_ids.of(kind.name, ids) if with_externals and ids else {}
            for record in page:
                yield [show(record) if show is not None else _external(known.get(record.id)) for _, show in shown]
            if page.next is None:
                return
            after = page.next

    names = [name for name, _ in shown]
    if path is None:
        return exporter.write(None, names, rows())
    beside = path.with_name(f".{path.name}.part")
    try:
        count = exporter.write(beside, names, rows())
        beside.replace(path)
    except OSError as error:
        raise CrmError(f"{path}: cannot be written: {error.strerror}", hint="name another file with -o") from error
    finally:
        beside.unlink(missing_ok=True)
    return count


def write_csv_export(path: Path | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Write comma-separated UTF-8; a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    count = 0
    with _target(path) as file:
        writer = csv_writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([csv_cell(value) for value in row])
            count += 1
    return count


def write_json_lines_export(path: Path | None, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Write one JSON object a line, of the form records have everywhere in JSON."""
    count = 0
    with _target(path) as file:
        for row in rows:
            file.write(json.dumps(_nested(columns, row), ensure_ascii=False, default=str) + "\n")
            count += 1
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


def exporter_for(crm: CRM, wanted: str | None, path: Path | None) -> Exporter:
    """Return the exporter of a format, or of the ending of a file's name; CSV when neither says anything.

    Raises:
        UsageError: no installed plugin writes such files.
    """
    known: dict[str, Exporter] = {found.item.name: found.item for found in crm.host.collect("register_exporters")}
    if wanted is None and path is not None:
        wanted = next((each.name for each in known.values() if path.suffix.lower() in each.suffixes), None)
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


def _column(kind: RecordType, name: str, labels: Labels, *, nested: bool) -> list[tuple[str, Any]]:
    """Return the names and readers of a column; money takes two columns where values cannot be nested."""
    if name == "id":
        return [(name, lambda record: format_id(record.id) if nested else plain_id(record.id))]
    if name in labels:
        return [(name, labels.reader(name))]
    if name == "version":
        return [(name, lambda record: record.version)]
    if name == "external_id":
        return [(name, None)]
    try:
        field = kind.field(name)
    except UsageError as error:
        raise UsageError(error.message, hint=f"{error.hint}, id, external_id, version") from error
    if field.declaration.kind == "money" and not nested:
        return [(field.path, _amount_of(field)), (f"{field.path}_currency", _currency_of(field))]
    if field.declaration.kind == "reference" and not nested:
        return [(field.path, lambda record: None if field.of(record) is None else plain_id(field.of(record)))]
    return [(field.path, _value_of(field))]


def _value_of(field: Field) -> Show:
    kind, show = field.declaration.kind, field.codec.show

    def value(record: Record) -> Any:
        found = field.of(record)
        if kind == "decimal":
            return found
        return found if found is None or kind in ("integer", "boolean") else show(found)

    return value


def _amount_of(field: Field) -> Show:
    def amount(record: Record) -> Decimal | None:
        found = field.of(record)
        return None if found is None else found.amount

    return amount


def _currency_of(field: Field) -> Show:
    def currency(record: Record) -> str | None:
        found = field.of(record)
        return None if found is None else found.currency

    return currency


def _external(entries: Sequence[ExternalId] | None) -> str | None:
    live = next((entry for entry in entries or () if entry.state == "live"), None)
    return None if live is None else f"{live.system}:{live.external}"


def csv_cell(value: Any) -> Any:
    """Return a value as the cell of a CSV export."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:f}"
    text = join_tags(value, ", ") if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and is_formula(text) else text


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
