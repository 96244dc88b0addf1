"""A mapping made ready for one file: each record of a row as a few closures over the row's cells.

Apart from the run, because everything that can be decided once is decided here: a million rows go through it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence

from crm_core.records import RecordType, Registry
from crm_transfer.cells import moment_reader
from crm_transfer.columns import Cells, Columns
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.fieldmaps import FieldMap
from crm_transfer.mapping import Check, FileForm, RecordMap, RowMapping
from crm_transfer.readers import Compiled, Context, Correction, RecordReader
from crm_transfer.recordcolumns import RecordColumns
from crm_transfer.rowhash import digest_of
from crm_transfer.views import Views, zone_named


def compile_mapping(mapping: RowMapping, columns: Sequence[str], context: Context, file: str) -> Compiled:
    """Make a mapping ready for the file `file` with these columns.

    Raises:
        MappingError: a column, record type, field, reference or value of the mapping does not exist.
    """
    known = Columns(columns, file)
    views = Views(mapping, known, context.zone)
    corrections: Counter[Correction] = Counter()
    tomans: set[str] = set()
    records = tuple(_record(each, mapping, views, context, corrections, tomans) for each in mapping.records)
    checks = tuple((check, _checked(check, views)) for check in mapping.checks)
    stage = views.stage()
    unused = known.names(set(range(len(columns))) - known.used)
    return Compiled(
        records=records,
        checks=checks,
        corrections=corrections,
        tomans=tomans,
        unused=tuple(name for name in unused if not name.startswith("error_")),
        taken=known.taken,
        stage=stage,
    )


def _checked(check: Check, views: Views) -> Callable[[Cells], bool]:
    meets = views.applies(check.when, check.per, views.of(check.per, check.place))
    return meets or (lambda cells: True)


def _record(
    spec: RecordMap,
    mapping: RowMapping,
    views: Views,
    context: Context,
    corrections: Counter[Correction],
    tomans: set[str],
) -> RecordReader:
    kind, form = _kind(spec, context.registry), mapping.form
    mine = RecordColumns(spec, form, views, context, kind, corrections, tomans)
    key_part = [part.column for part in spec.key if part.column]
    key = views.key(mine.joined(spec.key, spec.place), spec.per)
    applies = views.applies(spec.when, spec.per, mine)
    also = tuple((system, mine.joined(parts, spec.place)) for system, parts in spec.also)
    references, values = mine.fields()
    missing = [
        field.path
        for field in kind.fields.values()
        if field.declaration.required and field.path not in {each.path for each in spec.fields}
    ]
    if missing:
        raise MappingError(
            f"{spec.place}: {', '.join(missing)} must be mapped: no {kind.name} is without",
            hint="add it to [record.fields]",
        )
    changed = _changed(spec, form, mine)
    if spec.per == "group" and views.layout is not None:
        mine.used.add(views.layout.lines)
    tag, content, digest = digest_of(spec, form, mine.used)
    return RecordReader(
        kind=kind,
        system=spec.system,
        per=spec.per,
        repeats=spec.repeats,
        tag=tag,
        key_columns=" + ".join(key_part),
        applies=applies,
        key=key,
        content=content,
        digest=digest,
        values=values,
        references=references,
        also=also,
        sources={field.path: _source(field, mine) for field in spec.fields},
        policies={field.path: field.conflict for field in spec.fields},
        changed=changed,
        ids=spec.ids,
        same=_same(spec, kind),
        keeps_merged=spec.keeps_merged,
        is_quiet=not any(field.corrections or _is_money(kind, field) for field in spec.fields),
    )


def _same(spec: RecordMap, kind: RecordType) -> tuple[str, ...]:
    """Return the fields by which a record is known that is there without the key; the first one is a reference."""
    mapped = {field.path for field in spec.fields} & {
        field.name for field in kind.fields.values() if not field.extension
    }
    wrong = next((name for name in spec.same if name not in mapped), "")
    if wrong or (spec.same and not kind.fields[spec.same[0]].declaration.references):
        raise MappingError(
            f"{spec.place}: same: {wrong or spec.same[0]!r} "
            + ("is no mapped field" if wrong else "comes first and points at nothing"),
            hint='a reference, then what the records of one owner differ in: same = ["customer_id", "kind", "value"]',
        )
    return spec.same


def _changed(spec: RecordMap, form: FileForm, columns: RecordColumns) -> Callable[[Cells], dt.datetime | None] | None:
    """Return the reader of the moment at which the source changed a row, if it says so; a day counts from midnight."""
    name, form_of = spec.changed_at
    if not name:
        return None
    at = columns.index(name, f"{spec.place}: changed_at")
    zone = zone_named(form.zone, spec.place, columns.context.zone)
    read = moment_reader(form_of or form.dates, zone)

    def changed(cells: Cells) -> dt.datetime | None:
        text = cells[at].strip()
        if not text:
            return None
        try:
            found = read(text)
        except BadCell as bad:
            raise bad.at(name, text) from None
        return found if isinstance(found, dt.datetime) else dt.datetime.combine(found, dt.time(), zone)

    return changed


def _is_money(kind: RecordType, field: FieldMap) -> bool:
    """Say whether a field is money, of which the report says where it was given in tomans."""
    return kind.fields[field.path].declaration.kind == "money"


def _source(field: FieldMap, columns: Columns) -> tuple[str, tuple[int, ...]]:
    return " + ".join(field.columns) or field.path, tuple(columns.index(name, field.place) for name in field.columns)


def _kind(spec: RecordMap, registry: Registry) -> RecordType:
    found = registry.types.get(spec.type) or next((t for t in registry.types.values() if t.plural == spec.type), None)
    if found is None or found.declaration.internal:
        known = ", ".join(name for name, each in registry.types.items() if not each.declaration.internal)
        raise MappingError(f"{spec.place}: type: there is no record type {spec.type!r}", hint=f"there are: {known}")
    return found
