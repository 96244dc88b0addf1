"""Rows that make one thing together: how a mapping says it, and how several rows give one value.

An invoice is a header and lines. Its rows may stand anywhere in the file; `staging` brings them together, here they
become lines (per product) and one value of every column that the header reads.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Decimal, Inexact
from typing import Any, Final, Literal

import attrs

from crm_transfer.cells import keys_of_column
from crm_transfer.columns import Cells, Columns, Kind
from crm_transfer.conditions import Condition, conditions
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.operations import Scope
from crm_transfer.tables import Table

Per = Literal["row", "group", "line"]
PERS: Final[tuple[Per, ...]] = ("row", "group", "line")
POLICIES: Final = ("same", "first", "most", "least", "greatest", "sum")
_KEYS: Final = frozenset({"by", "line", "same_line", "same_row", "incomplete", "missing", "columns"})
_MATCH_KEYS: Final = frozenset({"when", "among", "same", "latest", "gives"})
_EXACT: Final = Context(prec=100, traps=[Inexact])
_NAMED: Final = 3


@attrs.frozen(kw_only=True)
class Match:
    """Finds, for a group, another one of the same file: the latest that is not later and shares a row's cells.

    Groups that meet `when` look among the rows of groups that meet `among`; `same` are the columns that must agree,
    `latest` is the time, `gives` the column whose cell is taken from what was found.
    """

    name: str
    place: str
    when: tuple[Condition, ...]
    among: tuple[Condition, ...]
    same: tuple[str, ...]
    latest: str
    gives: str


@attrs.frozen(kw_only=True)
class GroupMap:
    """Which rows belong together, what a line is, and what is done when rows disagree or are refused.

    `columns` gives the policy of a column, `same` for all others.
    """

    place: str
    by: tuple[str, ...]
    line: tuple[str, ...] = ()
    sums_lines: bool = False
    same_row: str = "keep"
    keeps_rest: bool = False
    keeps_missing: bool = False
    columns: Mapping[str, str] = attrs.field(factory=dict)
    matches: tuple[Match, ...] = ()


def group_map(root: Table) -> GroupMap | None:
    """Read `[group]` and `[match]` of a mapping, None without."""
    if "group" not in root.data:
        if "match" in root.data:
            raise root.wrong("match", "needs [group]: it finds one group for another", '[group] by = "invoice"')
        return None
    table = root.table("group")
    table.only(_KEYS)
    by = table.texts("by")
    if not by or not all(by):
        raise table.wrong("by", "is missing: the column whose cell the rows of one group share", 'by = "invoice"')
    policies = table.table("columns")
    for name in policies.data:
        policies.choice(name, POLICIES)
    return GroupMap(
        place=table.place,
        by=by,
        line=table.texts("line"),
        sums_lines=table.choice("same_line", ("apart", "sum")) == "sum",
        same_row=table.choice("same_row", ("keep", "once", "reject")),
        keeps_rest=table.choice("incomplete", ("reject", "keep")) == "keep",
        keeps_missing=table.choice("missing", ("reject", "keep")) == "keep",
        columns=policies.mapping_of_all(),
        matches=tuple(_match(each, name, by) for name, each in root.named("match")),
    )


def _match(table: Table, name: str, by: tuple[str, ...]) -> Match:
    table.only(_MATCH_KEYS)
    when, among, same, latest = conditions(table), conditions(table, "among"), table.texts("same"), table.text("latest")
    if not (when and among and same and latest):
        raise table.wrong(
            "", "needs when, among, same and latest", 'same = ["customer", "product"], latest = "invoice_date"'
        )  # fmt: skip
    gives = table.text("gives") or by[0]
    return Match(name=name, place=table.place, when=when, among=among, same=same, latest=latest, gives=gives)


class Disagreement(Exception):
    """Rows of one group have different cells where one value is needed."""

    def __init__(self, column: str, rows: Mapping[str, list[int]], remedy: str) -> None:
        self.column = column
        told = []
        for text, numbers in list(rows.items())[:_NAMED]:
            more = f" and {len(numbers) - _NAMED:,} more" if len(numbers) > _NAMED else ""
            listed = ", ".join(map(str, numbers[:_NAMED]))
            told.append(f"{text[:80]!r} in row{'s' if len(numbers) > 1 else ''} {listed}{more}")
        more = f", and {len(rows) - _NAMED:,} other texts" if len(rows) > _NAMED else ""
        super().__init__(f"the rows of the group disagree: {', '.join(told)}{more}; {remedy}")


@attrs.frozen(kw_only=True)
class Reduction:
    """How the cells of one column in several rows become one, and where that is put.

    `witness` is where all different cells are put, for a digest that does not depend on the order of rows.
    """

    name: str
    source: int
    policy: str
    target: int
    witness: int | None
    number: Callable[[str], Decimal]
    instant: Callable[[str], int]
    remedy: str

    def value(self, rows: Sequence[tuple[int, Cells]]) -> str:
        """Return the one cell of rows given with their numbers.

        Raises:
            Disagreement: the rows have different cells, and the policy is `same`.
        """
        if self.policy == "sum":
            return f"{self._sum(rows):f}"
        texts = [cells[self.source].strip() for _, cells in rows]
        different = set(texts)
        if len(different) == 1:
            return texts[0]
        given = [text for text in texts if text]
        if self.policy == "first":
            return next(
                cells[self.source].strip() for _, cells in sorted(rows, key=_number) if cells[self.source].strip()
            )
        if self.policy == "most":
            counts = Counter(given)
            return min(counts, key=lambda text: (-counts[text], text))
        if self.policy in ("least", "greatest"):
            return (min if self.policy == "least" else max)(given, key=self._measure(rows))
        places: dict[str, list[int]] = {}
        for number, cells in sorted(rows, key=_number):
            places.setdefault(cells[self.source].strip(), []).append(number)
        raise Disagreement(self.name, places, self.remedy)

    def fill(self, rows: Sequence[tuple[int, Cells]], cells: list[str]) -> None:
        """Put the one cell of rows into the cells of the row that stands for them.

        Raises:
            Disagreement, Unreadable: as `value`.
        """
        cells[self.target] = self.value(rows)
        if self.witness is not None:
            cells[self.witness] = "\x1e".join(sorted({others[self.source].strip() for _, others in rows}))

    def _sum(self, rows: Sequence[tuple[int, Cells]]) -> Decimal:
        total = Decimal(0)
        for number, cells in rows:
            text = cells[self.source].strip()
            if not text:
                raise Unreadable(
                    number, BadCell("required", "is empty, and it is summed; fill it in", column=self.name)
                )
            try:
                total = _EXACT.add(total, self.number(text))
            except BadCell as bad:
                raise Unreadable(number, bad.at(self.name, text)) from None
            except Inexact:
                message = "makes a sum of more than 100 digits; correct it"
                raise Unreadable(number, BadCell("number", message, column=self.name, value=text)) from None
        return total

    def _measure(self, rows: Sequence[tuple[int, Cells]]) -> Callable[[str], Any]:
        """Return how to order texts: as times when one is a time, then all must be; else as numbers when all are."""
        given = {text: number for number, cells in rows if (text := cells[self.source].strip())}
        times, bad = _read(self.instant, given)
        if times and bad:
            text, why = next(iter(bad.items()))
            raise Unreadable(given[text], why.at(self.name, text))
        if times:
            return lambda text: (times[text], text)
        numbers, no_numbers = _read(self.number, given)
        return (lambda text: text) if no_numbers else (lambda text: (numbers[text], text))


def _read(read: Callable[[str], Any], texts: Iterable[str]) -> tuple[dict[str, Any], dict[str, BadCell]]:
    """Return what can be read, by text, and what cannot."""
    good: dict[str, Any] = {}
    bad: dict[str, BadCell] = {}
    for text in texts:
        try:
            good[text] = read(text)
        except BadCell as why:
            bad[text] = why.with_traceback(None)  # whose frames know this dict, and all rows
    return good, bad


class Unreadable(Exception):
    """A cell of one row that is no number or time where one is needed."""

    def __init__(self, row: int, bad: BadCell) -> None:
        self.row = row
        self.bad = bad


def _number(row: tuple[int, Cells]) -> int:
    return row[0]


class Layout:
    """Where a grouped row keeps what its group adds: a mark, the count of its line, the set of lines, reduced cells."""

    def __init__(self, columns: Columns, spec: GroupMap, scope: Scope) -> None:
        """Place them behind the columns, which are complete by now."""
        self.columns = columns
        self.base = len(columns)
        self.mark, self.nth, self.lines = self.base, self.base + 1, self.base + 2
        self.width = self.base + 3
        self._spec = spec
        self._scope = scope
        self.by = tuple(columns.index(name, f"{spec.place}: by") for name in spec.by)
        self.line = tuple(columns.index(name, f"{spec.place}: line") for name in spec.line)
        self.key_of, self.line_of = joined_key(self.by, complete=True), joined_key(self.line)
        for name in spec.columns:
            columns.index(name, f"{spec.place}: columns")
        self.group = Level(self, self.by, "group")
        self.per_line = Level(self, (*self.by, *self.line), "line") if spec.sums_lines else None
        self.matched = {match.name: self.place() for match in spec.matches}

    def place(self) -> int:
        """Return the next free place of a row."""
        self.width += 1
        return self.width - 1

    def reduction(self, name: str, source: int, word: str) -> Reduction:
        """Return how a column is reduced, by its policy."""
        policy, kind = self._spec.columns.get(name, "same"), self.columns.kind_of(source)
        return Reduction(
            name=name,
            source=source,
            policy=policy,
            target=self.place(),
            witness=self.place() if policy == "first" else None,
            number=self._scope.number(kind),
            instant=self._scope.instant(kind),
            remedy=f"correct the file, or say which counts of one {word}: [group.columns] {name} = "
            f'"first", "most", "least", "greatest" or "sum"',
        )


class Level(Columns):
    """The columns as a record sees them that several rows make together: of each column the one reduced cell."""

    def __init__(self, layout: Layout, constant: Sequence[int], word: str) -> None:
        self._layout = layout
        self._constant = constant
        self._word = word
        self._found: dict[int, Reduction] = {}
        self.used = layout.columns.used

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        """The columns that records of this level read."""
        return tuple(self._found.values())

    def index(self, name: str, place: str) -> int:
        if self._word == "group" and name in self._layout.matched:
            return self._layout.matched[name]
        at = self._layout.columns.index(name, place)
        if at in self._constant:
            return at
        if at not in self._found:
            self._found[at] = self._layout.reduction(name, at, self._word)
        return self._found[at].target

    def kind_of(self, index: int) -> Kind:
        for reduction in self._found.values():
            if index == reduction.target:
                return "number" if reduction.policy == "sum" else self._layout.columns.kind_of(reduction.source)
        return self._layout.columns.kind_of(index)

    def digested(self, index: int) -> int:
        """Return the place that a digest takes instead, where the cell depends on the order of rows."""
        return next((r.witness for r in self._found.values() if index == r.target and r.witness is not None), index)


def joined_key(columns: Sequence[int], *, complete: bool = False) -> Callable[[Cells], str]:
    """Return the function that joins the keys of several cells by a slash; `complete`: empty when one of them is."""
    reads = [(at, keys_of_column()) for at in columns]
    if len(reads) == 1:
        ((only, key_of),) = reads
        return lambda cells: key_of(cells[only])

    def read(cells: Cells) -> str:
        texts = [key_of(cells[at]) for at, key_of in reads]
        return "/".join(texts) if all(texts) or not complete else ""

    return read


def check_per(per: str, spec: GroupMap | None, place: str) -> None:
    """Refuse `per` where there are no groups, or no lines.

    Raises:
        MappingError: the mapping has to say more.
    """
    if per != "row" and spec is None:
        raise MappingError(f'{place}: per = "{per}" needs [group]', hint='[group] by = "invoice"')
    if per == "line" and spec is not None and not spec.line:
        raise MappingError(
            f'{place}: per = "line" needs [group] line: what tells the lines of one group apart',
            hint='line = "product"',
        )


def digest_of_lines(lines: Sequence[str]) -> str:
    """Return a short text that is another one when a group has other lines."""
    return hashlib.blake2b("\x1f".join(sorted(lines)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
