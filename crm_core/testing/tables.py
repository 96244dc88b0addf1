"""The tables, rows and expressions that the conformance kit of storages works with."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from crm_core.extend.storage import LEDGER_HEAD, LEDGER_TRANSACTIONS
from crm_core.query.ast import (
    And,
    Compare,
    Contains,
    Exists,
    Expression,
    In,
    IsNull,
    Not,
    Operator,
    Or,
    Remainder,
    SortKey,
)
from crm_core.records.schema import Column, Index, Manifest, Primitive, Row, Table

LARGEST: Final = 2**63 - 1
_SYSTEM: Final = tuple(Column(name, "int", nullable=False) for name in ("id", "version", "created_tx", "updated_tx"))

THINGS: Final = Table(
    "things",
    (
        *_SYSTEM,
        Column("name", "text"),
        Column("code", "text", max_length=40),
        Column("size", "int"),
        Column("group", "text"),
    ),
    (Index(("code",), unique=True), Index(("size",)), Index(("group", "size"))),
)
"""Records with a unique code; one column has the name of a reserved word."""
PARTS: Final = Table("parts", (*_SYSTEM, Column("thing_id", "int"), Column("label", "text")), (Index(("thing_id",)),))
"""Child rows of things."""
_HEAD: Final = Table(LEDGER_HEAD, (Column("id", "int", nullable=False), Column("position", "int", nullable=False)))
_TRANSACTIONS: Final = Table(
    LEDGER_TRANSACTIONS,
    (
        Column("id", "int", nullable=False),
        Column("position", "int", nullable=False),
        Column("notes", "text"),
        Column("chain", "text"),
    ),
    (Index(("position",), unique=True),),
)
MANIFEST: Final = Manifest({table.name: table for table in (THINGS, PARTS, _HEAD, _TRANSACTIONS)}, {"crm-core": "1.0"})

AWKWARD_TEXTS: Final = (
    "",
    " ",
    "a",
    "A",
    "a ",
    " a",
    "é",
    "e\u0301",
    "ß",
    "Z",
    "z",
    "علی\u200cرضا",
    "ي",
    "ی",
    "Արամ",
    "😀",
    "\uffee",
    "\U0001f469\u200d\U0001f4bb",
    "100%",
    "_",
    "\\",
    "'; DROP TABLE things; --",
    'quo"te',
    "line\nbreak",
    "line\r\nbreak",
    "\r",
    "\x01",
    "a\u00a0",
    "a\u200b",
    "ss",
    "ı",
    "tab\t",
    "12",
    "NULL",
    "x" * 5000,
)
"""Texts that storages confuse, cut, fold or sort by their own ideas."""
AWKWARD_NUMBERS: Final = (-LARGEST - 1, -1_000_001, -1, 0, 1, 7, 2**31, 2**53 + 1, LARGEST)

texts: Final = st.sampled_from(AWKWARD_TEXTS) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)
numbers: Final = st.sampled_from(AWKWARD_NUMBERS) | st.integers(-5, 5) | st.integers(-LARGEST - 1, LARGEST)
things: Final = st.fixed_dictionaries(
    {
        "name": st.none() | texts,
        "code": st.none() | st.sampled_from(["a", "A", "b", "é", "e\u0301"]),
        "size": st.none() | numbers,
        "group": st.none() | st.sampled_from(AWKWARD_TEXTS),
    }
)
"""The cells of a thing, but for the system columns; codes often clash."""
sorts: Final = st.lists(
    st.builds(SortKey, st.sampled_from(["name", "code", "size", "group"]), st.booleans()),
    max_size=3,
    unique_by=lambda key: key.column,
)
_operators: Final[st.SearchStrategy[Operator]] = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def expressions() -> st.SearchStrategy[Expression]:
    """Return filters of things: every kind of node, a few levels deep."""
    text_columns = st.sampled_from(["name", "code", "group"])
    leaves: st.SearchStrategy[Any] = st.one_of(
        st.builds(Compare, text_columns, _operators, texts),
        st.builds(Compare, st.just("size"), _operators, numbers),
        st.builds(In, text_columns, st.lists(texts, max_size=3).map(tuple)),
        st.builds(In, st.just("size"), st.lists(numbers, max_size=80).map(tuple)),
        st.builds(Contains, text_columns, texts),
        st.builds(IsNull, st.sampled_from(["name", "code", "size", "group"])),
        st.builds(Remainder, st.just("id"), st.just(3), st.integers(0, 2)),
        st.builds(Exists, st.just("parts"), st.just("thing_id"), st.none() | st.builds(IsNull, st.just("label"))),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(And, st.lists(inner, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
        ),
        max_leaves=4,
    )


def thing(id_: int, *, version: int = 1, **cells: Primitive) -> Row:
    """Return a whole row of `things`."""
    given = {"id": id_, "version": version, "created_tx": 1, "updated_tx": 1, **cells}
    return tuple(given.get(name) for name in THINGS.column_names)


def cell(row: Row, column: str) -> Primitive:
    """Return a cell of a row of `things`."""
    return row[THINGS.column_names.index(column)]
