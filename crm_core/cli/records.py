"""What the commands of all record types share: lists, `field=value` as typed, references shown by name, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from crm_core.console import Column, cell, clean, confirm, emit, note, pairs, plural, print_json, say, session, table
from crm_core.errors import ConflictError, InvalidValue, NotFound, UsageError
from crm_core.records import Record, RecordType
from crm_core.records.json import record_json
from crm_core.records.registry import OWN_FIELDS, Field
from crm_core.values import Money, format_id, strip_marks

if TYPE_CHECKING:
    from crm_core.crm import CRM
    from crm_core.services.records import Found, Page, RecordService

_SUGGESTED = 3
_RIGHT = frozenset({"money", "integer", "decimal"})
_FLEXIBLE = frozenset({"text", "reference", "tags"})


def list_records(
    crm: CRM,
    type_name: str,
    columns: Sequence[str],
    *,
    where: str | None,
    sort: str | None,
    after: str | None,
    limit: int,
    default_sort: str = "",
) -> None:
    """Print one page of a type's records, and how to read on."""
    kind = crm.registry.named(type_name)
    fields = [kind.field(path) for path in columns]
    page: Page[Record] = crm.records(type_name).find(where, sort=sort or default_sort, after=after, limit=limit)
    if session().json:
        print_json([record_json(kind, record) for record in page])
    elif page.records:
        show_records(crm, fields, page.records)
    if not page.records:
        (note if session().json else say)(_nothing(crm, kind, where, after))
    if where and where.strip():
        from crm_core.cli.amounts import note_other_currencies  # the parser takes a while to load

        note_other_currencies(crm, kind, where)
    if page.next is not None:
        note(f"There are more: --after {page.next}", after=page.next)


def search_records(crm: CRM, type_name: str, typed: str, *, after: str | None, limit: int) -> None:
    """Print one page of what a search finds, with the text that shows why, and how to read on."""
    kind = crm.registry.named(type_name)
    found: Found[Record] = crm.records(type_name).search(typed, after=after, limit=limit)
    results = list(zip(found.records, found.matched, strict=True))
    if session().json:
        print_json([{**record_json(kind, record), "matched": matched} for record, matched in results])
    elif not results:
        noun = plural(crm.records(type_name).count(), kind.declaration.label.lower())
        say(f"That was all for {typed!r}." if after else f"Nothing is found by {typed!r}; there are {noun}.")
    else:
        heads = [Column("name", fit="clip", least=16), Column("matched", fit="clip", least=12), Column("id")]
        table(heads, [[clean(label(record)), clean(matched), format_id(record.id)] for record, matched in results])
    if found.next is not None:
        note(f"There are more: --after {found.next}", after=found.next)


def show_records(crm: CRM, fields: Sequence[Field], records: Sequence[Record], *, title: str = "") -> None:
    """Print records as a table: the id, then the fields."""
    names = labels_for(crm, fields, records)
    heads = [Column("id")] + [
        Column(
            field.declaration.label.lower() or field.name,
            right=field.declaration.kind in _RIGHT,
            fit="clip" if field.declaration.kind in _FLEXIBLE else "keep",
            least=16 if at == 0 else 6,
        )
        for at, field in enumerate(fields)
    ]
    rows = [[format_id(record.id), *(text_of(crm, field, record, names) for field in fields)] for record in records]
    table(heads, rows, title=title)


def show_record(crm: CRM, kind: RecordType, record: Record) -> None:
    """Print one record, a field a line; fields without a value are left out."""
    fields = [field for field in kind.fields.values() if field.of(record) not in (None, ())]
    names = labels_for(crm, fields, [record])
    head = [("id", format_id(record.id)), ("version", str(record.version))]
    pairs(head + [(field.path, text_of(crm, field, record, names)) for field in fields])


