"""The record types, rows and expressions that the tests of the query floor share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from crm_core.extend.storage import Storage
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Or, Remainder
from crm_core.records import KERNEL_RECORDS, Customer, Extension, FieldDeclaration, build_registry, extension, integer
from crm_core.records.schema import Column, Row, Table

TEHRAN = ZoneInfo("Asia/Tehran")


@extension("loyalty", extends=Customer)
class Loyalty(Extension):
    points: int | None = integer("Points", default=None)


REGISTRY = build_registry(
    zone=TEHRAN,
    records=[(cls, "crm-core") for cls in KERNEL_RECORDS],
    extensions=[(Loyalty, "crm-loyalty")],
    own_fields={
        "customer": [
            FieldDeclaration(name="sector", kind="text", label="Sector", max_length=100),
            FieldDeclaration(name="rate", kind="decimal", label="Rate", scale=2),
            FieldDeclaration(name="شهر", kind="text", label="City", key=True),
        ]
    },
)
CUSTOMER = REGISTRY.named("customer")
DEAL = REGISTRY.named("deal")

NOTES = Table(
    "notes",
    (
        Column("id", "int", nullable=False),
        Column("points", "int"),
        Column("name", "text", max_length=100),
        Column("kind", "text", nullable=False, max_length=100),
    ),
)
NOTE_TAGS = Table(
    "note_tags",
    (Column("id", "int", nullable=False), Column("note_id", "int"), Column("tag_key", "text", max_length=100)),
)

# NUL and lone surrogates never reach a storage: the codec refuses them.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4) | st.sampled_from(
    ["a", "A", "a ", "é", "ab", "", "علی", "🙂", "%", "_", "a\\"]
)
numbers = st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1])
_operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def _leaves(columns: dict[str, st.SearchStrategy[int | str]]) -> st.SearchStrategy[Expression]:
    def on(name: str) -> st.SearchStrategy[Expression]:
        values = columns[name]
        return st.one_of(
            st.builds(Compare, st.just(name), _operators, values),
            st.builds(In, st.just(name), st.lists(values, max_size=3).map(tuple)),
            st.builds(IsNull, st.just(name)),
            st.builds(Contains, st.just(name), texts)
            if values is texts
            else st.builds(Remainder, st.just(name), st.integers(1, 4), st.integers(-3, 3)),
        )

    return st.sampled_from(sorted(columns)).flatmap(on)


def _trees(leaves: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def deeper(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        parts = st.lists(inner, max_size=3).map(tuple)
        return st.builds(Not, inner) | st.builds(And, parts) | st.builds(Or, parts)

    return st.recursive(leaves, deeper, max_leaves=8)


_on_tags = _trees(_leaves({"id": numbers, "note_id": numbers, "tag_key": texts}))
_exists = st.builds(Exists, st.just("note_tags"), st.just("note_id"), st.none() | _on_tags)
expressions = _trees(_leaves({"id": numbers, "points": numbers, "name": texts, "kind": texts}) | _exists)
notes = st.lists(
    st.tuples(st.integers(-9, 9), st.none() | numbers, st.none() | texts, texts),
    max_size=8,
    unique_by=lambda row: row[0],
)
note_tags = st.lists(
    st.tuples(st.integers(1, 9), st.none() | st.integers(-9, 9), st.none() | texts),
    max_size=6,
    unique_by=lambda row: row[0],
)


class ScanOnly(Storage):
    """A storage that can be scanned and nothing else, and counts how often."""

    def __init__(self, tables: dict[str, tuple[Sequence[str], Sequence[Row]]]) -> None:
        self.tables = tables
        self.scanned: list[tuple[str, tuple[str, ...]]] = []

    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        self.scanned.append((table, tuple(columns)))
        names, rows = self.tables[table]
        places = [list(names).index(column) for column in columns]
        for start in range(0, len(rows), batch):
            yield [tuple(row[place] for place in places) for row in rows[start : start + batch]]


ScanOnly.__abstractmethods__ = frozenset()
