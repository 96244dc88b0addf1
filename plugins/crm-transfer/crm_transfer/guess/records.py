"""Drafts the records that a row makes: fields, contact points, organisations, owners, own fields, a pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.errors import InvalidValue
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.values import exponent, text_key
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.keys import KeyGuess
from crm_transfer.guess.toml import Block, inline, listed, source
from crm_transfer.guess.values import (
    Matched,
    ValueMap,
    choices_map,
    match_records,
    proposed_stages,
    stage_map,
    yes_or_no_map,
)
from crm_transfer.guess.words import COMPANY, CURRENCY, CUSTOMER, EMAIL, FIELDS, FIRST, LAST, OWNER, PHONE, plain
from crm_transfer.toml import quoted

_LONG: Final = 400
_TYPES: Final = {"date": "day", "integer": "integer", "decimal": "decimal", "boolean": "boolean"}
_NAME: Final = re.compile(r"[^a-z0-9]+")


@attrs.frozen
class Guess:
    """What a column was taken for: `target` is the field (`customer.name`), empty where it is only mentioned."""

    column: str
    target: str
    confidence: str
    why: str
    values: dict[str, str] = attrs.field(factory=dict)


@attrs.define
class Draft:
    """The records, what they need of the workspace, the guess of each column, and what a person has to decide."""

    blocks: list[Block] = attrs.field(factory=list)
    fields: dict[str, dict[str, dict[str, Any]]] = attrs.field(factory=dict)
    pipelines: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    guesses: list[Guess] = attrs.field(factory=list)
    questions: list[str] = attrs.field(factory=list)


def draft_records(crm: CRM, kind: RecordType, columns: Sequence[Seen], key: KeyGuess, system: str, rows: int) -> Draft:
    """Draft the records of a file whose rows make records of one type, told apart by `key`."""
    return _Drafting(crm, kind, columns, key, system, rows).draft()


class _Drafting:
    def __init__(
        self, crm: CRM, kind: RecordType, columns: Sequence[Seen], key: KeyGuess, system: str, rows: int
    ) -> None:
        self._crm, self._kind, self._key, self._system, self._rows = crm, kind, key, system, rows
        self._left = list(columns)
        self._taken: set[str] = set()
        self._out = Draft()
        others = f"; others that would do: {', '.join(map(quoted, key.others))}" if key.others else ""
        self._main = Block(kind.name, [f"key = {listed(key.columns)}  # {key.confidence}: {key.why}{others}"])
        self._before: list[Block] = []
        self._after: list[Block] = []
        self._currency = next((s for s in columns if plain(s.name) in CURRENCY and _are_currencies(s)), None)

    def draft(self) -> Draft:
        """Try the ways of reading a column, the surest first; what is left becomes fields of its own."""
        self._by_name(exact=True)
        self._references()
        self._full_name()
        self._by_name(exact=False)
        self._company()
        self._contact_points()
        self._fallback_name()
        self._required()
        self._currency_used()
        for seen in list(self._left):
            self._own_field(seen)
        self._out.blocks = [*self._before, self._main, *self._after]
        order = {name: at for at, name in enumerate(guess.column for guess in self._out.guesses)}
        self._out.guesses.sort(key=lambda guess: order[guess.column])
        return self._out

    # Fields that are there

    def _by_name(self, *, exact: bool) -> None:
        for seen in list(self._left):
            field, confidence, why = self._field_called(seen, exact=exact)
            if field is not None:
                self._take(field, seen, confidence, why)

    def _field_called(self, seen: Seen, *, exact: bool) -> tuple[Field | None, str, str]:
        name = plain(seen.name)
        for field in self._kind.fields.values():
            declared = field.declaration
            if field.path in self._taken or declared.derived or declared.kind == "reference":
                continue
            if exact and name in (plain(field.name), plain(declared.label)):
                return field, "high", "the same name"
            if (
                not exact
                and name in FIELDS.get(field.name, ())
                and not (name in COMPANY | OWNER and "name" != field.name)
            ):
                return field, "medium", "a similar name"
        return None, "", ""

    def _take(self, field: Field, seen: Seen, confidence: str, why: str) -> bool:
        """Read a field from a column, if the column's cells can be its values."""
        kind = field.declaration.kind
        reader = _READERS.get(kind)
        more = reader(self, field, seen) if reader is not None else self._text(field, seen)
        if more is None:
            return False
        values = more.pop("values", ValueMap({}))
        if values.values:
            more["map"] = inline(values.values)
            confidence = confidence if values.sure else "low"
            why += "; the values are translated" if values.sure else "; some values are only alike: check the map"
        remark = f"{confidence}: {why}" + (f"; {seen.doubt}" if seen.doubt else "")
        if seen.doubt:
            remark = f"low: {why}; {seen.doubt}"
            self._out.questions.append(f"column {quoted(seen.name)}: {seen.doubt}")
        if field.declaration.required and seen.empty:
            remark += f"; {seen.empty:,} rows have none and will be rejected"
        self._main.fields.append((field.path, source(seen.name, **more), remark))
        self._done(seen, f"{self._kind.name}.{field.path}", "low" if seen.doubt else confidence, why, values.values)
        self._taken.add(field.path)
        return True

    def _done(self, seen: Seen, target: str, confidence: str, why: str, values: Any = None) -> None:
        self._out.guesses.append(Guess(seen.name, target, confidence, why, dict(values or {})))
        self._left.remove(seen)

    def _text(self, field: Field, seen: Seen) -> dict[str, Any] | None:
        if field.path == "stage" and self._kind.name == "deal":
            return self._stage(seen)
        if field.declaration.choices:
            found = choices_map(field, seen) if seen.values else None
            return None if found is None else {"values": found}
        limit = field.declaration.max_length
        return None if not seen.values or (limit and seen.longest > limit) else {}

    def _date(self, field: Field, seen: Seen) -> dict[str, Any] | None:
        return {"format": quoted(seen.format) if seen.format else ""} if seen.kind == "date" else None

    def _number(self, field: Field, seen: Seen) -> dict[str, Any] | None:
        kind = field.declaration.kind
        if seen.kind not in ("integer", "decimal") or (kind == "integer" and seen.kind == "decimal"):
            return None
        more = {name: quoted(given) for name in ("decimal", "thousands") if (given := getattr(seen, name))}
        if kind == "decimal" and _digits(seen) > field.declaration.scale:
            return None
        if kind == "money":
            code = self._crm.settings.currency
            if self._currency is not None and self._currency.empty == 0:
                more["currency"] = f"{{ column = {quoted(self._currency.name)} }}"
                code = min(self._currency.distinct, key=lambda one: exponent(one.upper())).upper()
            else:
                more["currency"] = quoted(code)
                self._out.questions.append(f"column {quoted(seen.name)}: amounts are taken for {code}")
            if _digits(seen) > exponent(code):
                return None
        return more

    def _boolean(self, field: Field, seen: Seen) -> dict[str, Any] | None:
        found = yes_or_no_map(seen) if seen.values else None
        return None if found is None else {"values": found}

    def _stage(self, seen: Seen) -> dict[str, Any] | None:
        """Read the stages of deals by a pipeline that is there, or by one proposed for them."""
        found = stage_map(self._crm.pipelines, seen) if seen.values else None
        if found is not None:
            pipeline, values = found
            if pipeline.name != next(iter(self._crm.pipelines)):
                self._main.fields.append(
                    ("pipeline", f"{{ const = {quoted(pipeline.name)} }}", "high: it has these stages")
                )
                self._taken.add("pipeline")
            return {"values": values}
        stages = proposed_stages(seen)
        if stages is None or self._crm.settings.directory is None:
            return None
        name = _slug(self._system) or "imported"
        while name in self._crm.pipelines:
            name += "_2"
        self._out.pipelines[name] = {"label": self._system, "on_won": "sale", "stages": stages}
        self._main.fields.append(("pipeline", f"{{ const = {quoted(name)} }}", "medium: the pipeline proposed below"))
        self._taken.add("pipeline")
        self._out.questions.append(
            f"column {quoted(seen.name)}: the order and kinds of the stages of [pipelines.{name}]"
        )
        return {}

    # Names

    def _full_name(self) -> None:
        """Put a first and a last name together."""
        first = next((s for s in self._left if plain(s.name) in FIRST), None)
        last = next((s for s in self._left if plain(s.name) in LAST), None)
        if first is None or last is None or "name" not in self._kind.fields or "name" in self._taken:
            return
        if any(set("{}") & set(seen.name) for seen in (first, last)):
            return
        template = f"{{{first.name}}} {{{last.name}}}"
        self._main.fields.append(("name", f"{{ template = {quoted(template)} }}", "high: first and last name"))
        self._taken.add("name")
        for seen in (first, last):
            self._done(seen, f"{self._kind.name}.name", "high", "first and last name")

    def _fallback_name(self) -> None:
        """Where no column is called a name, the first one of short texts that mostly differ may be one."""
        if "name" not in self._kind.fields or "name" in self._taken:
            return
        limit = self._kind.fields["name"].declaration.max_length
        for seen in self._left:
            if seen.kind == "text" and 2 * seen.tells_apart >= max(self._rows, 1) and seen.longest <= limit:
                why = "nothing is called a name, and this column may be one"
                self._main.fields.append(("name", quoted(seen.name), f"low: {why}"))
                self._taken.add("name")
                self._done(seen, f"{self._kind.name}.name", "low", why)
                return

    def _required(self) -> None:
        for field in self._kind.fields.values():
            if not field.declaration.required or field.path in self._taken:
                continue
            if field.declaration.kind == "text" and not field.declaration.choices:
                first = self._key.columns[0]
                if not set("{}") & set(first):
                    value = f"{{ template = {quoted('{' + first + '}')} }}"
                    self._main.fields.append((field.path, value, "low: nothing fits, and it is required"))
                    continue
            self._main.left.append(f"# {field.path} = ...  # required, and no column fits: say where it comes from")
            self._out.questions.append(f"{field.path} is required, and no column fits")

    # What a row points at

    def _references(self) -> None:
        for field in self._kind.fields.values():
            target = field.declaration.references
            words = OWNER if target == "user" else CUSTOMER if target == "customer" else frozenset[str]()
            if not words or field.path in self._taken or field.path not in _POINTING:
                continue
            seen = next((s for s in self._left if plain(s.name) in words and s.values), None)
            if seen is not None and seen.is_short:
                self._point(field, seen)

    def _point(self, field: Field, seen: Seen) -> None:
        target = field.declaration.references
        matched = match_records(self._crm, target, seen)
        if matched.system:
            more = {"ref": quoted(target), "system": quoted(matched.system)}
            why = f"{matched.known:,} of {matched.of:,} are known under {matched.system}"
            self._pointing(field, seen, "high", why, more)
        elif matched.by and matched.known:
            self._point_by_name(field, seen, matched)
        elif target == "user" or plain(seen.name) in COMPANY or seen.kind == "text":
            self._make(field, seen)

    def _point_by_name(self, field: Field, seen: Seen, matched: Matched) -> None:
        """Look the records up; names that are only alike, or unknown, stand in the map."""
        target = field.declaration.references
        values = {**matched.values.values, **dict.fromkeys(matched.values.unknown, "")}
        more = {"ref": quoted(target), "by": quoted(matched.by), "map": inline(values) if values else ""}
        why = f"{matched.known:,} of {matched.of:,} names are those of a {target}"
        if matched.values.values:
            why += "; some are only alike: check the map"
        if matched.values.unknown:
            why += f"; {len(matched.values.unknown):,} are nobody's, and left empty"
            shown = ", ".join(map(repr, matched.values.unknown[:3]))
            self._out.questions.append(
                f"column {quoted(seen.name)}: no {target} is called {shown}: add them first, or say who is meant"
            )
        self._pointing(field, seen, "high" if not values else "low", why, more, values)

    def _make(self, field: Field, seen: Seen) -> None:
        """Make the records that a column names, since none of them is there."""
        target = field.declaration.references
        block = Block(target, [f"key = {quoted(seen.name)}", "repeats = true", _given(seen)])
        block.fields.append(("name", quoted(seen.name), "low: nothing of that name is there yet"))
        if target == "customer" and plain(seen.name) in COMPANY:
            block.fields.append(("kind", '{ const = "organisation" }', f"medium: the column is called {seen.name}"))
        self._before.append(block)
        why = f"no {target} is called so yet: the import makes them"
        self._pointing(field, seen, "medium", why, {"ref": quoted(target)})

    def _pointing(
        self, field: Field, seen: Seen, confidence: str, why: str, more: dict[str, str], values: Any = None
    ) -> None:
        self._main.fields.append((field.path, source(seen.name, **more), f"{confidence}: {why}"))
        self._taken.add(field.path)
        self._done(seen, f"{self._kind.name}.{field.path}", confidence, why, values)

    # Several records of one row

    def _company(self) -> None:
        """Make the company a person works for an organisation of its own; without a person it is the customer."""
        seen = next((s for s in self._left if plain(s.name) in COMPANY and s.values and s.is_short), None)
        if self._kind.name != "customer" or seen is None:
            return
        if "name" not in self._taken:
            self._main.fields.append(("name", quoted(seen.name), "medium: a company, and no person is named"))
            self._taken.add("name")
            if "kind" not in self._taken:
                self._main.fields.append(("kind", '{ const = "organisation" }', "medium: the name is a company's"))
                self._taken.add("kind")
            self._done(seen, "customer.name", "medium", "a company, and no person is named")
            return
        key = f'[{{ const = "company" }}, {quoted(seen.name)}]'
        company = Block("customer", [f"key = {key}", "repeats = true", _given(seen)])
        company.fields += [("name", quoted(seen.name), ""), ("kind", '{ const = "organisation" }', "")]
        mine = ", ".join(map(quoted, self._key.columns))
        relation = Block("relation", [f'key = [{mine}, {{ const = "works for" }}]', _given(seen)])
        relation.fields += [
            ("customer_id", f'{{ column = {listed(self._key.columns)}, ref = "customer" }}', ""),
            ("other_id", f'{{ column = {key}, ref = "customer" }}', ""),
            ("kind", '{ const = "works for" }', "medium: a person with a company"),
        ]
        self._after += [company, relation]
        self._done(seen, "relation.works for", "medium", "a person with a company: an organisation and a relation")

    def _contact_points(self) -> None:
        if self._kind.name != "customer":
            return
        mine = ", ".join(map(quoted, self._key.columns))
        found = [(seen, kind) for seen in self._left if (kind := _contact_kind(seen))]
        for seen, kind in found:
            alone = sum(1 for _, other in found if other == kind) == 1
            name = kind if alone else f"{kind}: {seen.name}"
            block = Block("contact_point", [f"key = [{mine}, {{ const = {quoted(name)} }}]", _given(seen)])
            block.fields += [
                ("customer_id", f'{{ column = {listed(self._key.columns)}, ref = "customer" }}', ""),
                ("kind", f"{{ const = {quoted(kind)} }}", "high: all of them look like one"),
                ("value", quoted(seen.name), ""),
            ]
            if not alone and len(seen.name) <= 100 and seen.name.isprintable() and not set("{}") & set(seen.name):
                block.fields.append(("label", f"{{ const = {quoted(seen.name)} }}", ""))
            self._after.append(block)
            self._done(seen, f"contact_point.{kind}", "high", "all of them look like one")

    # What is left

    def _currency_used(self) -> None:
        seen = self._currency
        if seen is not None and seen in self._left and any("currency = { column" in f[1] for f in self._main.fields):
            self._done(seen, "currency", "high", "the currency of the amounts")

    def _own_field(self, seen: Seen) -> None:
        """Give a column that nothing fits a field of its own."""
        if seen.name in self._key.columns and len(self._key.columns) == 1:
            self._done(seen, "key", self._key.confidence, self._key.why)
            return
        name, content = self._declared(seen)
        if seen.kind == "solar":
            self._out.questions.append(
                f"column {quoted(seen.name)}: Persian solar (Jalali) dates are kept as text; convert them first"
            )
        more: dict[str, str] = {}
        if seen.kind == "date" and seen.format:
            more["format"] = quoted(seen.format)
        more |= {key: quoted(given) for key in ("decimal", "thousands") if (given := getattr(seen, key))}
        values = yes_or_no_map(seen) if seen.kind == "boolean" else None
        if values is not None and values.values:
            more["map"] = inline(values.values)
        line = f"fields.{name} = {source(seen.name, **more)}"
        if seen.kind == "empty" or self._crm.settings.directory is None:
            why = "all cells are empty" if seen.kind == "empty" else "no field fits, and own fields need a workspace"
            declared = ", ".join(f"{key} = {quoted(str(value))}" for key, value in content.items())
            self._main.left.append(f"# {line}  # {why}; to add one: [fields.{self._kind.name}.{name}] {declared}")
            self._done(seen, "", "low", why)
            return
        why = f"no field fits: a new one of type {content['type']}"
        doubt = f"; {seen.doubt}" if seen.doubt else ""
        if seen.doubt:
            self._out.questions.append(f"column {quoted(seen.name)}: {seen.doubt}")
        self._main.fields.append(
            (f"fields.{name}", source(seen.name, **more), f"{'low' if doubt else 'medium'}: {why}{doubt}")
        )
        self._out.fields.setdefault(self._kind.name, {})[name] = content
        self._taken.add(f"fields.{name}")
        self._done(seen, f"{self._kind.name}.fields.{name}", "low" if doubt else "medium", why)

    def _declared(self, seen: Seen) -> tuple[str, dict[str, Any]]:
        """Return the name and the declaration of a new field."""
        type_ = "moment" if seen.kind == "date" and seen.is_timed else _TYPES.get(seen.kind, "text")
        content: dict[str, Any] = {"type": type_, "label": _label(seen.name)}
        if type_ == "decimal":
            content["scale"] = max(_digits(seen), 1)
        if type_ == "text" and seen.longest > _LONG:
            content["max_length"] = 0
        base = _slug(seen.name) or "column"
        name, at = base, 1
        while f"fields.{name}" in {*self._kind.fields, *self._taken}:
            at += 1
            name = f"{base}_{at}"
        return name, content


