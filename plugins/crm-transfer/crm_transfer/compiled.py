"""A mapping made ready for one file: each record of a row as a few closures over the row's cells.

Apart from the run, because everything that can be decided once is decided here: a million rows go through it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs

from crm_core.extend import Pipeline
from crm_core.records import Record, RecordType, Registry
from crm_transfer.cells import key_of, key_text, moment_reader, without_guard
from crm_transfer.columns import Cells, Columns, Kind
from crm_transfer.conditions import holds
from crm_transfer.currencies import declared_unit
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.fields import Reading, field_reader
from crm_transfer.mapping import Check, FieldMap, FileForm, Part, RecordMap, RowMapping
from crm_transfer.nearest import did_you_mean
from crm_transfer.operations import Computed, compiled
from crm_transfer.policies import Conflict
from crm_transfer.report import listed
from crm_transfer.rowhash import digest_of
from crm_transfer.rules import RULES
from crm_transfer.staging import Grouping, Stage
from crm_transfer.views import Views, zone_named

OWN: Final = "fields"
_REMEMBERED: Final = 10_000
_SHORT: Final = 40
"""How many values of a column are remembered, and how long their cells may be: at most a few MB a column."""


@attrs.frozen(kw_only=True)
class Context:
    """What a mapping is compiled against: the record types, the place and money of the workspace, its pipelines."""

    registry: Registry
    zone: ZoneInfo
    currency: str
    pipelines: Mapping[str, Pipeline]
    default_pipeline: Pipeline


@attrs.frozen(kw_only=True)
class Reference:
    """A field that points at another record: `read` gives the name under which that one is known."""

    field: str
    read: Callable[[Cells], str]
    target: str
    system: str
    by: str
    later: bool
    lenient: bool
    required: bool
    column: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Where its names are looked up: the type, the system, the field."""
        return self.target, self.system, self.by


@attrs.frozen(kw_only=True)
class RecordReader:
    """One record of a row: which rows make it, under which key, with which values.

    `values` raises `BadCell`; `digest` marks `content`, what the mapping uses of the row; `sources` says of each field
    which columns it is read from, by name and by place. `policies` says of each field who wins where
    the record is there and says something else, `changed` when the source changed the row. `ids` and `same` say by what
    a record is known that is there without the key. With `keeps_merged` a row of a record that was merged leaves the
    survivor as it is.
    """

    kind: RecordType
    system: str
    per: str
    repeats: bool
    tag: str
    key_columns: str
    applies: Callable[[Cells], bool] | None
    key: Callable[[Cells], str]
    content: Callable[[Cells], str]
    digest: Callable[[str], str]
    values: Callable[[Cells], dict[str, Any]]
    references: tuple[Reference, ...]
    also: tuple[tuple[str, Callable[[Cells], str]], ...]
    sources: Mapping[str, tuple[str, tuple[int, ...]]]
    policies: Mapping[str, Conflict]
    changed: Callable[[Cells], dt.datetime | None]
    ids: str = ""
    same: tuple[str, ...] = ()
    keeps_merged: bool = False

    def told(self, cells: Cells, path: str) -> str:
        """Return what a row says of a field, as it stands in its cells."""
        return " ".join(cells[at] for at in self.sources[path][1])

    def build(self, values: dict[str, Any], before: Record | None) -> Record:
        """Return the record of these values: a new one, or the one from before with the mapped fields changed."""
        own, added = values.pop(OWN, None), values.pop("extensions", None)
        if own is not None:
            values["fields"] = MappingProxyType({**(before.fields if before else {}), **own})
        if added is not None:
            old: Mapping[str, Mapping[str, Any]] = before.extensions if before else {}
            merged = {name: MappingProxyType({**old.get(name, {}), **content}) for name, content in added.items()}
            values["extensions"] = MappingProxyType({**old, **merged})
        return self.kind.rows.made(values) if before is None else before.evolve(**values)


