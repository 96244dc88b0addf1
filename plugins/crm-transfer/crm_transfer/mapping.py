"""What a mapping file says, read from TOML: every mistake is a `MappingError` that names the file and the key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import attrs

from crm_transfer.errors import MappingError

Unmapped = Literal["keep", "reject", "empty"]
Conflict = Literal["keep_edited", "keep", "overwrite", "newest", "fill"]
CONFLICTS: Final[tuple[Conflict, ...]] = get_args(Conflict)
_FILE_KEYS: Final = frozenset(
    {
        "format",
        "encoding",
        "delimiter",
        "columns",
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
    {"type", "key", "when", "fields", "system", "repeats", "also", "conflict", "changed_at"}
)
_FIELD_KEYS: Final = frozenset(
    {"column", "const", "template", "format", "decimal", "thousands", "zone", "currency", "map", "fix", "unmapped",
     "null_if", "default", "ref", "by", "later", "system", "separator", "when", "conflict"}
)  # fmt: skip
_CONDITION_KEYS: Final = frozenset({"column", "is", "not", "given", "same_as"})
_CHECK_KEYS: Final = frozenset({"when", "say"})


@attrs.frozen(kw_only=True)
class Condition:
    """What a row must be like: its cell is one of `values` (`negated`: none of them), is given, or equals another's."""

    column: str
    values: tuple[str, ...] = ()
    negated: bool = False
    given: bool | None = None
    same_as: str = ""
    place: str = ""


@attrs.frozen(kw_only=True)
class Part:
    """A piece of text: a column's cell, or (column is empty) the constant `const`."""

    column: str = ""
    const: str = ""


@attrs.frozen(kw_only=True)
class FieldMap:
    """Where a field's value comes from, and how its text is read; `place` names it in errors.

    `corrections` are mistakes of the file, reported with their counts; `values` translates its vocabulary, silently.
    `ref` is the record type pointed at: `parts` then give its external id in `system`, or its name or e-mail (`by`).
    `conflict` says who wins where the record is there already and says something else.
    """

    path: str
    place: str
    parts: tuple[Part, ...]
    format: str = ""
    decimal: str | None = None
    thousands: str | None = None
    zone: str = ""
    currency: str = ""
    currency_column: str = ""
    values: Mapping[str, str] = attrs.field(factory=dict)
    corrections: Mapping[str, str] = attrs.field(factory=dict)
    unmapped: Unmapped = "keep"
    null_if: frozenset[str] = frozenset()
    default: str = ""
    when: tuple[Condition, ...] = ()
    ref: str = ""
    by: str = ""
    later: bool = False
    system: str = ""
    separator: str = ","
    conflict: Conflict = "keep_edited"


@attrs.frozen(kw_only=True)
class RecordMap:
    """One record that a row makes: its type, its external id (`key` in `system`), which rows make it, its fields.

    `repeats` allows the same key in several rows: the first one counts. `also` are further external ids, by system.
    `changed_at` is the column that says when the source changed the record, and its form (empty: that of the file).
    """

    type: str
    place: str
    system: str
    key: tuple[Part, ...]
    when: tuple[Condition, ...] = ()
    fields: tuple[FieldMap, ...] = ()
    repeats: bool = False
    also: tuple[tuple[str, tuple[Part, ...]], ...] = ()
    changed_at: tuple[str, str] = ("", "")


