"""All record types of one CRM: the kernel's, the plugins' and the team's own fields, each with its table and codecs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import attrs

from crm_core.errors import PluginCollision, UsageError
from crm_core.records.codec import Codec, codec_for
from crm_core.records.declare import (
    OWN_FIELDS,
    Extension,
    FieldDeclaration,
    Record,
    RecordDeclaration,
    extension_declaration,
    record_declaration,
    tag_record,
)
from crm_core.records.rows import RowFunctions, row_functions
from crm_core.records.schema import SYSTEM_COLUMNS, Column, Index, Manifest, Row, SearchedColumn, Table

_MAX_NAME: Final = 63
_SYSTEM: Final = tuple(Column(name, "int", nullable=False) for name in SYSTEM_COLUMNS)


@attrs.frozen(kw_only=True)
class Field:
    """A field of a record type.

    `path` is its name, `loyalty.points` for a plugin's, `fields.sector` for the team's own.
    """

    path: str
    extension: str
    declaration: FieldDeclaration
    codec: Codec
    owner: str

    @property
    def name(self) -> str:
        """The name within its record or extension."""
        return self.declaration.name

    @property
    def column(self) -> str:
        """The name of the first column; empty for tags, which have none."""
        return self.codec.columns[0].name if self.codec.columns else ""

    def of(self, record: Record) -> Any:
        """Return the field's value on a record; an extension field never set is None."""
        if not self.extension:
            return getattr(record, self.name)
        content = record.fields if self.extension == OWN_FIELDS else record.extensions.get(self.extension)
        return content.get(self.name) if content else None


@attrs.frozen(kw_only=True)
class RecordType:
    """A record type as one CRM knows it: class, fields by path, table, and the codec of whole rows."""

    declaration: RecordDeclaration
    cls: type[Record]
    owner: str
    fields: Mapping[str, Field]
    table: Table
    rows: RowFunctions

    @property
    def name(self) -> str:
        """The singular name, as in `--where` errors and JSON."""
        return self.declaration.name

    @property
    def plural(self) -> str:
        """The plural name, which is also the table's."""
        return self.declaration.plural

    def counted(self, number: int) -> str:
        """Say a number of such records in words: `1 contact point`, `2 contact points`."""
        return f"{number} {(self.name if number == 1 else self.plural).replace('_', ' ')}"

    @cached_property
    def tags_table(self) -> str:
        """The plural name of the child type that holds the tags; empty when the type has none."""
        return f"{self.name}_tags" if any(f.declaration.kind == "tags" for f in self.fields.values()) else ""

    def encode(self, record: Record) -> Row:
        """Check a record and return its cells, the four system columns first.

        Raises:
            InvalidValue: a value breaks a rule of its field.
        """
        return self.rows.encode(record)

    def decode(self, row: Sequence[Any], tags: tuple[str, ...] = ()) -> Record:
        """Build the record from a row of the whole table; columns behind the declared ones are passed over."""
        return self.rows.decode(row, tags)

    def field(self, path: str) -> Field:
        """Return the field at a path; a team's own field may be named without `fields.`.

        Raises:
            UsageError: there is none; the hint lists those there are.
        """
        found = self.fields.get(path) or self.fields.get(f"{OWN_FIELDS}.{path}")
        if found is None:
            raise UsageError(f"{self.name} has no field {path!r}", hint=f"its fields: {', '.join(self.fields)}")
        return found


@attrs.frozen
class Registry:
    """The record types of one CRM by singular name, and whose they are."""

    types: Mapping[str, RecordType]
    owners: Mapping[str, str]

    def by_class(self, cls: type[Record]) -> RecordType:
        """Return the type of a record class."""
        return self.named(record_declaration(cls).name)

    def named(self, name: str) -> RecordType:
        """Return the type of that singular or plural name.

        Raises:
            UsageError: there is none; the hint lists those there are.
        """
        found = self.types.get(name) or next((t for t in self.types.values() if t.plural == name), None)
        if found is None:
            known = ", ".join(t.plural for t in self.types.values() if not t.declaration.internal)
            raise UsageError(f"there is no record type {name!r}", hint=f"record types: {known}")
        return found

    def references_to(self, name: str) -> list[tuple[RecordType, Field]]:
        """Return every (type, field) that points at records of the type `name`."""
        return [
            (kind, field)
            for kind in self.types.values()
            for field in kind.fields.values()
            if field.declaration.references == name
        ]

    def manifest(self, extra: Iterable[Table] = ()) -> Manifest:
        """Return the manifest a storage must reach, with the ledger's own tables `extra`."""
        tables = {kind.plural: kind.table for kind in self.types.values()}
        tables.update({table.name: table for table in extra})
        return Manifest(tables, self.owners)


def build_registry(
    *,
    zone: ZoneInfo,
    records: Sequence[tuple[type[Record], str]],
    extensions: Sequence[tuple[type[Extension], str]] = (),
    own_fields: Mapping[str, Sequence[FieldDeclaration]] = MappingProxyType({}),
    owners: Mapping[str, str] = MappingProxyType({}),
) -> Registry:
    """Build the registry from (class, distribution) pairs, the team's own fields by type, versions by distribution.

    Raises:
        PluginCollision: two distributions claim the same type, table or extension.
        UsageError: a name is too long for every database, or points at a type there is not.
    """
    classes: dict[str, tuple[type[Record], str]] = {}
    for cls, owner in records:
        _claim(classes, record_declaration(cls).name, cls, owner, owners)
        child = tag_record(cast(type, cls))
        if child is not None:
            _claim(classes, record_declaration(child).name, child, owner, owners)
    added = _extensions_by_type(extensions, classes, owners)
    tables = tuple((name, record_declaration(cls).plural) for name, (cls, _) in classes.items())
    types = {
        name: _build_type(
            cast(type, cls), owner, tuple(added.get(name, ())), tuple(own_fields.get(name, ())), zone, tables
        )
        for name, (cls, owner) in classes.items()
    }
    _check_references(types)
    return Registry(MappingProxyType(types), MappingProxyType(dict(owners)))


