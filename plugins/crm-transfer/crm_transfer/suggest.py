"""Writes a mapping from a file's own content: what each column seems to be, with a confidence beside each guess.

The mapping can be used as it is; what could not be guessed stands in it as a comment.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from crm_core import CRM
from crm_core.extend import SourceRow
from crm_core.records import RecordType
from crm_core.records.registry import Field
from crm_core.values import ascii_digits, exponent, text_key
from crm_transfer.cells import without_guard
from crm_transfer.opening import importer_for, open_source

_SAMPLE: Final = 5_000
_NEARLY: Final = Fraction(9, 10)
_SHORT: Final = 100
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?")
_DATES: Final = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%d/%m/%y", "%Y%m%d")
_TIMES: Final = ("", " %H:%M", " %H:%M:%S")
_NUMBER: Final = re.compile(r"[+-]?[0-9][0-9.,٫٬\u00a0 ]*", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s:;,<>()]+@[^@\s:;,<>()]+\.[^@\s:;,<>()]+")
_PHONE: Final = re.compile(r"'?[+0(][0-9 ()./-]{6,}")
_WORDS: Final = {"yes", "no", "true", "false", "y", "n"}
_SYNONYMS: Final = {
    "name": "fullname customer customername account accountname company companyname contact client product productname "
    "agent user team firma kunde nom nombre название имя наименование نام مشتری անուն",
    "first_contact_at": "firstcontact firstcontactdate created createdat createdate registered since erstkontakt",
    "birth_date": "birthday dateofbirth dob",
    "source": "origin leadsource channel utmsource",
    "country": "land nation کشور",
    "region": "state province",
    "city": "town شهر",
    "industry": "sector branch businesssegment",
    "title": "dealname opportunity subject deal",
    "stage": "dealstage status",
    "amount": "value closevalue total price revenue sum dealvalue مبلغ",
    "price": "salesprice unitprice listprice",
    "opened_at": "engagedate opened opendate createdate created",
    "closed_at": "closedate closed wondate",
    "sold_at": "date saledate orderdate invoicedate",
    "occurred_at": "date time datetime timestamp",
    "body": "text message note notes",
    "email": "mail emailaddress",
    "code": "sku productcode",
    "tags": "labels keywords",
}
_KEYS: Final = ("id", "no", "nr", "number", "nummer", "key", "code", "код", "email")
_PHONE_WORDS: Final = ("phone", "mobile", "telefon", "телефон", "تلفن", "موبایل", "հեռախոս")
_LOCAL_PHONE: Final = re.compile(r"'?[+(]?[0-9][0-9 ()./-]{5,}")


@attrs.frozen(kw_only=True)
class Seen:
    """What the sample says of a column: what its cells look like, and how sure that is."""

    name: str
    kind: str
    values: tuple[str, ...]
    empty: int
    format: str = ""
    decimal: str = ""
    thousands: str = ""
    doubt: str = ""

    @property
    def is_key(self) -> bool:
        """Whether every row has a value of its own."""
        return self.is_short and not self.empty and len(set(self.values)) == len(self.values)

    @property
    def is_short(self) -> bool:
        """Whether the cells are fit for a key: one line each, and not long."""
        return all(len(value) <= _SHORT and value.isprintable() for value in self.values)

    @property
    def tells_apart(self) -> int:
        """How many rows the column tells apart; 0 where its cells are not fit for a key."""
        return len(set(self.values)) if self.is_short else 0


def suggest_mapping(
    crm: CRM, type_name: str, path: Path, *, encoding: str | None = None, sheet: str | None = None, format_: str = ""
) -> str:
    """Return the TOML of a mapping for a file: records of `type_name`, one a row; `encoding` where it is not found.

    A format that knows what its columns mean says so itself; `format_` names it where the file does not show it, and
    `sheet` the sheet of a spreadsheet.

    Raises:
        FileFault: the file as a whole cannot be imported.
        UsageError: there is no such record type.
    """
    kind = crm.registry.named(type_name)
    importer = importer_for(crm, path, format_)
    given = {"encoding": encoding, "sheet": sheet}
    source = open_source(importer, path, {name: value for name, value in given.items() if value})
    if importer.mapping is not None:
        return importer.mapping(source.columns)
    rows = [row.cells for row in islice((r for r in source.rows if isinstance(r, SourceRow)), _SAMPLE)]
    columns = [look_at(name, [row[at] for row in rows]) for at, name in enumerate(source.columns)]
    lines = [
        f"# Suggested for {path.name} from {len(rows):,} of {source.total:,} rows. Read it before you use it.",
        "",
        "[file]",
        f'format = "{importer.name}"',
    ]
    for option in ("encoding", "delimiter", "sheet"):
        if option in source.options:
            shown = str(source.options[option]).replace("\t", "tab")
            lines.append(f"{option} = {_quoted(shown)}  # {source.guesses.get(option, 'declared')}")
    lines += [f"system = {_quoted(_system(path))}  # the name of the source: with the key it tells records apart", ""]
    return "\n".join([*lines, *_record(crm, kind, columns, rows), ""])


def look_at(name: str, cells: Sequence[str]) -> Seen:
    """Say what the cells of a column look like.

    >>> look_at("Joined", ["31/12/2024", "", "01/02/2025"]).format
    '%d/%m/%Y'
    >>> look_at("Total", ["1.234,50", "12,00"]).decimal
    ','
    """
    values = tuple(without_guard(cell.strip()) for cell in cells if cell.strip())
    seen = Seen(name=name, kind="text", values=values, empty=len(cells) - len(values))
    plain = [ascii_digits(value) for value in values]
    if not values:
        return attrs.evolve(seen, kind="empty")
    if all(value.casefold() in _WORDS for value in plain):
        return attrs.evolve(seen, kind="boolean")
    if all(_ISO.fullmatch(value) for value in plain):
        return attrs.evolve(seen, kind="date")
    if all(_EMAIL.fullmatch(value) for value in values):
        return attrs.evolve(seen, kind="email")
    phone = _LOCAL_PHONE if any(word in _plain(name) for word in _PHONE_WORDS) else _PHONE
    if all(phone.fullmatch(value) for value in plain):
        return attrs.evolve(seen, kind="phone")
    dated = _dates(seen, plain)
    return dated or _numbers(seen, values) or seen


def _dates(seen: Seen, plain: Sequence[str]) -> Seen | None:
    fitting = [
        form + time for form in _DATES for time in _TIMES if all(_is_date(value, form + time) for value in plain)
    ]
    if not fitting:
        return None
    doubt = f"it may also be {fitting[1]}: no day is above 12" if len(fitting) > 1 else ""
    return attrs.evolve(seen, kind="date", format=fitting[0], doubt=doubt)


def _is_date(value: str, form: str) -> bool:
    try:
        dt.datetime.strptime(value, form)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True


def _numbers(seen: Seen, values: Sequence[str]) -> Seen | None:
    if not all(_NUMBER.fullmatch(ascii_digits(value)) for value in values):
        return None
    if any(value.startswith("0") and value.isdigit() and len(value) > 1 for value in values):
        return None
    latin = [value for value in values if "٫" not in value and "٬" not in value]
    commas, points = any("," in value for value in latin), any("." in value for value in latin)
    last_comma = any(re.search(r",\d{1,2}$|,\d{4,}$", value) for value in latin) or any(
        "." in value and value.rfind(",") > value.rfind(".") for value in latin
    )
    decimal, thousands, doubt = "", "", ""
    if commas and last_comma:
        decimal, thousands = ",", "." if points else ""
    elif commas:
        decimal, thousands = ".", ","
        doubt = "" if points else "the comma may also be a decimal one"
    whole = (
        not any(decimal and decimal in value for value in latin) and (commas or not points) and latin == list(values)
    )
    kind = "integer" if whole else "decimal"
    return attrs.evolve(seen, kind=kind, decimal=decimal, thousands=thousands, doubt=doubt)


def _record(crm: CRM, kind: RecordType, columns: Sequence[Seen], rows: Sequence[Sequence[str]]) -> list[str]:
    key, sure = _key(columns, rows)
    written = _quoted(key[0]) if len(key) == 1 else "[" + ", ".join(_quoted(name) for name in key) + "]"
    lines = ["[[record]]", f'type = "{kind.name}"', f"key = {written}  # {sure}", "", "[record.fields]"]
    left: list[Seen] = []
    taken: set[str] = set()
    for seen in columns:
        field, confidence = _field_of(kind, seen, taken)
        line = _line(crm, field, seen, confidence) if field is not None else None
        if field is None or line is None:
            left.append(seen)
            continue
        taken.add(field.path)
        lines.append(line)
    named = _name_of(kind, left, taken, len(rows))
    if named is not None:
        left.remove(named)
        taken.add("name")
        lines.append(f"name = {_quoted(named.name)}  # low: nothing is called a name, and this column may be one")
    for field in kind.fields.values():
        if field.declaration.required and field.path not in taken and field.declaration.kind == "text":
            lines.append(f'{field.path} = {{ template = "{{{key[0]}}}" }}  # low: nothing fits, and it is required')
    points = [seen for seen in left if seen.kind in ("email", "phone") and kind.name == "customer"]
    lines += [_unused(kind, seen) for seen in left if seen not in points]
    for seen in points:
        lines += _contact_point(key, seen)
    return lines


def _name_of(kind: RecordType, left: Sequence[Seen], taken: set[str], rows: int) -> Seen | None:
    """Return the column that may be the name where none is called so: the first of short texts that mostly differ."""
    if "name" not in kind.fields or "name" in taken:
        return None
    return next((seen for seen in left if seen.kind == "text" and 2 * seen.tells_apart >= max(rows, 1)), None)


def _key(columns: Sequence[Seen], rows: Sequence[Sequence[str]]) -> tuple[list[str], str]:
    """Choose the columns that tell rows apart, and say how sure that is."""
    unique = [seen for seen in columns if seen.is_key]
    named = [seen for seen in unique if any(_plain(seen.name).endswith(word) for word in _KEYS)]
    if named:
        return [named[0].name], "high: every row has a value of its own"
    whole = [seen for seen in unique if seen.kind not in ("date", "decimal")]
    if whole:
        return [whole[0].name], "medium: every row has a value of its own, but is it one that stays?"
    nearly = [
        seen for seen in columns if seen.kind not in ("date", "decimal") and seen.tells_apart >= _NEARLY * len(rows)
    ]
    if nearly:
        by_name = [seen for seen in nearly if any(_plain(seen.name).endswith(word) for word in _KEYS)]
        best = max(by_name or nearly, key=lambda seen: seen.tells_apart)
        others = len(rows) - best.tells_apart
        return [best.name], f"low: {others:,} of {len(rows):,} rows have none or a repeated one, and will be rejected"
    short = [at for at, seen in enumerate(columns) if seen.is_short] or list(range(len(columns)))
    full = [at for at in short if not columns[at].empty] or short
    for count in range(2, len(full) + 1):
        chosen = full[:count]
        if len({tuple(row[at] for at in chosen) for row in rows}) == len(rows):
            return [columns[at].name for at in chosen], "low: only together are they different in every row"
    return [columns[at].name for at in full], "low: NO column tells rows apart; equal rows will be rejected"


def _field_of(kind: RecordType, seen: Seen, taken: set[str]) -> tuple[Field | None, str]:
    name = _plain(seen.name)
    for field in kind.fields.values():
        if field.path in taken or field.declaration.derived or field.declaration.kind == "reference":
            continue
        names = {_plain(field.name), _plain(field.declaration.label)}
        if name in names:
            return field, "high: the same name"
    for field in kind.fields.values():
        if field.path in taken or field.declaration.derived or field.declaration.kind == "reference":
            continue
        if name in _SYNONYMS.get(field.name, "").split():
            return field, "medium: a similar name"
    return None, ""


def _line(crm: CRM, field: Field, seen: Seen, confidence: str) -> str | None:
    """Write the line of a field, or None when the column's cells cannot be its values."""
    kind = field.declaration.kind
    doubt = f"; {seen.doubt}" if seen.doubt else ""
    parts = [f"column = {_quoted(seen.name)}"]
    if kind in ("moment", "day"):
        if seen.kind != "date":
            return None
        parts += [f"format = {_quoted(seen.format)}"] if seen.format else []
    elif kind in ("integer", "decimal", "money"):
        if seen.kind not in ("integer", "decimal") or (kind == "integer" and seen.kind == "decimal"):
            return None
        parts += [f"decimal = {_quoted(seen.decimal)}"] if seen.decimal else []
        parts += [f"thousands = {_quoted(seen.thousands)}"] if seen.thousands else []
        if kind == "money":
            parts.append(f"currency = {_quoted(crm.settings.currency)}")
            doubt += "; the currency is the workspace's"
            if _too_fine(seen, crm.settings.currency):
                return None
    elif (
        (kind == "boolean" and seen.kind != "boolean")
        or (field.declaration.choices and not {v.casefold() for v in seen.values} <= set(field.declaration.choices))
        or (field.path == "stage" and not _stages_fit(crm, seen))
    ):
        return None
    value = parts[0].removeprefix("column = ") if len(parts) == 1 else "{ " + ", ".join(parts) + " }"
    return f"{field.path} = {value}  # {confidence}{doubt}"


