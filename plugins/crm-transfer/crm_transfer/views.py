"""The columns as rows, groups and lines see them, and the stage that fills them, made ready for one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crm_transfer.cells import number_reader
from crm_transfer.columns import Cells, Columns
from crm_transfer.computing import ComputedColumn
from crm_transfer.conditions import Condition, Holds, columns_asked, holds
from crm_transfer.errors import MappingError
from crm_transfer.expressions import Expression, columns_read
from crm_transfer.grouping import Layout, Level, Match, Per, check_per
from crm_transfer.mapping import FileForm, RowMapping
from crm_transfer.matching import Finder
from crm_transfer.operations import Scope, compiled
from crm_transfer.staging import GROUP, LINE, Grouping, Rule, Stage


class Views:
    """What a mapping says of rows before records are made of them: its computed columns, rules and groups."""

    def __init__(self, mapping: RowMapping, columns: Columns, zone: ZoneInfo) -> None:
        """Compute columns behind those of the file, and lay groups out behind them.

        Raises:
            MappingError: a column that is named is not there, or an expression cannot be computed.
        """
        form = mapping.form
        self._mapping = mapping
        self._columns = columns
        self._zone = zone_named(form.zone, "[file] zone", zone)
        self._width = len(columns)
        self.number = number_reader(form.decimal, form.thousands)
        self._computed = [self._compute(name, each, columns) for name, each in mapping.computed]
        self._rules = [
            Rule(rule.name, holds(rule.when, columns, self.number), rule.reject) for rule in mapping.rules
        ]  # fmt: skip
        group = mapping.group
        self.layout = None if group is None else Layout(columns, group, self.scope(columns))
        self._finders = [self._finder(match, columns) for match in group.matches] if group is not None else []

    def scope(self, columns: Columns) -> Scope:
        """Return what expressions over these columns are compiled against."""
        form: FileForm = self._mapping.form
        return Scope(columns=columns, decimal=form.decimal, thousands=form.thousands, dates=form.dates, zone=self._zone)

    def of(self, per: Per, place: str) -> Columns:
        """Return the columns as a record sees them that is made per row, group or line.

        Raises:
            MappingError: the mapping has no groups, or no lines.
        """
        check_per(per, self._mapping.group, place)
        if self.layout is None or per == "row":
            return self._columns
        if per == "group":
            return self.layout.group
        return self._columns if self.layout.per_line is None else self.layout.per_line

    def applies(self, when: Sequence[Condition], per: Per, columns: Columns) -> Holds | None:
        """Return which rows make a record or count for a check; None means all."""
        meets = holds(when, columns, self.number) if when else None
        if self.layout is None or per == "row":
            return meets
        at, mark = self.layout.mark, GROUP if per == "group" else LINE
        if meets is None:
            return lambda cells: mark in cells[at]
        return lambda cells: mark in cells[at] and meets(cells)

    def key(self, read: Callable[[Cells], str], per: Per) -> Callable[[Cells], str]:
        """Return the key of a record: that of a second line of the same product ends in its count."""
        if self.layout is None or per != "line":
            return read
        nth = self.layout.nth

        def counted(cells: Cells) -> str:
            found = read(cells)
            return found + cells[nth] if found else ""

        return counted

    def stage(self) -> Stage | None:
        """Return the stage, None when the mapping needs none; every record has been compiled by now."""
        if not (self._computed or self._rules or self.layout):
            return None
        stage = Stage(computed=self._computed, rules=self._rules)
        group = self._mapping.group
        if self.layout is not None and group is not None:
            lines: Level | None = self.layout.per_line
            stage.grouping = Grouping(
                spec=group,
                layout=self.layout,
                width=self._width,
                of_group=self.layout.group.reductions,
                of_line=lines.reductions if lines is not None else (),
                finders=self._finders,
                skipped=stage.skipped,
            )
        return stage

    def _compute(self, name: str, each: Expression, columns: Columns) -> ComputedColumn:
        made = compiled(each, self.scope(columns))
        places = [columns.index(read, each.place) for read in columns_read(each)]
        columns.add(name, made.kind, f"{self._mapping.name}: [columns]")
        return ComputedColumn(made.read, places)

    def _finder(self, match: Match, columns: Columns) -> Finder:
        at = columns.index(match.latest, f"{match.place}: latest")
        return Finder(
            name=match.name,
            looks=holds(match.when, columns, self.number),
            among=holds(match.among, columns, self.number),
            same=[columns.index(name, f"{match.place}: same") for name in match.same],
            latest=at,
            gives=columns.index(match.gives, f"{match.place}: gives"),
            instant=self.scope(columns).instant(columns.kind_of(at)),
            asked={name: columns.index(name, f"{match.place}: among") for name in columns_asked(match.among)},
        )


def zone_named(name: str, place: str, default: ZoneInfo) -> ZoneInfo:
    """Return a time zone by its name.

    Raises:
        MappingError: there is none of that name.
    """
    try:
        return ZoneInfo(name) if name else default
    except (ZoneInfoNotFoundError, ValueError):
        raise MappingError(f"{place}: {name!r} is no time zone", hint='such as "Asia/Tehran"') from None