def emit_record(crm: CRM, type_name: str, record: Record) -> None:
    """Print one record, as JSON or field by field."""
    kind = crm.registry.named(type_name)
    emit(record_json(kind, record), lambda: show_record(crm, kind, record))


def emit_done(crm: CRM, type_name: str, record: Record, done: str) -> None:
    """Print what was done to a record in one line; its new state as JSON."""
    kind = crm.registry.named(type_name)
    name = clean(label(record))
    text = f"{done} {kind.declaration.label.lower()} {name} ({format_id(record.id)}, version {record.version})"
    emit(record_json(kind, record), lambda: say(text))


def find(crm: CRM, type_name: str, reference: str) -> Any:
    """Return the record that a person named: by id, ending of an id, external id, e-mail, phone or name.

    Raises:
        NotFound: there is none; the hint names those that a search finds.
    """
    try:
        found = crm.resolve(type_name, reference)
    except NotFound as error:
        raise _with_suggestions(crm, type_name, reference, error) from None
    return crm.records(type_name).get(found)


def _with_suggestions(crm: CRM, type_name: str, reference: str, error: NotFound) -> NotFound:
    try:
        service: RecordService[Record] = crm.records(type_name)
        records = service.search(reference, limit=_SUGGESTED).records
    except UsageError:  # nothing was typed, or records of this type are not searched
        return error
    if not records:
        return error
    told = ", ".join(f"{clean(label(record))} ({format_id(record.id)})" for record in records)
    return NotFound(error.message, hint=f"did you mean {told}?")


def edit(crm: CRM, type_name: str, reference: str, assignments: Sequence[str], if_version: int | None) -> None:
    """Change fields of one record, as typed, and print what came of it.

    Raises:
        ConflictError: the record is not at the version the caller has seen.
        UsageError: nothing is to be changed.
    """
    if not assignments:
        raise UsageError(
            "there is nothing to change", hint="name fields and values: city=Yerevan owner_id=ada tags+=vip"
        )
    record: Record = find(crm, type_name, reference)
    if if_version is not None and record.version != if_version:
        raise ConflictError(
            f"{type_name} {format_id(record.id)} is at version {record.version}, not {if_version}: somebody changed it",
            hint=f"look again: crm {crm.registry.named(type_name).plural} show {format_id(record.id)}",
        )
    changed = with_assignments(crm, type_name, record, assignments)
    stored: Record = crm.records(type_name).edit(changed)
    emit_done(crm, type_name, stored, "nothing changed:" if stored.version == record.version else "changed")


def delete(crm: CRM, type_name: str, reference: str, *, yes: bool) -> None:
    """Delete one record after asking; the ledger keeps it."""
    record: Any = find(crm, type_name, reference)
    kind = crm.registry.named(type_name)
    confirm(
        f"Delete {kind.declaration.label.lower()} {clean(label(record))} ({format_id(record.id)})?",
        yes=yes,
        undoable=True,
    )
    crm.records(type_name).delete(record)
    say(f"deleted {kind.declaration.label.lower()} {clean(label(record))}; crm ledger undo last brings it back")
    if session().json:
        print_json({"deleted": format_id(record.id)})


def with_assignments(crm: CRM, type_name: str, record: Any, assignments: Sequence[str]) -> Any:
    """Return the record with `field=value`, `tags+=value` and `tags-=value` applied; an empty value means unknown."""
    kind = crm.registry.named(type_name)
    values: dict[str, Any] = {}
    own: dict[str, Any] = dict(record.fields)
    added: dict[str, dict[str, Any]] = {name: dict(content) for name, content in record.extensions.items()}
    for typed in assignments:
        name, equals, text = typed.partition("=")
        if not equals or not name:
            raise UsageError(f"{typed!r} is no assignment", hint="write field=value, such as city=Yerevan")
        field = kind.field(name.rstrip("+-").strip())
        value = _assigned(crm, field, name[-1], text, values.get(field.name, field.of(record)))
        if field.extension == OWN_FIELDS:
            own[field.name] = value
        elif field.extension:
            added.setdefault(field.extension, {})[field.name] = value
        else:
            values[field.name] = value
    return attrs.evolve(record, fields=own, extensions=added, **values)