@attrs.frozen(cache_hash=True)
class Correction:
    """A mistake of the file that a mapping puts right: the key of the mapping, the column, the text as it stands."""

    place: str
    column: str
    text: str


@attrs.frozen(kw_only=True)
class Compiled:
    """A mapping for one file: its records in order, its checks, what it corrected, the columns it does not use.

    `tomans` are the columns with amounts in tomans that were read as rials.
    """

    records: tuple[RecordReader, ...]
    checks: tuple[tuple[Check, Callable[[Cells], bool]], ...]
    corrections: Counter[Correction]
    tomans: set[str]
    unused: tuple[str, ...]
    taken: Mapping[str, str]
    stage: Stage | None = None

    @property
    def grouping(self) -> Grouping | None:
        """How rows are brought together, None when each stands alone."""
        return None if self.stage is None else self.stage.grouping

    def told(self) -> list[str]:
        """Return in words what became of rows before records were made of them."""
        return [] if self.stage is None else self.stage.told()


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
    mine = _Part(spec, form, views, context, kind, corrections, tomans)
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


def _changed(spec: RecordMap, form: FileForm, columns: _Part) -> Callable[[Cells], dt.datetime | None]:
    """Return the reader of the moment at which the source changed a row; a day counts from its midnight."""
    name, form_of = spec.changed_at
    if not name:
        return lambda cells: None
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


def _source(field: FieldMap, columns: Columns) -> tuple[str, tuple[int, ...]]:
    return " + ".join(field.columns) or field.path, tuple(columns.index(name, field.place) for name in field.columns)


def _kind(spec: RecordMap, registry: Registry) -> RecordType:
    found = registry.types.get(spec.type) or next((t for t in registry.types.values() if t.plural == spec.type), None)
    if found is None or found.declaration.internal:
        known = ", ".join(name for name, each in registry.types.items() if not each.declaration.internal)
        raise MappingError(f"{spec.place}: type: there is no record type {spec.type!r}", hint=f"there are: {known}")
    return found