def _too_fine(seen: Seen, currency: str) -> bool:
    point = seen.decimal or "."
    return any(len(value.rpartition(point)[2]) > exponent(currency) for value in seen.values if point in value)


def _stages_fit(crm: CRM, seen: Seen) -> bool:
    default = next(iter(crm.pipelines.values()))
    known = {name.casefold() for stage in default.stages for name in (stage.name, stage.label)}
    return {value.casefold() for value in seen.values} <= known


def _unused(kind: RecordType, seen: Seen) -> str:
    types = {"date": "day", "empty": "text", "email": "text", "phone": "text"}
    name = re.sub(r"\W+", "_", text_key(seen.name), flags=re.ASCII).strip("_") or "field"
    type_ = types.get(seen.kind, seen.kind)
    return (
        f"# fields.{name} = {_quoted(seen.name)}  # no field fits; to add one: [fields.{kind.name}.{name}] "
        f'type = "{type_}"'
    )


def _contact_point(key: Sequence[str], seen: Seen) -> list[str]:
    named = ", ".join(_quoted(name) for name in key)
    reference = named if len(key) == 1 else f"[{named}]"
    return [
        "",
        "[[record]]",
        'type = "contact_point"',
        f'key = [{named}, {{ const = "{seen.kind}" }}]',
        f"when = {{ column = {_quoted(seen.name)}, given = true }}",
        "[record.fields]",
        f'customer_id = {{ column = {reference}, ref = "customer" }}',
        f'kind = {{ const = "{seen.kind}" }}  # high: all of them look like one',
        f"value = {_quoted(seen.name)}",
    ]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", text_key(name))


def _system(path: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.name.split(".")[0].lower()).strip("-") or "import"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
