"""How an edited export fits its record type: what the file calls the columns, who wins a clash, what is built."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from crm_core import Record
from crm_core.records import RecordType
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.mapping import RowMapping
from crm_transfer.policies import Conflict


def names_of(mapping: RowMapping, kind: RecordType) -> dict[str, str]:
    """Return what the file calls the columns of an export, by what the export calls them."""
    (record, *others) = mapping.records
    if others or record.type not in (kind.name, kind.plural):
        raise MappingError(
            f"{mapping.name}: a mapping with update = true has one [[record]], of the type {kind.name!r}",
            hint="an export holds records of one type",
        )
    (key, *more) = record.key
    if more or not key.column:
        raise MappingError(f'{record.place}: key must be the column of ids, as in key = "id"')
    names = {"id": key.column}
    for field in record.fields:
        if field.path not in kind.fields:
            raise MappingError(
                f"{field.place}: {kind.name} has no field {field.path!r}", hint=f"there are: {', '.join(kind.fields)}"
            )
        if len(field.parts) != 1 or not field.parts[0].column:
            raise MappingError(f"{field.place}: where update = true, a field is a column of the export")
        names[field.path] = field.parts[0].column
        if field.currency_column:
            names[f"{field.path}_currency"] = field.currency_column
    return names


def clash_policies(
    given: Mapping[str, Conflict], mapping: RowMapping | None, kind: RecordType
) -> Mapping[str, Conflict]:
    """Return who wins a clash, by field; the default keeps what is in the CRM."""
    found: dict[str, Conflict] = {}
    if mapping is not None:
        found = {field.path: field.conflict for field in mapping.records[0].fields}
    for name, policy in given.items():
        path = name.removeprefix(f"{kind.name}.")
        if path and path not in kind.fields and f"fields.{path}" not in kind.fields:
            raise MappingError(
                f"--conflict {name}: {kind.name} has no such field", hint=f"there are: {', '.join(kind.fields)}"
            )
        path = path if path in kind.fields or not path else f"fields.{path}"
        found |= {path: policy} if path else dict.fromkeys(kind.fields, policy)
    if "newest" in found.values():
        raise MappingError(
            'the policy "newest" needs to know when each cell was changed, and an edited export does not say',
            hint="choose keep, overwrite or fill",
        )
    return found


def built(kind: RecordType, values: Mapping[str, Any], before: Record | None) -> Record:
    """Return the record of these values by field path: a new one, or the one from before with them changed."""
    plain: dict[str, Any] = {}
    own: dict[str, Any] = dict(before.fields) if before else {}
    added = {name: dict(content) for name, content in before.extensions.items()} if before else {}
    for path, value in values.items():
        field = kind.fields[path]
        if not field.extension:
            plain[field.name] = value
        elif field.extension == "fields":
            own[field.name] = value
        else:
            added.setdefault(field.extension, {})[field.name] = value
    plain["fields"] = MappingProxyType(own)
    plain["extensions"] = MappingProxyType({name: MappingProxyType(content) for name, content in added.items()})
    return kind.rows.made(plain) if before is None else before.evolve(**plain)


def gone(kind: RecordType, typed: str) -> BadCell:
    """Refuse a row whose record is not there."""
    message = (
        f"there is no {kind.name} with this id any more, or it is another type's; leave the row out, or empty the id"
    )
    return BadCell("gone", message, column="id", value=typed.strip()[:80])
