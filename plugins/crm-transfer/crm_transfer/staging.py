"""Between the file and the records: computed columns, rules, and the bringing together of rows that are one thing.

A mapping that has none of these has no stage. What comes out are chunks of rows, each with its file's own number; rows
of one group are always in one chunk, and so in one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import attrgetter, eq
from typing import Final

import attrs

from crm_core.extend import BadRow, SourceRow
from crm_transfer.columns import Cells
from crm_transfer.computing import ComputedColumn
from crm_transfer.errors import BadCell
from crm_transfer.grouping import Disagreement, GroupMap, Layout, Reduction, Unreadable, digest_of_lines
from crm_transfer.matching import Finder, Offers, Search
from crm_transfer.packing import by_key, content_of, fault_of, in_chunks, unpacked
from crm_transfer.rows import Group, Row, groups_of
from crm_transfer.sorting import Keyed, Sorter, Store

MOST: Final = 10_000
"""Rows of one group: they are written in one transaction, so they are in memory together."""
EQUAL: Final = "equal to another one of the group in every cell"
_TOLD: Final = 20_000
_BLOCK: Final = 500
"""Rows whose columns are computed at once."""
GROUP: Final = "G"
LINE: Final = "L"
Prepared = tuple[int, list[str], BadCell | None]
"""The number of a row, its cells with the computed ones, and why it is refused."""


@attrs.frozen
class Rule:
    """What is done with rows that meet a condition: they are skipped, or refused with `reject` as the reason."""

    name: str
    applies: Callable[[Cells], bool]
    reject: str = ""


@attrs.define(kw_only=True)
class Stage:
    """What a mapping does with rows before it makes records of them; one for one run over one file.

    `computed` are the computed columns, which stand behind those of the file; `skipped` counts the rows left out, by
    rule.
    """

    computed: Sequence[ComputedColumn] = ()
    rules: Sequence[Rule] = ()
    grouping: Grouping | None = None
    skipped: Counter[str] = attrs.field(factory=Counter)

    def chunks(
        self, rows: Iterable[SourceRow | BadRow], size: Callable[[], int], sorting: Callable[[int], None]
    ) -> Iterator[list[Row | BadRow]]:
        """Yield the rows in chunks of about `size()`; `sorting` is told how many rows were read while they are sorted.

        Raises:
            FileFault: there is no room to sort them.
        """
        if self.grouping is not None:
            yield from self.grouping.chunks(self._prepared(rows), size, sorting)
            return
        chunk: list[Row | BadRow] = []
        for found in self._prepared(rows):
            chunk.append(found if isinstance(found, BadRow) else Row(found[0], found[1], found[0], found[0], found[2]))
            if len(chunk) >= size():
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def told(self) -> list[str]:
        """Return in words what became of rows here."""
        left = [f"{_rows(count)} left out: {name}" for name, count in self.skipped.items()]
        return [*left, *(self.grouping.told() if self.grouping is not None else ())]

    def _prepared(self, rows: Iterable[SourceRow | BadRow]) -> Iterator[Prepared | BadRow]:
        """Compute the columns of rows, and leave out or refuse those that a rule names."""
        source = iter(rows)
        while block := list(islice(source, _BLOCK)):
            all_cells = [list(found.cells) for found in block if not isinstance(found, BadRow)]
            faults: dict[int, BadCell] = {}
            for column in self.computed:
                column.fill(all_cells, faults)
            good = enumerate(all_cells)
            for found in block:
                if isinstance(found, BadRow):
                    yield found
                    continue
                at, cells = next(good)
                error = faults.get(at)
                for rule in self.rules:
                    if rule.applies(cells):
                        if not rule.reject:
                            self.skipped[rule.name] += 1
                            break
                        error = error or BadCell("rule", f"{rule.name}: {rule.reject}")
                else:
                    yield found.number, cells, error


@attrs.define(kw_only=True)
class Grouping:
    """Brings the rows of each group together and makes its lines and its header cells.

    `width` is how many columns the file has. `rows`, `groups`, `equal` (rows equal to another one of their group) and
    `repeated` (rows of a line that is there already) are counts, and so is `found`: of groups that look for another, by
    match and by whether one was found; `found_earlier` are those of them that found one in no row of the file.
    `earlier` looks for what earlier imports brought, by match; `alone` says why it cannot.
    """

    spec: GroupMap
    layout: Layout
    width: int
    of_group: Sequence[Reduction] = ()
    of_line: Sequence[Reduction] = ()
    finders: Sequence[Finder] = ()
    skipped: Counter[str] = attrs.field(factory=Counter)
    rows: int = 0
    groups: int = 0
    equal: int = 0
    repeated: int = 0
    found: Counter[tuple[str, bool]] = attrs.field(factory=Counter)
    found_earlier: Counter[str] = attrs.field(factory=Counter)
    earlier: Mapping[str, Search] = attrs.field(factory=dict)
    alone: Mapping[str, str] = attrs.field(factory=dict)
    _order: int = 0

    def chunks(
        self, rows: Iterable[Prepared | BadRow], size: Callable[[], int], sorting: Callable[[int], None]
    ) -> Iterator[list[Row | BadRow]]:
        """Yield whole groups in chunks: first those that look for no other group, then those that do."""
        with Sorter() as sorter, Offers() as offers:
            ordered = sorter.sorted(self._keyed(rows, sorting))
            later = sorter.store()
            self.earlier = {name: search for name, search in self.earlier.items() if search.any()}
            yield from in_chunks(self._first(ordered, offers, later), size)
            yield from in_chunks(self._matched(later, offers), size)

    def settle(self, rows: Sequence[Row]) -> bool:
        """Act on rows that were refused meanwhile: the rest of their group goes with them, or is made anew.

        Says whether anything changed, so that the chunk has to be done again.
        """
        changed = False
        for group in groups_of(rows):
            fresh = [row for row in group.rows if row.error and not row.follows and row.number not in group.told]
            if fresh:
                changed = self._act_on(group, fresh) or changed
                if self.spec.keeps_rest:
                    self._arrange(group)
        return changed

    def anew(self, rows: Sequence[Row]) -> None:
        """Make groups again as they were before anything was looked up."""
        for group in groups_of(rows):
            group.told = set(group.at_first)
            self._arrange(group)

    def told(self) -> list[str]:
        """Return in words what was noticed of groups."""
        notes = []
        if self.groups:
            notes.append(f"groups of rows by {self._by}: {self.groups:,} of {self.rows:,} rows")
        if self.equal and self.spec.same_row == "keep":
            notes.append(f"{_rows(self.equal)} equal to another one of the group in every cell: each is a line")
        if self.repeated:
            how = "each added to its line" if self.spec.sums_lines else "each is a line of its own"
            line = " + ".join(self.spec.line)
            notes.append(f"rows with the {line} of another one of the group: {self.repeated:,}, {how}")
        for match in self.spec.matches:
            yes, no = self.found[match.name, True], self.found[match.name, False]
            old, why = self.found_earlier[match.name], self.alone.get(match.name)
            told = f", for {old:,} of them in what was imported before" if old else ""
            told += f"; {no:,} found none" if no else ""
            told += f"; only this file was searched: {why}" if why and no else ""
            notes.append(f"{match.name}: found for {yes:,} of {yes + no:,} groups{told}")
        return notes

    # From rows to groups

    def _keyed(self, rows: Iterable[Prepared | BadRow], sorting: Callable[[int], None]) -> Iterator[Keyed]:
        """Give each row the key of its group, as plain values; one that has none comes first, under an empty key."""
        key_of_group, last = self.layout.key_of, max(self.layout.by)
        for count, row in enumerate(rows, 1):
            if not count % _TOLD:
                sorting(count)
            if isinstance(row, BadRow):
                key = "" if len(row.cells) <= last else key_of_group(row.cells)
                yield key, row.number, (tuple(row.cells), (row.rule, row.message, row.column, row.value), True)
                continue
            number, cells, error = row
            key = key_of_group(cells)
            if not key and error is None:
                error = BadCell("key", "is empty, so the row belongs to no group; fill it in", column=self._by)
            yield key, number, (tuple(cells), None if error is None else fault_of(error), False)

    def _first(self, ordered: Iterable[Keyed], offers: Offers, later: Store) -> Iterator[list[Row | BadRow]]:
        """Make groups of rows, put off those that look for another group, and remember what those may find."""
        for key, found, too_many in by_key(ordered, MOST):
            if not key or too_many:
                yield [self._alone(each, key) for each in found]
                continue
            sample = next((cells for _, _, (cells, _, bad) in found if not bad), None)
            if sample is not None and any(finder.looks(sample) for finder in self.finders):
                later.append((key, found))
                continue
            group, bad = self._group(key, found, {})
            for finder in self.finders:
                offered = finder.offered([row.cells for row in group.rows if row.error is None])
                offers.add(finder.name, offered, named=finder.name in self.earlier)
            yield [*group.rows, *bad]

    def _matched(self, later: Iterable[tuple[str, list[Keyed]]], offers: Offers) -> Iterator[list[Row | BadRow]]:
        """Make the groups that were put off, each with what was found for it."""
        for key, found in later:
            rows = [cells for _, _, (cells, _, bad) in found if not bad]
            matched: dict[str, str] = {}
            for finder in self.finders:
                if finder.looks(rows[0]):
                    matched[finder.name] = self._found(finder, rows, offers)
            group, bad = self._group(key, found, matched)
            yield [*group.rows, *bad]

    def _found(self, finder: Finder, rows: Sequence[Cells], offers: Offers) -> str:
        """Return what was found for the rows of a group, in the file or in what is here already."""
        wanted, search = finder.wanted(rows), self.earlier.get(finder.name)
        in_file = partial(offers.has, finder.name)
        found = offers.find(finder.name, wanted, search.find(wanted, in_file) if search and wanted else {})
        self.found[finder.name, bool(found)] += 1
        if search and found and not in_file(found):
            self.found_earlier[finder.name] += 1
        return found

    def _alone(self, found: Keyed, key: str) -> Row | BadRow:
        """Return a row that is in no group: it has no key, or too many others have the same."""
        row = unpacked(found)
        if isinstance(row, Row):
            row.cells += ["", "", ""]
            if key and row.error is None:
                message = f"more than {MOST:,} rows have this key: is {self._by} what tells the groups apart?"
                row.error = BadCell("group", message, column=self._by, value=key[:80])
        return row

    def _group(self, key: str, found: Sequence[Keyed], matched: dict[str, str]) -> tuple[Group, list[BadRow]]:
        """Make a group of rows, in an order that does not depend on that of the file."""
        rows: list[Row] = []
        bad: list[BadRow] = []
        group = Group(key, rows, matched)
        turn, line_of = self._order + 1, self.layout.line_of
        for each in sorted(found, key=content_of):
            _, number, (cells, fault, is_bad) = each
            if is_bad or fault is not None:
                row = unpacked(each)
                if isinstance(row, BadRow):
                    bad.append(row)
                    continue
            else:
                row = Row(number, [*cells], 0, 0)
            self._order += 1
            row.group, row.turn, row.order, row.line = group, turn, self._order, line_of(cells)
            rows.append(row)
        self._once(group)
        self._count(group)
        if bad and not self.spec.keeps_rest:
            self._refuse(group, _because(bad[0].number, self._by, bad[0].message, key))
        fresh = [row for row in group.rows if row.error is not None]
        if fresh:
            self._act_on(group, fresh)
        self._arrange(group)
        group.at_first = frozenset(row.number for row in group.rows if row.error is not None)
        group.told = set(group.at_first)
        return group, bad

    def _count(self, group: Group) -> None:
        self.groups += 1
        self.rows += len(group.rows)
        if self.layout.line:
            self.repeated += len(group.rows) - len({row.line for row in group.rows})

    def _once(self, group: Group) -> None:
        """Count rows that are equal in every cell of the file, and do with them what the mapping says."""
        all_cells = [row.cells for row in group.rows]
        if not any(map(eq, all_cells, all_cells[1:])):  # they are in order, and computed cells follow from the others
            return
        kept: list[Row] = []
        known: dict[tuple[str, ...], int] = {}
        for row in group.rows:
            content = tuple(row.cells[: self.width])
            first = known.setdefault(content, row.number)
            if first == row.number:
                kept.append(row)
                continue
            self.equal += 1
            if self.spec.same_row == "once":
                self.skipped[EQUAL] += 1
                continue
            kept.append(row)
            if self.spec.same_row == "reject" and row.error is None:
                row.error = BadCell(
                    "same_row", f"is equal to row {first} in every cell; leave one of them out", value=group.key[:80]
                )
        group.rows = kept

    # From a group to its lines and its header

    def _act_on(self, group: Group, fresh: Sequence[Row]) -> bool:
        """Refuse the whole group, unless the mapping keeps the rest; say whether anything has to be done anew."""
        group.told |= {row.number for row in fresh}
        if self.spec.keeps_rest:
            return True
        first = min(fresh, key=attrgetter("number"))
        message = first.error.message if first.error is not None else ""
        return self._refuse(group, _because(first.number, self._by, message, group.key))

    def _refuse(self, group: Group, bad: BadCell) -> bool:
        others = [row for row in group.rows if row.error is None]
        for row in others:
            row.error = bad
        group.told = {row.number for row in group.rows}
        return bool(others)

    def _arrange(self, group: Group) -> None:
        """Put the marks, the counts of lines and the reduced cells into the rows; refuse what cannot be reduced."""
        while True:
            for row in group.rows:
                row.cells[self.layout.base :] = ["", "", ""]
            live = [row for row in group.rows if row.error is None]
            if not live:
                return
            try:
                self._fill(group, live)
                return
            except Unreadable as wrong:
                row = next(row for row in live if row.number == wrong.row)
                row.error = wrong.bad
                self._act_on(group, [row])
            except Disagreement as wrong:
                self._refuse(group, BadCell("group", str(wrong), column=wrong.column, value=group.key[:80]))

    def _fill(self, group: Group, live: Sequence[Row]) -> None:
        layout = self.layout
        lines = self._lines(live)
        heads = [live[0], *(line[0] for line in lines)] if self.spec.sums_lines else [live[0]]
        for row in heads:
            row.cells[layout.base :] = [""] * (layout.width - layout.base)
        for line in lines:
            self._fill_line(line)
        head = live[0]
        head.cells[layout.mark] += GROUP
        rows = [(row.number, row.cells) for row in live]
        for reduction in self.of_group:
            reduction.fill(rows, head.cells)
        head.cells[layout.lines] = digest_of_lines([row.line + row.cells[layout.nth] for line in lines for row in line])
        for name, place in layout.matched.items():
            head.cells[place] = group.matched.get(name, "")

    def _fill_line(self, line: Sequence[Row]) -> None:
        layout = self.layout
        if not self.spec.sums_lines:
            for count, row in enumerate(line, 1):
                row.cells[layout.mark] += LINE
                row.cells[layout.nth] = f"#{count}" if count > 1 else ""
            return
        line[0].cells[layout.mark] += LINE
        rows = [(row.number, row.cells) for row in line]
        for reduction in self.of_line:
            reduction.fill(rows, line[0].cells)

    def _lines(self, live: Sequence[Row]) -> list[list[Row]]:
        """Return the rows of each line; without `line` in the mapping there are none."""
        lines: dict[str, list[Row]] = {}
        for row in live if self.layout.line else ():
            lines.setdefault(row.line, []).append(row)
        return list(lines.values())

    @property
    def _by(self) -> str:
        return " + ".join(self.spec.by)


def _rows(count: int) -> str:
    return f"{count:,} row{' is' if count == 1 else 's are'}"


def _because(number: int, by: str, message: str, key: str) -> BadCell:
    told = f"row {number}, which belongs to the same {by}, is refused, and none is taken without it: {message}"
    return BadCell("group", told, column=by, value=key[:80])
