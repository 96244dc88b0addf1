"""What Hypothesis draws records from: text in several scripts, moments around DST changes, money to its limits."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from crm_core.records import FieldDeclaration, Record, RecordType
from crm_core.values import Money, from_micros

LIMIT = 2**63 - 1
ZONES = ("UTC", "Asia/Tehran", "America/Sao_Paulo", "Europe/Berlin", "Pacific/Apia", "Australia/Lord_Howe")

NAMES = st.sampled_from(
    ["Ada Lovelace", "علی‌رضا کاظمی", "Արամ Խաչատրյան", "李小龍", "Ćećilija", "🦉 Owl & Co", "o'Hara", "نام ۱۲۳", "a"]
)


@cache
def storable_text(limit: int = 0) -> st.SearchStrategy[str]:
    """Draw text that every storage keeps: no NUL, no lone surrogate."""
    characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    return st.text(characters, max_size=min(limit or 40, 40)) | NAMES.map(lambda name: name[: limit or None])


@cache
def moments() -> st.SearchStrategy[datetime | date]:
    """Draw instants and bare days, far from the ends of the calendar."""
    instants = st.integers(-(2**51), 2**52).map(from_micros)
    return instants | days()


@cache
def days() -> st.SearchStrategy[date]:
    """Draw days, often those on which clocks change; never the one that Samoa skipped."""
    special = [date(2018, 11, 4), date(2026, 3, 29), date(2026, 10, 25), date(2022, 3, 22), date(1970, 1, 1)]
    drawn = st.sampled_from(special) | st.dates(date(1900, 1, 1), date(2100, 1, 1))
    return drawn.filter(lambda day: day != date(2011, 12, 30))


@cache
def amounts() -> st.SearchStrategy[Money]:
    """Draw money in currencies of zero to three decimals, to the limits of 64 bits."""
    minor = st.integers(-LIMIT, LIMIT) | st.sampled_from([0, 1, -1, LIMIT, -LIMIT])
    return st.builds(Money.from_minor, minor, st.sampled_from(["EUR", "JPY", "KWD", "IRR"]))


@cache
def values_of(declared: FieldDeclaration) -> st.SearchStrategy[Any]:
    """Draw values that a field accepts; references need stored records and are left to the caller.

    A strategy is made once: Hypothesis looks through a new one before it draws, which takes longer than the drawing.
    """
    drawn: dict[str, st.SearchStrategy[Any]] = {
        "text": st.sampled_from(declared.choices) if declared.choices else storable_text(declared.max_length),
        "integer": st.integers(-LIMIT - 1, LIMIT),
        "boolean": st.booleans(),
        "decimal": st.integers(-LIMIT, LIMIT).map(lambda units: Decimal(units).scaleb(-declared.scale)),
        "day": st.dates(),
        "moment": moments(),
        "money": amounts(),
        "reference": st.integers(1, LIMIT),
        "tags": st.lists(storable_text(100).filter(str.strip), unique=True, max_size=3).map(tuple),
    }
    value = drawn[declared.kind]
    if declared.required and declared.kind == "text":
        value = value.filter(lambda text: bool(text.strip()))
    return value | st.none() if declared.nullable else value


def records_of(kind: RecordType, *, without: tuple[str, ...] = ()) -> st.SearchStrategy[Record]:
    """Draw records of a type; fields named in `without` keep their defaults."""
    own = ((f.name, f.declaration) for f in kind.fields.values() if not f.extension and f.name not in without)
    return _made_of(kind.cls, tuple(own))


@cache
def _made_of(cls: type[Record], fields: tuple[tuple[str, FieldDeclaration], ...]) -> st.SearchStrategy[Record]:
    return st.builds(cls, **{name: values_of(declared) for name, declared in fields})


def zones() -> st.SearchStrategy[ZoneInfo]:
    """Draw time zones, some of which skip or repeat their midnights."""
    return st.sampled_from(ZONES).map(ZoneInfo)
