"""How a record type is declared: the field functions and the decorators `record` and `extension`.

A field is declared once; table, validation, JSON form, import mapping, export, erasure and CLI columns follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, Literal, Self, TypeVar, dataclass_transform

import attrs

from crm_core.errors import UsageError

Kind = Literal["text", "integer", "boolean", "decimal", "day", "moment", "money", "reference", "tags"]

R = TypeVar("R", bound="Record")
E = TypeVar("E", bound="Extension")
OWN_FIELDS: Final = "fields"
"""The extension name under which a team's own fields are stored: columns `fields__<name>`."""
_METADATA: Final = "crm_core.field"
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class FieldDeclaration:
    """What one declared field says of itself; `Kind` fixes the Python type and the columns it is stored in.

    `was` is the field's former name: the storage renames its columns instead of losing what they hold.
    """

    name: str = ""
    kind: Kind
    label: str = ""
    required: bool = False
    personal: bool = False
    indexed: bool = False
    unique: bool = False
    references: str = ""
    part_of: bool = False
    max_length: int = 0
    choices: tuple[str, ...] = ()
    derived: bool = False
    key: bool = False
    searched: bool = False
    scale: int = 0
    help: str = ""
    was: str = ""
    nullable: bool = True


def text(
    label: str,
    *,
    default: Any = attrs.NOTHING,
    max_length: int = 400,
    choices: Sequence[str] = (),
    key: bool = False,
    searched: bool = False,
    personal: bool = False,
    indexed: bool = False,
    unique: bool = False,
    derived: bool = False,
    help: str = "",
    was: str = "",
) -> Any:
    """Declare a `str` of at most `max_length` characters (0: no limit).

    `key=True` also stores its normalised text key, indexed. `searched=True` lets `search` find records by any part of
    that key: this one, or the one that this is part of. A field that is a key itself (`indexed`, `derived`) needs none.
    """
    return _field(
        FieldDeclaration(
            kind="text",
            label=label,
            max_length=max_length,
            choices=tuple(choices),
            key=key,
            searched=searched,
            personal=personal,
            indexed=indexed,
            unique=unique,
            derived=derived,
            help=help,
            was=was,
        ),
        default,
    )


def integer(
    label: str,
    *,
    default: Any = attrs.NOTHING,
    indexed: bool = False,
    derived: bool = False,
    help: str = "",
    was: str = "",
) -> Any:
    """Declare an `int` of 64 bits."""
    return _field(
        FieldDeclaration(kind="integer", label=label, indexed=indexed, derived=derived, help=help, was=was), default
    )


def boolean(label: str, *, default: Any = attrs.NOTHING, indexed: bool = False, help: str = "", was: str = "") -> Any:
    """Declare a `bool`, stored as 0 or 1."""
    return _field(FieldDeclaration(kind="boolean", label=label, indexed=indexed, help=help, was=was), default)


def decimal(
    label: str, *, scale: int, default: Any = attrs.NOTHING, derived: bool = False, help: str = "", was: str = ""
) -> Any:
    """Declare a `Decimal` with `scale` digits after the point, stored as an integer of its smallest units."""
    return _field(
        FieldDeclaration(kind="decimal", label=label, scale=scale, derived=derived, help=help, was=was), default
    )


def day(
    label: str,
    *,
    default: Any = attrs.NOTHING,
    personal: bool = False,
    indexed: bool = False,
    help: str = "",
    was: str = "",
) -> Any:
    """Declare a `date` without a time (a birthday), stored as days since 1970-01-01."""
    return _field(
        FieldDeclaration(kind="day", label=label, personal=personal, indexed=indexed, help=help, was=was), default
    )


def moment(
    label: str,
    *,
    default: Any = attrs.NOTHING,
    indexed: bool = False,
    derived: bool = False,
    help: str = "",
    was: str = "",
) -> Any:
    """Declare a `datetime | date`: an aware instant, or a day whose time is unknown, stored as its local midnight."""
    return _field(
        FieldDeclaration(kind="moment", label=label, indexed=indexed, derived=derived, help=help, was=was), default
    )


