"""What a mapping file says, read from TOML: every mistake is a `MappingError` that names the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from crm_transfer.conditions import Condition, conditions
from crm_transfer.errors import MappingError
from crm_transfer.expressions import Expression, expression
from crm_transfer.fieldmaps import FieldMap, Part, conflict_of, fields_of, parts_of
from crm_transfer.grouping import PERS, GroupMap, Per, group_map
from crm_transfer.policies import Conflict
from crm_transfer.tables import Table, parse_toml, read_text

_FILE_KEYS: Final = frozenset(
    {
        "format",
        "encoding",
        "delimiter",
        "columns",
        "sheet",
        "header",
        "fill_down",
        "decimal",
        "thousands",
        "dates",
        "zone",
        "system",
        "currency",
        "null_if",
        "conflict",
        "changed_at",
        "update",
    }
)
_RECORD_KEYS: Final = frozenset(
    {
        "type",
        "key",
        "per",
        "when",
        "fields",
        "system",
        "repeats",
        "also",
        "conflict",
        "changed_at",
        "ids",
        "same",
        "merged",
    }
)
_CHECK_KEYS: Final = frozenset({"when", "say", "per"})
_RULE_KEYS: Final = frozenset({"name", "when", "skip", "reject"})


@attrs.frozen(kw_only=True)
class RecordMap:
    """One record that a row makes: its type, its external id (`key` in `system`), which rows make it, its fields.

    `per` says whether it is made of each row, once of each group, or once of each line of a group. `repeats` allows the
    same key in several rows: the first one counts. `also` are further external ids, by system. `changed_at` is the
    column that says when the source changed the record, and its form (empty: that of the file). `ids` is how keys begin
    that end in an id of ours, `same` are the fields by which a record is known that is there without the key. With
    `keeps_merged` a row whose record was merged into another one leaves that one as it is.
    """

    type: str
    place: str
    system: str
    key: tuple[Part, ...]
    when: tuple[Condition, ...] = ()
    fields: tuple[FieldMap, ...] = ()
    per: Per = "row"
    repeats: bool = False
    also: tuple[tuple[str, tuple[Part, ...]], ...] = ()
    changed_at: tuple[str, str] = ("", "")
    ids: str = ""
    same: tuple[str, ...] = ()
    keeps_merged: bool = False


@attrs.frozen(kw_only=True)
class Check:
    """A trap to be told of: `say` is printed when rows match, with {count} and {rows} filled in."""

    when: tuple[Condition, ...]
    say: str
    place: str = ""
    per: Per = "row"


@attrs.frozen(kw_only=True)
class RuleMap:
    """What is done with rows that meet `when`: they are left out and counted, or refused for the reason `reject`."""

    name: str
    when: tuple[Condition, ...]
    reject: str = ""
    place: str = ""


@attrs.frozen(kw_only=True)
class FileForm:
    """How the file is written: what `[file]` says. `update`: it is an edited export, whose changed cells count."""

    format: str = ""
    options: Mapping[str, Any] = attrs.field(factory=dict)
    decimal: str = ""
    thousands: str = ""
    dates: str = ""
    zone: str = ""
    currency: str = ""
    null_if: frozenset[str] = frozenset()
    update: bool = False


@attrs.frozen(kw_only=True)
class RowMapping:
    """A whole mapping: how the file is written, the records of each row in order, and the checks.

    Before records are made, `computed` adds columns, by name, `rules` leave rows out, and `group` brings rows together.
    `fields` and `pipelines` are what it needs of the workspace, as in a plan.
    """

    name: str
    form: FileForm
    records: tuple[RecordMap, ...]
    checks: tuple[Check, ...] = ()
    computed: tuple[tuple[str, Expression], ...] = ()
    rules: tuple[RuleMap, ...] = ()
    group: GroupMap | None = None
    text: str = ""
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]] = attrs.field(factory=dict)
    pipelines: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


def load_mapping(path: Path, *, system: str = "") -> RowMapping:
    """Read a mapping file; `system` names the source of external ids where the mapping does not.

    Raises:
        MappingError: the file cannot be read, or a key of it is wrong.
    """
    return parse_mapping(read_text(path), name=path.name, system=system)


def parse_mapping(text: str, *, name: str = "mapping", system: str = "") -> RowMapping:
    """Read a mapping from TOML text.

    >>> parse_mapping('''
    ... [[record]]
    ... type = "customer"
    ... key = "account"
    ... [record.fields]
    ... name = "account"
    ... ''').records[0].fields[0].parts
    (Part(column='account', const=''),)
    """
    root = Table(parse_toml(text, name), name)
    root.only({"file", "columns", "rule", "group", "match", "record", "check", "fields", "pipelines"})
    file = root.table("file")
    file.only(_FILE_KEYS)
    form = _file_form(file)
    source = file.text("system") or system or "import"
    tables = root.tables("record")
    if not tables:
        raise root.wrong("record", "is missing", 'start with: [[record]] and type = "customer"')
    records = tuple(_record(table, source, file) for table in tables)
    checks = tuple(_check(table) for table in root.tables("check"))
    computed = root.table("columns")
    return RowMapping(
        name=name,
        form=form,
        records=records,
        checks=checks,
        computed=tuple((each, expression(value, computed, each)) for each, value in computed.data.items()),
        rules=tuple(_rule(table) for table in root.tables("rule")),
        group=group_map(root),
        text=text,
        fields=root.nested("fields", depth=2),
        pipelines=root.nested("pipelines", depth=1),
    )


def _file_form(file: Table) -> FileForm:
    decimal, thousands = file.text("decimal"), file.text("thousands")
    if decimal and decimal == thousands:
        raise file.wrong("thousands", f"is the same as decimal: {decimal!r}")
    options = {
        key: file.data[key] for key in ("encoding", "delimiter", "columns", "sheet", "header") if key in file.data
    }
    if not isinstance(options.get("header", 1), int) or options.get("header", 1) < 1:
        raise file.wrong("header", f"must be the number of a row, found {options['header']!r}", "header = 4")
    options |= {key: file.texts(key) for key in ("columns", "fill_down") if key in file.data}
    return FileForm(
        format=file.text("format"),
        options=options,
        decimal=decimal,
        thousands=thousands,
        dates=file.text("dates"),
        zone=file.text("zone"),
        currency=file.text("currency"),
        null_if=frozenset(file.texts("null_if")),
        update=file.flag("update"),
    )


def _record(table: Table, source: str, file: Table) -> RecordMap:
    table.only(_RECORD_KEYS)
    type_name = table.text("type")
    if not type_name:
        raise table.wrong("type", "is missing", 'type = "customer"')
    place = f"{table.place} ({type_name})"
    named = Table(table.data, place)
    if "key" not in table.data:
        raise named.wrong(
            "key", "is missing", 'name the column that tells the records apart, such as key = "customer_no", or '
            'several that do so together: key = ["shop", "no"]. It makes importing twice change nothing; '
            "`crm import --suggest` finds columns that will do",
        )  # fmt: skip
    system = table.text("system") or source
    also = named.table("also")
    policy = conflict_of(named, conflict_of(file, "keep_edited"))
    changed_at = _changed_at(named) if "changed_at" in table.data else _changed_at(file)
    fields = tuple(fields_of(named.table("fields"), "", system, policy))
    newest = next((field for field in fields if field.conflict == "newest"), None)
    if newest is not None and not changed_at[0]:
        raise Table({}, newest.place).wrong(
            "conflict", 'is "newest", and no column says when a row was changed', 'changed_at = "modified"'
        )
    return RecordMap(
        type=type_name,
        place=place,
        system=system,
        key=parts_of(named, "key"),
        when=conditions(named),
        fields=fields,
        per=_per(table),
        repeats=table.flag("repeats"),
        also=tuple((name, parts_of(also, name)) for name in also.data),
        changed_at=changed_at,
        ids=table.text("ids"),
        same=table.texts("same"),
        keeps_merged=table.choice("merged", ("reject", "keep")) == "keep",
    )


def _changed_at(table: Table) -> tuple[str, str]:
    """Return the column that says when a row was changed, and the form of its times."""
    if not isinstance(table.data.get("changed_at"), dict):
        return table.text("changed_at"), ""
    inner = table.table("changed_at")
    inner.only({"column", "format"})
    return inner.text("column"), inner.text("format")


def with_policies(mapping: RowMapping, policies: Mapping[str, Conflict]) -> RowMapping:
    """Return the mapping with other policies: by field ("city", "customer.city"), or by "" for every field.

    Raises:
        MappingError: a name is that of no field of the mapping, or "newest" has no column to go by.
    """
    left = set(policies) - {""}
    records = []
    for record in mapping.records:
        fields = []
        for field in record.fields:
            names = (f"{record.type}.{field.path}", field.path, "")
            wanted = next((policies[name] for name in names if name in policies), field.conflict)
            left -= set(names)
            if wanted == "newest" and not record.changed_at[0]:
                raise MappingError(
                    f'{field.place}: conflict is "newest", and no column says when a row was changed',
                    hint='say which in the mapping: changed_at = "modified"',
                )
            fields.append(attrs.evolve(field, conflict=wanted))
        records.append(attrs.evolve(record, fields=tuple(fields)))
    if left:
        known = ", ".join(dict.fromkeys(field.path for record in mapping.records for field in record.fields))
        raise MappingError(f"--conflict {min(left)}: the mapping has no such field", hint=f"its fields: {known}")
    return attrs.evolve(mapping, records=tuple(records))


def _check(table: Table) -> Check:
    table.only(_CHECK_KEYS)
    say, when = table.text("say"), conditions(table)
    if not say or not when:
        raise table.wrong(
            "", "needs when and say", 'when = { column = "account", given = false } and say = "{count} rows ..."'
        )
    return Check(when=when, say=say, place=table.place, per=_per(table))


def _rule(table: Table) -> RuleMap:
    table.only(_RULE_KEYS)
    name, when, reject = table.text("name"), conditions(table), table.text("reject")
    if not name or not when or table.flag("skip") is bool(reject):
        raise table.wrong(
            "", "needs name, when and one of: skip, reject",
            'name = "no price", when = { column = "price", equals = 0 }, skip = true',
        )  # fmt: skip
    return RuleMap(name=name, when=when, reject=reject, place=table.place)


def _per(table: Table) -> Per:
    chosen = table.choice("per", PERS)
    return "group" if chosen == "group" else "line" if chosen == "line" else "row"
