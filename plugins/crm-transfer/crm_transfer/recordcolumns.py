"""The columns as one record of a mapping reads them: its key, its fields and what it points at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import attrs

from crm_core.records import RecordType
from crm_transfer.cells import key_of, key_text, without_guard
from crm_transfer.columns import Cells, Columns, Kind
from crm_transfer.columnwise import FieldValue, ValuesReader, values_reader
from crm_transfer.conditions import holds
from crm_transfer.currencies import declared_unit
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.fieldmaps import FieldMap, Part
from crm_transfer.fields import Reading, field_reader
from crm_transfer.mapping import FileForm, RecordMap
from crm_transfer.nearest import did_you_mean
from crm_transfer.operations import Computed, compiled
from crm_transfer.readers import Context, Correction, Reference
from crm_transfer.report import listed
from crm_transfer.rules import RULES
from crm_transfer.views import Views, zone_named


class RecordColumns(Columns):
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

    def fields(self) -> tuple[tuple[Reference, ...], ValuesReader]:
        """Return the references and the reader of all other values."""
        plain: list[FieldValue] = []
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
            need = declared.declaration
            plain.append(
                FieldValue(
                    group=group,
                    name=name,
                    read=field_reader(reading, text),
                    alone=self._alone(field),
                    required=need.required,
                    nullable=need.nullable or need.kind == "tags",
                    column=column,
                    text=text,
                )
            )
        return tuple(references), values_reader(plain, self.kind.name, self._rule())

    def _rule(self) -> Callable[[dict[str, Any]], None] | None:
        rule, context = RULES.get(self.kind.name), self.context
        if rule is None:
            return None
        return partial(rule, pipelines=context.pipelines, default=context.default_pipeline)

    def _alone(self, field: FieldMap) -> int | None:
        """Return the place of the cell that a field's value depends on alone, None where there are more or none.

        Corrections are counted, so a reader that makes some reads every cell anew.
        """
        alone = len(field.parts) == 1 and field.parts[0].column and not field.currency_column
        if not alone or field.when or field.corrections:
            return None
        return self.index(field.parts[0].column, field.place)

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