def money(label: str, *, default: Any = attrs.NOTHING, derived: bool = False, help: str = "", was: str = "") -> Any:
    """Declare a `Money`, stored as minor units in `<name>` and the ISO 4217 code in `<name>_currency`."""
    return _field(FieldDeclaration(kind="money", label=label, derived=derived, help=help, was=was), default)


def reference(
    to: str,
    label: str,
    *,
    default: Any = attrs.NOTHING,
    part_of: bool = False,
    indexed: bool = True,
    derived: bool = False,
    help: str = "",
    was: str = "",
) -> Any:
    """Declare the id (`int`) of a record of type `to`; the field's name ends in `_id`.

    `part_of=True` says that the record belongs to the one it points at, as a contact point to its customer: it is
    deleted with it and stays with it. Any other reference keeps what it points at from being deleted.
    """
    return _field(
        FieldDeclaration(
            kind="reference",
            label=label,
            references=to,
            part_of=part_of,
            indexed=indexed,
            derived=derived,
            help=help,
            was=was,
        ),
        default,
    )


def tags(label: str, *, default: tuple[str, ...] = (), personal: bool = False, help: str = "") -> Any:
    """Declare a `tuple[str, ...]` kept as child rows of a type of their own.

    Say `default=()`: type checkers take a field whose declaration names no default for a required one.
    """
    return _field(FieldDeclaration(kind="tags", label=label, personal=personal, help=help), default)


@attrs.frozen(kw_only=True)
class RecordDeclaration:
    """What a record class says of itself: names, fields in order, composite indexes, whether its rows ever change."""

    name: str
    plural: str
    label: str
    fields: tuple[FieldDeclaration, ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    append_only: bool = False
    internal: bool = False


@attrs.frozen(kw_only=True)
class Record:
    """The base of every record: who it is, how often it was written, and what plugins and the team added to it.

    `id` and `version` are 0 until the record is stored. `version` is the optimistic token: a stale write is a
    `ConflictError`.
    """

    id: int = 0
    version: int = 0
    created_tx: int = 0
    updated_tx: int = 0
    fields: Mapping[str, Any] = attrs.field(default=_EMPTY, hash=False)
    extensions: Mapping[str, Mapping[str, Any]] = attrs.field(default=_EMPTY, hash=False)

    def evolve(self, **changes: Any) -> Self:
        """Return a copy with some attributes changed.

        >>> from crm_core.records import Customer
        >>> Customer(name="Ada").evolve(name="Ada Lovelace").name
        'Ada Lovelace'
        """
        cls: Any = type(self)
        names, values_of = _attributes(cls)
        # A third of the time of `attrs.evolve`, which asks every attribute for its alias; bulk writes copy each record.
        made: Self = cls(**{**dict(zip(names, values_of(self), strict=True)), **changes})
        return made

    def ext(self, kind: type[E]) -> E:
        """Return the fields that the extension class `kind` added; those never set are None."""
        return kind(**self.extensions.get(extension_declaration(kind).name, _EMPTY))

    def with_ext(self, value: Extension) -> Self:
        """Return a copy that carries the extension fields of `value`."""
        declared = extension_declaration(type(value))
        content = _set_values({f.name: getattr(value, f.name) for f in declared.fields})
        others = {name: kept for name, kept in self.extensions.items() if name != declared.name}
        mine = {declared.name: content} if content else {}
        return self.evolve(extensions=MappingProxyType({**others, **mine}))

    def with_fields(self, **values: Any) -> Self:
        """Return a copy with the team's own fields of `values` changed; None takes a value away."""
        return self.evolve(fields=_set_values({**self.fields, **values}))


class Extension:
    """The base of a plugin's typed fields on a kernel record; every field has the default None."""

    __slots__ = ()


@attrs.frozen(kw_only=True)
class ExtensionDeclaration:
    """What an extension class says of itself: its name (the column prefix), the record type it extends, its fields."""

    name: str
    extends: str
    fields: tuple[FieldDeclaration, ...]


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(text, integer, boolean, decimal, day, moment, money, reference, tags),
)
def record(
    name: str,
    *,
    plural: str = "",
    label: str = "",
    indexes: Sequence[Sequence[str]] = (),
    unique: Sequence[Sequence[str]] = (),
    append_only: bool = False,
    internal: bool = False,
) -> Callable[[type[R]], type[R]]:
    """Declare a record type: `name` is singular snake case, `plural` names the table and the dimension of many.

    `indexes` and `unique` are tuples of column names. `append_only` types are written once and never edited.
    """

    def decorate(cls: type[R]) -> type[R]:
        made = attrs.frozen(kw_only=True)(cls)
        made.__crm_record__ = RecordDeclaration(  # type: ignore[attr-defined]
            name=name,
            plural=plural or name + "s",
            label=label or name.replace("_", " ").capitalize(),
            fields=_declared_fields(made),
            indexes=tuple(tuple(columns) for columns in indexes),
            unique=tuple(tuple(columns) for columns in unique),
            append_only=append_only,
            internal=internal,
        )
        return made

    return decorate


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(text, integer, boolean, decimal, day, moment, money, reference, tags),
)
def extension(name: str, *, extends: type[Record]) -> Callable[[type[E]], type[E]]:
    """Declare typed fields that a plugin adds to the record type `extends`: nullable columns `<name>__<field>`."""

    def decorate(cls: type[E]) -> type[E]:
        made = attrs.frozen(kw_only=True)(cls)
        fields = _declared_fields(made)
        required = [f.name for f in fields if f.required or f.kind == "tags"]
        if required:
            raise UsageError(
                f"{cls.__name__}.{required[0]}: an extension field must be a plain field with default=None"
            )
        made.__crm_extension__ = ExtensionDeclaration(  # type: ignore[attr-defined]
            name=name, extends=record_declaration(extends).name, fields=fields
        )
        return made

    return decorate


