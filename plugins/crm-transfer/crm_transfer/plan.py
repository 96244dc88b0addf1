"""A plan: files imported in order as one operation, the fields and pipelines they need, the traps to look for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from crm_core import CRM, Record, RecordService
from crm_core.errors import UsageError
from crm_core.records import RecordType
from crm_transfer.errors import MappingError
from crm_transfer.mapping import RowMapping, load_mapping
from crm_transfer.tables import Table, parse_toml, read_text

if TYPE_CHECKING:
    from sqlalchemy import FromClause


@attrs.frozen(kw_only=True)
class PlannedFile:
    """A file of a plan, relative to the data folder, and its mapping."""

    file: str
    mapping: RowMapping


@attrs.frozen(kw_only=True)
class RecordCheck:
    """A trap that shows only when all records are there: of type `type`, those that match `where`, if there are any.

    `unreferenced_by` ("deal.owner_id") keeps those that no such field points at; `before` ("closed_at",
    "customer_id.first_contact_at") those whose first moment is before the second one.
    """

    type: str
    say: str
    place: str
    where: str = ""
    unreferenced_by: str = ""
    before: tuple[str, str] | None = None


@attrs.frozen(kw_only=True)
class Plan:
    """What a plan file says."""

    path: Path
    title: str
    data: Path
    files: tuple[PlannedFile, ...]
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]]
    pipelines: Mapping[str, Mapping[str, Any]]
    checks: tuple[RecordCheck, ...] = ()
    notes: tuple[str, ...] = ()


def load_plan(path: Path) -> Plan:
    """Read a plan file and the mappings it names.

    Raises:
        MappingError: one of them cannot be read, or a key is wrong.
    """
    root = Table(parse_toml(read_text(path), path.name), path.name)
    root.only({"plan", "file", "fields", "pipelines", "check"})
    head = root.table("plan")
    head.only({"title", "data", "system", "notes"})
    files = []
    for table in root.tables("file"):
        table.only({"file", "map"})
        name, mapping = table.text("file"), table.text("map")
        if not name or not mapping:
            raise table.wrong("", "needs file and map", 'file = "accounts.csv" and map = "accounts.toml"')
        files.append(PlannedFile(file=name, mapping=load_mapping(path.parent / mapping, system=head.text("system"))))
    if not files:
        raise root.wrong("file", "is missing", "[[file]] with file and map, in the order of the import")
    return Plan(
        path=path,
        title=head.text("title") or path.stem,
        data=path.parent / (head.text("data") or "."),
        files=tuple(files),
        fields=root.nested("fields", depth=2),
        pipelines=root.nested("pipelines", depth=1),
        checks=tuple(_check(table) for table in root.tables("check")),
        notes=head.texts("notes"),
    )


def look_at_records(crm: CRM, plan: Plan) -> list[str]:
    """Return what the checks of a plan find among the records, in words, and its standing notes."""
    told: list[str] = []
    for check in plan.checks:
        count, names = _matching(crm, check)
        if count:
            told.append(check.say.replace("{count}", f"{count:,}").replace("{names}", ", ".join(names)))
    return [*told, *plan.notes]


def _check(table: Table) -> RecordCheck:
    table.only({"type", "where", "unreferenced_by", "before", "say"})
    before = table.texts("before")
    if not table.text("type") or not table.text("say") or len(before) not in (0, 2):
        raise table.wrong(
            "", "needs type and say, and before needs two moments", 'say = "{count} agents have no deal: {names}"'
        )
    return RecordCheck(
        type=table.text("type"),
        say=table.text("say"),
        place=table.place,
        where=table.text("where"),
        unreferenced_by=table.text("unreferenced_by"),
        before=(before[0], before[1]) if before else None,
    )


def _matching(crm: CRM, check: RecordCheck) -> tuple[int, list[str]]:
    """Return how many records a check finds, and the names of the first ones."""
    kind = crm.registry.types.get(check.type)
    if kind is None:
        raise MappingError(f"{check.place}: type: there is no record type {check.type!r}")
    wanted = None
    if check.unreferenced_by:
        wanted = _unreferenced(crm, check, kind)
    elif check.before:
        wanted = _before(crm, check, kind, check.before)
    service: RecordService[Record] = crm.records(kind.name)
    if wanted is None:
        found = list(service.find(check.where or None, limit=5))
        return service.count(check.where or None), [_name(record) for record in found]
    matching = service.get_many(wanted) if not check.where else _filtered(service, check.where, set(wanted))
    return len(matching), [_name(record) for record in matching[:5]]


def _filtered(service: Any, where: str, wanted: set[int]) -> list[Any]:
    return [record for record in service.iterate(where) if record.id in wanted]


def _name(record: Any) -> str:
    return next((str(value) for name in ("name", "title", "code") if (value := getattr(record, name, None))), "?")


def _unreferenced(crm: CRM, check: RecordCheck, kind: RecordType) -> list[int]:
    from sqlalchemy import select

    type_name, _, field = check.unreferenced_by.partition(".")
    other = crm.registry.types.get(type_name)
    if other is None or field not in other.fields or other.fields[field].declaration.references != kind.name:
        raise MappingError(
            f"{check.place}: unreferenced_by: {check.unreferenced_by!r} is no field that points at a {kind.name}",
            hint='such as "deal.owner_id"',
        )
    mine, theirs = crm.tables[kind.plural], crm.tables[other.plural]
    pointing = select(theirs.c.id).where(theirs.c[other.fields[field].column] == mine.c.id).exists()
    return [row[0] for row in crm.run(select(mine.c.id).where(~pointing).order_by(mine.c.id))]


def _before(crm: CRM, check: RecordCheck, kind: RecordType, moments: tuple[str, str]) -> list[int]:
    from sqlalchemy import select

    mine = crm.tables[kind.plural]
    source: FromClause = mine
    columns = []
    for path in moments:
        field, _, inner = path.partition(".")
        place: Callable[[str], Any] = _column_of(check, kind, mine)
        if inner:
            target = crm.registry.types[_reference(check, kind, field)]
            there = crm.tables[target.plural].alias()
            source = source.join(there, there.c.id == place(field))
            place, field = _column_of(check, target, there), inner
        columns.append(place(field))
    first, second = columns
    return [row[0] for row in crm.run(select(mine.c.id).select_from(source).where(first < second).order_by(mine.c.id))]


def _column_of(check: RecordCheck, kind: RecordType, table: Any) -> Callable[[str], Any]:
    def column(path: str) -> Any:
        try:
            return table.c[kind.field(path).column]
        except UsageError as error:
            raise MappingError(f"{check.place}: before: {error.message}", hint=error.hint) from error

    return column


def _reference(check: RecordCheck, kind: RecordType, path: str) -> str:
    target = kind.fields[path].declaration.references if path in kind.fields else ""
    if not target:
        raise MappingError(
            f"{check.place}: before: {path!r} of a {kind.name} points at nothing",
            hint='such as "customer_id.first_contact_at"',
        )
    return target
