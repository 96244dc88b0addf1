"""Pages of a list: whatever its order, an index is read from the place where the page begins, as far as it has one.

No index has values in descending order with ids in ascending order behind equal ones; and MariaDB has none of the whole
of a long text, nor sorts on what comes in the order of an index. Such a list is read by values: which ones come next,
then the rows that have them, and those of the last value, which may be many, by id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from crm_core.query.ast import Expression, SortKey
from crm_core.records.schema import Primitive, Row
from crm_storage_sql.dialect import PREFIX, leads_index, quote
from crm_storage_sql.where import Clauses

Read = Callable[[str, Sequence[Any]], list[Row]]


@attrs.frozen(kw_only=True)
class Listing:
    """A list of one table: `clauses` makes new ones for each statement, `columns` is what stands behind SELECT."""

    clauses: Callable[[], Clauses]
    read: Read
    columns: str
    where: Expression | None
    sort: Sequence[SortKey]

    def page(self, after: Sequence[Primitive], limit: int | None) -> list[Row]:
        """Return the rows behind a place (sort values and id), at most `limit`; without a first value they are last."""
        if not self.sort:
            return self._rows(lambda c: [c.after((), after)] if after else [], "t0.id", limit)
        if after and after[0] is None:
            return self._without_value(after, limit)
        if limit is not None and self._goes_by_values():
            rows = self._by_values(after, limit)
        elif after or self.clauses().dialect.splits_nulls:
            rows = self._with_value(after, limit)
        else:
            return self._rows(lambda _: [], self.clauses().order(self.sort), limit)
        if limit is not None and len(rows) >= limit:
            return rows
        # A second read, because one condition for both has no index.
        return rows + self._without_value((), None if limit is None else limit - len(rows))

    def _with_value(self, after: Sequence[Primitive], limit: int | None) -> list[Row]:
        def conditions(clauses: Clauses) -> list[str]:
            if not after:
                return [f"{clauses.lead(self.sort[0].column)} IS NOT NULL"]
            return [clauses.after_known(self.sort, after, unindexed=self.where is None and not self._has_index())]

        return self._rows(conditions, self.clauses().order(self.sort, first_is_known=True), limit)

    def _without_value(self, after: Sequence[Primitive], limit: int | None) -> list[Row]:
        rest = self.sort[1:]

        def conditions(clauses: Clauses) -> list[str]:
            unknown = f"{clauses.lead(self.sort[0].column)} IS NULL"
            return [unknown, clauses.after(rest, after[1:])] if after else [unknown]

        return self._rows(conditions, self.clauses().order(rest), limit)

    # By values

    def _goes_by_values(self) -> bool:
        return (self.sort[0].descending or not self.clauses().dialect.sorts_on) and self._has_index()

    def _has_index(self) -> bool:
        clauses = self.clauses()
        return leads_index(clauses.table, self.sort[0].column, clauses.dialect.index_bytes)

    def _by_values(self, after: Sequence[Primitive], limit: int) -> list[Row]:
        rows = self._of_value(after[0], after, limit) if after else []
        last = after[0] if after else None
        while len(rows) < limit:
            values = self._values(last, limit - len(rows))
            if not values:
                break
            end = values[-1]
            if values[0] != end:
                rows += self._between(last, end, limit - len(rows))
            rows += self._of_value(end, (), limit - len(rows))
            last = end
        return rows[:limit]

    def _values(self, last: Primitive, limit: int) -> list[Primitive]:
        """Return the first values of the next rows, in order; of a text that an index has in part, that part."""
        clauses = self.clauses()
        lead = clauses.lead(self.sort[0].column)
        order = f"{lead} {'DESC' if self.sort[0].descending else 'ASC'}"
        return [row[0] for row in self._rows(lambda c: [self._beyond(c, last)], order, limit, columns=lead)]

    def _between(self, last: Primitive, end: Primitive, limit: int) -> list[Row]:
        def conditions(clauses: Clauses) -> list[str]:
            beyond = self._beyond(clauses, last)
            clauses.parameters.append(end)
            before = ">" if self.sort[0].descending else "<"
            return [beyond, f"{clauses.lead(self.sort[0].column)} {before} {clauses.dialect.mark}"]

        return self._rows(conditions, self.clauses().order(self.sort, first_is_known=True), limit)

    def _of_value(self, value: Primitive, after: Sequence[Primitive], limit: int) -> list[Row]:
        """Return rows with one first value, or, where an index has but the beginning of it, with that beginning."""
        whole = not isinstance(value, str) or len(value) < PREFIX or not self.clauses().is_cut(self.sort[0].column)
        rest = self.sort[1:] if whole else self.sort

        def conditions(clauses: Clauses) -> list[str]:
            clauses.parameters.append(_part(clauses, self.sort[0].column, value))
            same = f"{clauses.lead(self.sort[0].column)} = {clauses.dialect.mark}"
            if not after:
                return [same]
            return [same, clauses.after(rest, after[1:]) if whole else clauses.after_known(rest, after)]

        return self._rows(conditions, self.clauses().order(rest, first_is_known=not whole), limit)

    def _beyond(self, clauses: Clauses, last: Primitive) -> str:
        lead = clauses.lead(self.sort[0].column)
        if last is None:
            return f"{lead} IS NOT NULL"
        clauses.parameters.append(_part(clauses, self.sort[0].column, last))
        return f"{lead} {'<' if self.sort[0].descending else '>'} {clauses.dialect.mark}"

    def _rows(
        self, place: Callable[[Clauses], list[str]], order: str, limit: int | None, *, columns: str = ""
    ) -> list[Row]:
        clauses = self.clauses()
        conditions = [] if self.where is None else [f"({clauses.condition(self.where)})"]
        conditions += place(clauses)
        statement = f"SELECT {columns or self.columns} FROM {quote(clauses.table.name)} t0"
        if conditions:
            statement += " WHERE " + " AND ".join(conditions)
        statement += f" ORDER BY {order}"
        if limit is not None:
            statement += f" LIMIT {clauses.dialect.mark}"
            clauses.parameters.append(limit)
        return self.read(statement, clauses.parameters)


def _part(clauses: Clauses, column: str, value: Primitive) -> Primitive:
    """Return of a value what an index has of it."""
    return value[:PREFIX] if isinstance(value, str) and clauses.is_cut(column) else value