def _claim(
    classes: dict[str, tuple[type[Record], str]],
    name: str,
    cls: type[Record],
    owner: str,
    owners: Mapping[str, str],
) -> None:
    if name in classes:
        first = classes[name][1]
        raise PluginCollision(
            f"record type {name!r} is declared by {first} {owners.get(first, '')} "
            f"and by {owner} {owners.get(owner, '')}",
            plugin=owner,
            hint="uninstall one of them, or disable one in crm.toml",
        )
    classes[name] = (cls, owner)


def _extensions_by_type(
    extensions: Sequence[tuple[type[Extension], str]],
    classes: Mapping[str, tuple[type[Record], str]],
    owners: Mapping[str, str],
) -> dict[str, list[tuple[str, tuple[FieldDeclaration, ...], str]]]:
    added: dict[str, list[tuple[str, tuple[FieldDeclaration, ...], str]]] = {}
    for cls, owner in extensions:
        declared = extension_declaration(cls)
        if declared.extends not in classes:
            raise UsageError(
                f"extension {declared.name!r} of {owner} extends {declared.extends!r}, which is no record type"
            )
        mine = added.setdefault(declared.extends, [])
        first = next((theirs for name, _, theirs in mine if name == declared.name), None)
        if first is not None or declared.name == OWN_FIELDS:
            taken = first or "crm.toml"
            raise PluginCollision(
                f"the fields {declared.name!r} of {declared.extends} are added by {taken} {owners.get(taken, '')} "
                f"and by {owner} {owners.get(owner, '')}",
                plugin=owner,
                hint="uninstall one of them, or disable one in crm.toml",
            )
        mine.append((declared.name, tuple(declared.fields), owner))
    return added


@lru_cache(maxsize=256)  # the functions of its rows are compiled, and every CRM of a process has the same types
def _build_type(
    cls: type,
    owner: str,
    added: tuple[tuple[str, tuple[FieldDeclaration, ...], str], ...],
    own_fields: tuple[FieldDeclaration, ...],
    zone: ZoneInfo,
    tables: tuple[tuple[str, str], ...],
) -> RecordType:
    declaration = record_declaration(cls)
    groups = [("", declaration.fields, owner), *added, (OWN_FIELDS, own_fields, "crm.toml")]
    fields: dict[str, Field] = {}
    plurals = dict(tables)
    for extension, declarations, whose in groups:
        for declared in declarations:
            path = f"{extension}.{declared.name}" if extension else declared.name
            prefix = f"{extension}__{declared.name}" if extension else declared.name
            codec = codec_for(declared, path=path, prefix=prefix, owner=whose, zone=zone, tables=plurals)
            fields[path] = Field(path=path, extension=extension, declaration=declared, codec=codec, owner=whose)
    table = _table(declaration, fields, owner)
    return RecordType(
        declaration=declaration,
        cls=cls,
        owner=owner,
        fields=MappingProxyType(fields),
        table=table,
        rows=row_functions(cls, declaration.name, tuple(fields.values())),
    )


def _table(declaration: RecordDeclaration, fields: Mapping[str, Field], owner: str) -> Table:
    columns = [*_SYSTEM, *(column for field in fields.values() for column in field.codec.columns)]
    for name in [declaration.plural, *(column.name for column in columns)]:
        if len(name.encode()) > _MAX_NAME:
            raise UsageError(f"{declaration.name}: the name {name!r} is longer than {_MAX_NAME} bytes")
    indexes = [Index(columns_) for columns_ in declaration.indexes]
    indexes += [Index(columns_, unique=True) for columns_ in declaration.unique]
    for field in fields.values():
        declared = field.declaration
        if declared.unique or declared.indexed:
            indexes.append(Index((field.column,), unique=declared.unique))
        if declared.key:
            indexes.append(Index((f"{field.column}_key",)))
    searched = tuple(_searched(declaration.name, field, fields) for field in fields.values() if _is_searched(field))
    return Table(declaration.plural, tuple(columns), tuple(dict.fromkeys(indexes)), owner, searched)


def _is_searched(field: Field) -> bool:
    return field.declaration.searched


def _searched(name: str, field: Field, fields: Mapping[str, Field]) -> SearchedColumn:
    """Return the column with a searched field's key, and the one with the id of the record that is found by it."""
    declared = field.declaration
    if not declared.key and not (declared.indexed and declared.derived):
        raise UsageError(
            f"{name}.{field.path} is searched, but has no text key",
            hint="declare it with key=True, or (a key that its service computes) with indexed=True, derived=True",
        )
    wholes = [other.column for other in fields.values() if other.declaration.part_of]
    if len(wholes) > 1:
        raise UsageError(
            f"{name}.{field.path} is searched, but a {name} is part of {len(wholes)} records: {', '.join(wholes)}",
            hint="searched texts belong to a record, or to what is part of just one",
        )
    return SearchedColumn(f"{field.column}_key" if declared.key else field.column, wholes[0] if wholes else "id")


def _check_references(types: Mapping[str, RecordType]) -> None:
    for kind in types.values():
        for field in kind.fields.values():
            wanted = field.declaration.references
            if wanted and wanted not in types:
                raise UsageError(f"{kind.name}.{field.path} references {wanted!r}, which is no record type")


__all__ = ["OWN_FIELDS", "Field", "RecordType", "Registry", "build_registry"]