class _Part(Columns):
    """The compilation of one record: the columns it uses are those its digest covers."""

    def __init__(
        self,
        spec: RecordMap,
        form: FileForm,
        views: Views,
        context: Context,
        kind: RecordType,
        corrections: Counter[Correction],
        tomans: set[str],
    ) -> None:
        self._views = views
        self._all = views.of(spec.per, spec.place)
        self.used = set()
        self.spec, self.form, self.context, self.kind = spec, form, context, kind
        self.corrections = corrections
        self.tomans = tomans

    def index(self, name: str, place: str) -> int:
        found = self._all.index(name, place)
        self.used.add(self._all.digested(found))
        return found

    def kind_of(self, index: int) -> Kind:
        return self._all.kind_of(index)

    def joined(self, parts: Sequence[Part], place: str) -> Callable[[Cells], str]:
        """Return the reader of a key: its parts joined by a slash, empty when one of the columns is."""
        if len(parts) == 1:
            only = self.index(parts[0].column, place)
            return lambda cells: key_of(cells[only])
        pieces = [(self.index(part.column, place) if part.column else -1, part.const) for part in parts]

        def read(cells: Cells) -> str:
            texts = [const if at < 0 else key_of(cells[at]) for at, const in pieces]
            return "/".join(texts) if all(texts) else ""

        return read

    def fields(self) -> tuple[tuple[Reference, ...], Callable[[Cells], dict[str, Any]]]:
        """Return the references and the reader of all other values."""
        plain: list[_Value] = []
        references: list[Reference] = []
        for field in self.spec.fields:
            declared = self.kind.fields.get(field.path)
            if declared is None:
                raise MappingError(
                    f"{field.place}: {self.kind.name} has no field {field.path!r}",
                    hint=f"there are: {', '.join(self.kind.fields)}; a plan can declare a field of your own",
                )
            made = self._value(field)
            text = self.text(field, made)
            column = " + ".join(field.columns) if field.value is not None else next(iter(field.columns), "")
            if declared.declaration.kind == "reference" and field.ref:
                references.append(self._reference(field, text, column, required=declared.declaration.required))
                continue
            if declared.declaration.kind == "reference":
                raise MappingError(
                    f"{field.place}: points at a {declared.declaration.references}, so it needs ref",
                    hint=f'{{ column = "{column}", ref = "{declared.declaration.references}" }}',
                )
            written, form = self._form(field, made)
            reading = Reading(
                field=written,
                declared=declared,
                form=form,
                zone=self._zone(field),
                currency=self._currency(field),
                tomans=self.tomans,
            )
            group, _, name = field.path.rpartition(".")
            read = self._remembering(field, field_reader(reading, text))
            need = declared.declaration
            plain.append(_Value(group, name, read, need.required, need.nullable or need.kind == "tags", column, text))
        return tuple(references), _values_reader(plain, self.kind.name, self.context)

    def _remembering(self, field: FieldMap, read: Callable[[Cells], Any]) -> Callable[[Cells], Any]:
        """Return a reader that remembers what it read, where that depends on one cell alone: few columns never repeat.

        Corrections are counted, so a reader that makes some reads every cell anew.
        """
        alone = len(field.parts) == 1 and field.parts[0].column and not field.currency_column
        if not alone or field.when or field.corrections:
            return read
        at, known = self.index(field.parts[0].column, field.place), dict[str, Any]()

        def remembered(cells: Cells) -> Any:
            cell = cells[at]
            if cell in known:
                return known[cell]
            value = read(cells)
            if len(known) < _REMEMBERED and len(cell) <= _SHORT:
                known[cell] = value
            return value

        return remembered

    def _value(self, field: FieldMap) -> Computed | None:
        """Return the expression of a field made ready, None where it has none."""
        return None if field.value is None else compiled(field.value, self._views.scope(self))

    def _form(self, field: FieldMap, made: Computed | None) -> tuple[FieldMap, FileForm]:
        """Return how a field's text is written: computed numbers and times are not as the file writes them."""
        kind = made.kind if made is not None else "text"
        if made is None and len(field.parts) == 1 and field.parts[0].column:
            kind = self.kind_of(self.index(field.parts[0].column, field.place))
        if kind == "number":
            return attrs.evolve(field, decimal=".", thousands=""), self.form
        if kind == "moment":
            return attrs.evolve(field, format=""), attrs.evolve(self.form, dates="")
        return field, self.form

    def text(self, field: FieldMap, made: Computed | None) -> Callable[[Cells], str]:
        """Return the reader of a field's text, before it is taken as a number or a date."""
        base = self._base(field) if made is None else made.read
        null_if = self.form.null_if | field.null_if
        fix, values, default = field.corrections, field.values, field.default
        meets = holds(field.when, self, self._views.number) if field.when else None
        if not (null_if or fix or values or default or meets or field.unmapped != "keep"):
            return base
        counted, column = self.corrections, next(iter(field.columns), "")
        unmapped, place = field.unmapped, field.place

        def read(cells: Cells) -> str:
            if meets is not None and not meets(cells):
                return default
            text = base(cells)
            if text in null_if:
                return default
            if text in fix:
                counted[Correction(place, column, text)] += 1
                text = fix[text]
            if values and text:
                mapped = values.get(text)
                if mapped is not None:
                    text = mapped
                elif unmapped == "reject":
                    close = did_you_mean(text, tuple(values)) or "; add it there"
                    message = f"is not in the value map ({listed(values)}){close}"
                    raise BadCell("value_map", message, column=column, value=text)
                elif unmapped == "empty":
                    text = ""
            return text or default

        return read

    def _base(self, field: FieldMap) -> Callable[[Cells], str]:
        if len(field.parts) == 1 and not field.parts[0].column:
            const = field.parts[0].const
            return lambda cells: const
        if len(field.parts) == 1:
            at = self.index(field.parts[0].column, field.place)

            def one(cells: Cells) -> str:
                text = cells[at].strip()
                return without_guard(text) if text[:1] == "'" else text

            return one
        if field.ref:
            return self.joined(field.parts, field.place)
        pieces = [(self.index(part.column, field.place) if part.column else -1, part.const) for part in field.parts]

        def template(cells: Cells) -> str:
            texts = [const if at < 0 else cells[at].strip() for at, const in pieces]
            given = any(text for (at, _), text in zip(pieces, texts, strict=True) if at >= 0)
            return "".join(texts).strip() if given else ""

        return template

    def _reference(self, field: FieldMap, text: Callable[[Cells], str], column: str, *, required: bool) -> Reference:
        target = self.context.registry.types.get(field.ref)
        wanted = self.kind.fields[field.path].declaration.references
        if target is None or target.name != wanted:
            raise MappingError(f"{field.place}: ref must be {wanted!r}, found {field.ref!r}")
        if field.later and self._views.layout is not None:
            raise MappingError(
                f"{field.place}: later cannot be, since a group is written as a whole: nothing of it can wait",
                hint="import what it points at before, from another file of a plan",
            )
        if field.by and field.by not in target.fields:
            raise MappingError(f"{field.place}: by: a {target.name} has no {field.by}")
        return Reference(
            field=field.path,
            read=text if field.by else lambda cells: key_text(text(cells)),
            target=target.name,
            system=field.system,
            by=field.by,
            later=field.later,
            lenient=field.lenient,
            required=required,
            column=column,
        )

    def _zone(self, field: FieldMap) -> ZoneInfo:
        return zone_named(field.zone or self.form.zone, field.place, self.context.zone)

    def _currency(self, field: FieldMap) -> Callable[[Cells], str]:
        if field.currency_column:
            at = self.index(field.currency_column, field.place)
            return lambda cells: cells[at].strip().upper()
        fixed = field.currency or self.form.currency or self.context.currency
        if declared_unit(fixed) is None:
            raise MappingError(
                f"{field.place}: {fixed!r} is no currency", hint="such as EUR, USD or IRR, of ISO 4217; or toman"
            )
        return lambda cells: fixed