def _contact_kind(seen: Seen) -> str:
    name = plain(seen.name)
    if seen.kind == "email" or (seen.kind == "phone" and not any(word in name for word in EMAIL)):
        return seen.kind
    return "phone" if seen.kind == "integer" and any(word in name for word in PHONE) else ""


def _are_currencies(seen: Seen) -> bool:
    try:
        return bool(seen.values) and all(exponent(value.upper()) >= 0 for value in seen.distinct)
    except InvalidValue:
        return False


def _digits(seen: Seen) -> int:
    """Return how many digits stand after the point at most."""
    points = (seen.decimal or ".", "٫")
    return max((len(v.rpartition(p)[2]) for v in seen.distinct for p in points if p in v), default=0)


def _given(seen: Seen) -> str:
    return f"when = {{ column = {quoted(seen.name)}, given = true }}"


def _slug(name: str) -> str:
    plain_name = _NAME.sub("_", text_key(name)).strip("_")[:40].rstrip("_")
    return f"f_{plain_name}" if plain_name[:1].isdigit() else plain_name


def _label(name: str) -> str:
    return "".join(c if c.isprintable() else " " for c in name).strip()[:100] or "Column"


_POINTING: Final = frozenset({"owner_id", "author_id", "customer_id"})
_READERS: Final[dict[str, Callable[[_Drafting, Field, Seen], dict[str, Any] | None]]] = {
    "day": _Drafting._date,
    "moment": _Drafting._date,
    "integer": _Drafting._number,
    "decimal": _Drafting._number,
    "money": _Drafting._number,
    "boolean": _Drafting._boolean,
}