def required(name: str, text: str) -> str:
    """Return a text that must say something.

    Raises:
        UsageError: it is blank.
    """
    if not strip_marks(text).strip():
        raise UsageError(f"{name} is empty", hint=f"write something for {name}; quotation marks alone hold nothing")
    return text


def parsed(crm: CRM, type_name: str, path: str, typed: str | None) -> Any:
    """Read a value that a person typed for a field; None stays None."""
    return None if typed is None else _parsed(crm, crm.registry.named(type_name).field(path), typed)


def given(crm: CRM, type_name: str, values: Mapping[str, str | None]) -> dict[str, Any]:
    """Read the values of options by field; options that were not given are left out."""
    return {path: parsed(crm, type_name, path, typed) for path, typed in values.items() if typed is not None}


def label(record: Record) -> str:
    """Return what a person calls a record: its name, title or subject, else its id."""
    for attribute in ("name", "title", "subject", "value", "code"):
        found = getattr(record, attribute, None)
        if found:
            return str(found)
    return format_id(record.id)


def labels(crm: CRM, type_name: str, ids: Iterable[int | None]) -> dict[int, str]:
    """Return what people call the records of those ids."""
    wanted = list(dict.fromkeys(one for one in ids if one is not None))
    found: Sequence[Record] = crm.records(type_name).get_many(wanted) if wanted else ()
    return {record.id: label(record) for record in found}


def labels_for(crm: CRM, fields: Sequence[Field], records: Sequence[Record]) -> dict[str, dict[int, str]]:
    """Return, by type, the labels of all records that the fields of `records` point at."""
    wanted: dict[str, list[int | None]] = {}
    for field in fields:
        if field.declaration.references:
            wanted.setdefault(field.declaration.references, []).extend(field.of(record) for record in records)
    return {type_name: labels(crm, type_name, ids) for type_name, ids in wanted.items()}


def text_of(crm: CRM, field: Field, record: Record, names: Mapping[str, Mapping[int, str]]) -> str:
    """Write a field for a table's cell; a reference shows the name of what it points at."""
    value = field.of(record)
    if field.declaration.references and value is not None:
        return names.get(field.declaration.references, {}).get(value) or format_id(value)
    return cell(value, crm.zone)


def _assigned(crm: CRM, field: Field, operator: str, text: str, current: Any) -> Any:
    if field.declaration.kind != "tags":
        return _parsed(crm, field, text)
    tags: tuple[str, ...] = field.codec.parse(text)
    if operator == "+":
        return tuple(dict.fromkeys([*current, *tags]))
    return tuple(tag for tag in current if tag not in tags) if operator == "-" else tags


def _parsed(crm: CRM, field: Field, text: str) -> Any:
    declared = field.declaration
    if declared.derived:
        raise UsageError(f"{field.path} follows from other fields and is not set by hand")
    if not text.strip():
        return () if declared.kind == "tags" else None
    if declared.references:
        return crm.resolve(declared.references, text)
    if declared.kind == "money" and len(text.split()) == 1:
        try:
            return Money(text.strip(), crm.settings.currency)
        except InvalidValue as error:
            raise InvalidValue(f"{field.path}: {error.message}", field=field.path, value=text, rule="money") from error
    return field.codec.parse(text)


def _nothing(crm: CRM, kind: RecordType, where: str | None, after: str | None) -> str:
    there = crm.records(kind.name).count()
    noun = kind.declaration.label.lower()
    if not there:
        return f"No {noun} is there yet; crm {kind.plural} --help and crm import --help say how to bring them in."
    if after is not None:
        return f"That was all: {plural(there, noun)} in the workspace."
    return f"No {noun} matches {where}; without --where there are {there:,}."