@attrs.frozen(kw_only=True)
class Check:
    """A trap to be told of: `say` is printed when rows match, with {count} and {rows} filled in."""

    when: tuple[Condition, ...]
    say: str
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

    `fields` and `pipelines` are what it needs of the workspace, as in a plan.
    """

    name: str
    form: FileForm
    records: tuple[RecordMap, ...]
    checks: tuple[Check, ...] = ()
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
    root.only({"file", "record", "check", "fields", "pipelines"})
    file = root.table("file")
    file.only(_FILE_KEYS)
    form = _file_form(file)
    source = file.text("system") or system or "import"
    tables = root.tables("record")
    if not tables:
        raise root.wrong("record", "is missing", 'start with: [[record]] and type = "customer"')
    records = tuple(_record(table, source, file) for table in tables)
    checks = tuple(_check(table) for table in root.tables("check"))
    fields, pipelines = root.nested("fields", depth=2), root.nested("pipelines", depth=1)
    return RowMapping(
        name=name, form=form, records=records, checks=checks, text=text, fields=fields, pipelines=pipelines
    )


def read_text(path: Path) -> str:
    """Return the text of a TOML file, or say why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MappingError(f"{path}: cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise MappingError(f"{path}: is not UTF-8 text", hint="save it as UTF-8") from error


def parse_toml(text: str, name: str) -> Mapping[str, Any]:
    """Parse TOML text; an error names the file and the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MappingError(
            f"{name}: is not TOML: {error}", hint="quote text, and write = between key and value"
        ) from error


class Table:
    """A TOML table and where it stands, so that every mistake in it can be named."""

    def __init__(self, data: Mapping[str, Any], place: str) -> None:
        """Take the table at `place` (file name and key)."""
        self.data = data
        self.place = place

    def wrong(self, key: str, what: str, hint: str = "") -> MappingError:
        """Return the error that says what is wrong with a key."""
        return MappingError(f"{self.place}: {key} {what}" if key else f"{self.place} {what}", hint=hint)

    def only(self, allowed: frozenset[str] | set[str]) -> None:
        """Refuse keys that mean nothing here."""
        for key in self.data:
            if key not in allowed:
                close = difflib.get_close_matches(key, allowed, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(allowed))}"
                raise self.wrong(repr(key), "is not known", hint)

    def text(self, key: str, default: str = "") -> str:
        """Return the text of a key."""
        found = self.data.get(key, default)
        if not isinstance(found, str):
            raise self.wrong(key, f"must be text, found {found!r}", f'{key} = "..."')
        return found

    def flag(self, key: str) -> bool:
        """Return a yes or no; no when the key is absent."""
        found = self.data.get(key, False)
        if not isinstance(found, bool):
            raise self.wrong(key, f"must be true or false, found {found!r}")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; one text alone stands for a list of one."""
        found = self.data.get(key, [])
        listed = [found] if isinstance(found, str) else found
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise self.wrong(key, f"must be text or a list of texts, found {found!r}")
        return tuple(listed)

    def table(self, key: str) -> Table:
        """Return the table under a key; an empty one when there is none."""
        found = self.data.get(key, {})
        if not isinstance(found, dict):
            raise self.wrong(key, f"must be a table, found {found!r}")
        return Table(found, f"{self.place}: [{key}]")

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array `[[key]]`."""
        found = self.data.get(key, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise self.wrong(key, "must be written as tables", f"[[{key}]]")
        return [Table(each, f"{self.place}: [[{key}]] {at}") for at, each in enumerate(found, 1)]

    def nested(self, key: str, *, depth: int) -> Mapping[str, Any]:
        """Return the tables under a key, by one name or (depth 2) by two."""
        found = self.table(key).data
        inner = [*found.values()]
        if depth > 1:
            inner = [each for group in found.values() if isinstance(group, dict) for each in group.values()]
        if not all(isinstance(each, dict) for each in [*found.values(), *inner]):
            raise self.wrong(key, "must be tables", '[fields.customer.sector] with type = "text"')
        return found

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        """Return one of the texts that are allowed under a key."""
        found = self.text(key, default)
        if found not in allowed:
            raise self.wrong(key, f"must be one of {', '.join(allowed)}, found {found!r}")
        return found

    def mapping(self, key: str) -> dict[str, str]:
        """Return a table from text to text."""
        found = self.data.get(key, {})
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise self.wrong(key, f"must map texts to texts, found {found!r}", f'{key} = {{ "old" = "new" }}')
        return dict(found)


def conditions(table: Table, key: str = "when") -> tuple[Condition, ...]:
    """Return the conditions under a key: one table, or a list of tables that must all hold."""
    found = table.data.get(key, [])
    listed = [found] if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise table.wrong(key, "must be a condition", f'{key} = {{ column = "stage", is = "Won" }}')
    return tuple(_condition(Table(each, f"{table.place}: {key}")) for each in listed)


def _condition(table: Table) -> Condition:
    table.only(_CONDITION_KEYS)
    column = table.text("column")
    tests = [key for key in ("is", "not", "given", "same_as") if key in table.data]
    if not column or len(tests) != 1:
        raise table.wrong("", "needs a column and one of: is, not, given, same_as", '{ column = "stage", is = "Won" }')
    test = tests[0]
    return Condition(
        column=column,
        values=table.texts(test) if test in ("is", "not") else (),
        negated=test == "not",
        given=table.flag("given") if test == "given" else None,
        same_as=table.text("same_as"),
        place=table.place,
    )


def _file_form(file: Table) -> FileForm:
    decimal, thousands = file.text("decimal"), file.text("thousands")
    if decimal and decimal == thousands:
        raise file.wrong("thousands", f"is the same as decimal: {decimal!r}")
    options = {key: file.data[key] for key in ("encoding", "delimiter", "columns") if key in file.data}
    if "columns" in options:
        options["columns"] = file.texts("columns")
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
    policy = _conflict(named, _conflict(file, "keep_edited"))
    changed_at = _changed_at(named) if "changed_at" in table.data else _changed_at(file)
    fields = tuple(_fields(named.table("fields"), "", system, policy))
    newest = next((field for field in fields if field.conflict == "newest"), None)
    if newest is not None and not changed_at[0]:
        raise Table({}, newest.place).wrong(
            "conflict", 'is "newest", and no column says when a row was changed', 'changed_at = "modified"'
        )
    return RecordMap(
        type=type_name,
        place=place,
        system=system,
        key=_parts(named, "key"),
        when=conditions(named),
        fields=fields,
        repeats=table.flag("repeats"),
        also=tuple((name, _parts(also, name)) for name in also.data),
        changed_at=changed_at,
    )


def _conflict(table: Table, default: Conflict) -> Conflict:
    return cast("Conflict", table.choice("conflict", CONFLICTS, default))


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


def _fields(table: Table, prefix: str, system: str, policy: Conflict) -> list[FieldMap]:
    found: list[FieldMap] = []
    for name, value in table.data.items():
        path = prefix + name
        is_group = name == "fields" or (isinstance(value, dict) and not (value.keys() & _FIELD_KEYS))
        if isinstance(value, dict) and not prefix and value and is_group:  # an own field may be called "currency"
            found += _fields(Table(value, f"{table.place}.{name}"), f"{name}.", system, policy)
        elif isinstance(value, (str, list)):
            place = f"{table.place}: {path}"
            parts = _parts(table, name)
            found.append(FieldMap(path=path, place=place, parts=parts, system=system, conflict=policy))
        elif isinstance(value, dict):
            found.append(_field(Table(value, f"{table.place}: {path}"), path, system, policy))
        else:
            raise table.wrong(path, f"must be a column's name or a table, found {value!r}", '{ const = "..." }')
    return found


def _field(table: Table, path: str, system: str, policy: Conflict) -> FieldMap:
    table.only(_FIELD_KEYS)
    sources = [key for key in ("column", "const", "template") if key in table.data]
    if len(sources) != 1:
        raise table.wrong("", "needs exactly one of: column, const, template", '{ column = "name" }')
    currency = table.data.get("currency", "")
    column = Table(currency, f"{table.place}: currency").text("column") if isinstance(currency, dict) else ""
    unmapped = table.text("unmapped", "keep")
    if unmapped not in ("keep", "reject", "empty"):
        raise table.wrong("unmapped", f"must be keep, reject or empty, found {unmapped!r}")
    if table.text("by") not in ("", "name", "email") or (table.text("by") and not table.text("ref")):
        raise table.wrong("by", 'must be "name" or "email", beside ref')
    chosen: Unmapped = "keep" if unmapped == "keep" else "reject" if unmapped == "reject" else "empty"
    return FieldMap(
        path=path,
        place=table.place,
        parts=_source_parts(table, sources[0]),
        format=table.text("format"),
        decimal=table.text("decimal") if "decimal" in table.data else None,
        thousands=table.text("thousands") if "thousands" in table.data else None,
        zone=table.text("zone"),
        currency="" if column else table.text("currency"),
        currency_column=column,
        values=table.mapping("map"),
        corrections=table.mapping("fix"),
        unmapped=chosen,
        null_if=frozenset(table.texts("null_if")),
        default=table.text("default"),
        when=conditions(table),
        ref=table.text("ref"),
        by=table.text("by"),
        later=table.flag("later"),
        system=table.text("system") or system,
        separator=table.text("separator", ","),
        conflict=_conflict(table, policy),
    )


def _source_parts(table: Table, source: str) -> tuple[Part, ...]:
    value = table.data[source]
    if source == "const":
        if isinstance(value, bool):
            return (Part(const="true" if value else "false"),)
        if not isinstance(value, (str, int)):
            raise table.wrong("const", f"must be text, a whole number, true or false, found {value!r}")
        return (Part(const=str(value)),)
    if source == "template":
        return _template(table)
    return _parts(table, "column")


def _template(table: Table) -> tuple[Part, ...]:
    parts: list[Part] = []
    for at, piece in enumerate(table.text("template").replace("}", "{").split("{")):
        if piece:
            parts.append(Part(column=piece) if at % 2 else Part(const=piece))
    if not any(part.column for part in parts):
        raise table.wrong("template", "names no column", 'template = "{first_name} {last_name}"')
    return tuple(parts)


def _parts(table: Table, key: str) -> tuple[Part, ...]:
    """Return the pieces of a key: a column, or a list of columns and `{const=...}`."""
    value = table.data[key]
    listed = value if isinstance(value, list) else [value]
    parts: list[Part] = []
    for each in listed:
        if isinstance(each, str) and each:
            parts.append(Part(column=each))
        elif isinstance(each, dict) and set(each) == {"const"} and isinstance(each["const"], str):
            parts.append(Part(const=each["const"]))
        elif isinstance(each, dict) and set(each) == {"column"} and isinstance(each["column"], str):
            parts.append(Part(column=each["column"]))
        else:
            raise table.wrong(key, f"must name columns, found {each!r}", f'{key} = ["account", {{ const = "email" }}]')
    if not any(part.column for part in parts):
        raise table.wrong(key, "names no column")
    return tuple(parts)


def _check(table: Table) -> Check:
    table.only(_CHECK_KEYS)
    say, when = table.text("say"), conditions(table)
    if not say or not when:
        raise table.wrong(
            "", "needs when and say", 'when = { column = "account", given = false } and say = "{count} rows ..."'
        )
    return Check(when=when, say=say, place=table.place)