@attrs.frozen
class _Value:
    group: str
    name: str
    read: Callable[[Cells], Any]
    required: bool
    nullable: bool
    column: str
    text: Callable[[Cells], str]


def _values_reader(plain: Sequence[_Value], kind: str, context: Context) -> Callable[[Cells], dict[str, Any]]:
    own = [(one.name, one.read, one) for one in plain if not one.group]
    grouped = [one for one in plain if one.group]
    rule = RULES.get(kind)
    columns = {one.name: one.column for one in plain}

    def read_all(cells: Cells) -> dict[str, Any]:
        made: dict[str, Any] = {}
        one = None
        try:
            for name, read, one in own:
                value = read(cells)
                if value is not None or one.nullable:
                    made[name] = value
                elif one.required:
                    raise BadCell("required", f"is empty, and no {kind} is without {name}; fill it in")
            for one in grouped:
                group = made.setdefault(one.group, {}) if one.group == OWN else _extension(made, one.group)
                group[one.name] = one.read(cells)
        except BadCell as bad:
            assert one is not None, "a cell was being read"
            raise bad.at(one.column, one.text(cells) if bad.rule not in ("required", "value_map") else "") from None
        if rule is not None:
            try:
                rule(made, context.pipelines, context.default_pipeline)
            except BadCell as bad:
                raise BadCell(bad.rule, bad.message, column=columns.get(bad.column, ""), value=bad.value) from None
        return made

    return read_all


def _extension(made: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = made.setdefault("extensions", {}).setdefault(name, {})
    return found