def record_declaration(cls: type[Record]) -> RecordDeclaration:
    """Return the declaration of a record class.

    Raises:
        UsageError: the class was not decorated with `@record`.
    """
    declared = cls.__dict__.get("__crm_record__")
    if not isinstance(declared, RecordDeclaration):
        raise UsageError(f"{cls.__qualname__} is no record type: decorate it with @record(name)")
    return declared


def extension_declaration(cls: type[Extension]) -> ExtensionDeclaration:
    """Return the declaration of an extension class.

    Raises:
        UsageError: the class was not decorated with `@extension`.
    """
    declared = cls.__dict__.get("__crm_extension__")
    if not isinstance(declared, ExtensionDeclaration):
        raise UsageError(f"{cls.__qualname__} is no extension: decorate it with @extension(name, extends=...)")
    return declared


@cache
def tag_record(cls: type) -> type[Record] | None:
    """Return the record type that holds the tags of `cls`, one row a tag; None when it declares no tags."""
    declared = record_declaration(cls)
    kept = next((field for field in declared.fields if field.kind == "tags"), None)
    if kept is None:
        return None
    owner = f"{declared.name}_id"
    fields = {
        owner: reference(declared.name, declared.label, part_of=True),
        "tag": text("Tag", max_length=100, key=True, personal=kept.personal),
    }
    made: type[Record] = attrs.make_class(f"{cls.__name__}Tag", fields, bases=(Record,), frozen=True, kw_only=True)
    made.__crm_record__ = RecordDeclaration(  # type: ignore[attr-defined]
        name=f"{declared.name}_tag",
        plural=f"{declared.name}_tags",
        label=f"{declared.label} tag",
        fields=_declared_fields(made),
        unique=((owner, "tag"),),
        internal=True,
    )
    return made


def _set_values(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what is None, so that a field taken away and one never set are equal."""
    return MappingProxyType({name: value for name, value in content.items() if value is not None})


@cache
def _attributes(cls: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Return the names of a class's attributes and the function that reads them all at once."""
    names = tuple(attribute.name for attribute in attrs.fields(cls))
    return names, attrgetter(*names)


def _field(declaration: FieldDeclaration, default: Any) -> Any:
    required = default is attrs.NOTHING
    complete = attrs.evolve(declaration, required=required, nullable=default is None)
    return attrs.field(default=default, metadata={_METADATA: complete})


def _declared_fields(cls: type) -> tuple[FieldDeclaration, ...]:
    return tuple(
        attrs.evolve(attribute.metadata[_METADATA], name=attribute.name)
        for attribute in attrs.fields(cls)
        if _METADATA in attribute.metadata
    )
