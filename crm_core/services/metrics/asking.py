"""The question one metric answers: a `Question` with the metric's dimensions and the caller's filter."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import func, select

from crm_core.errors import UsageError
from crm_core.extend.metric import Cell, Metric
from crm_core.query.bind import bind
from crm_core.query.question import Question
from crm_core.query.sql import to_clause
from crm_core.query.text import parse
from crm_core.services.metrics.dimensions import dimension, join_dimensions
from crm_core.values import Bounds

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause


@attrs.frozen(kw_only=True)
class Asked:
    """What a caller asked of all metrics of one call."""

    by: tuple[str, ...] = ()
    where: str | None = None
    buckets: tuple[Bounds, ...] = (Bounds(None, None, "all time"),)
    now: datetime
    present: bool = True
    compared: bool = False


@attrs.frozen
class _Places:
    """How many columns of a row are dimensions, further keys, and keys in all."""

    by: int
    also: int
    keys: int


class MetricQuestion(Question):
    """What a metric's `compute` receives; see `crm_core.extend.MetricQuery`."""

    def __init__(
        self, crm: Any, metric: Metric, asked: Asked, memory: dict[Hashable, Any], known: set[Hashable]
    ) -> None:
        super().__init__(crm, asked.buckets, asked.now, memory, known, until_now=not asked.present)
        self.metric = metric
        self.where = asked.where
        self.asked_by = asked.by
        self.compared = asked.compared
        self._present = asked.present
        self.by = tuple(dict.fromkeys([*metric.intrinsic, *asked.by]))
        if (
            metric.per_pipeline
            and "pipeline" not in self.by
            and self.once("several pipelines", self._several_pipelines)
        ):
            self.by = ("pipeline", *self.by)

    def joined(self, base: str, source: FromClause | None = None) -> tuple[FromClause, list[ColumnElement[Any]]]:
        """Return `base`'s table (or `source`, which holds it) joined as `by` needs, and a column per dimension."""
        wanted = [dimension(self.crm.registry, base, name) for name in self.by]
        return join_dimensions(self, base, wanted, source)

    def filters(self, base: str) -> list[ColumnElement[bool]]:
        """Return the conditions of the caller's `where` on `base`, to be put into a select."""
        if not self.where:
            return []
        kind = self.crm.registry.named(base)
        try:
            expression = bind(
                parse(self.where),
                kind,
                registry=self.crm.registry,
                resolve=self.crm.resolve,
                currency=self.crm.settings.currency,
            )
        except UsageError as error:
            raise UsageError(
                f"{self.metric.name} is made of {kind.plural}: {error.message}", hint=error.hint
            ) from error
        return [to_clause(expression, self.tables[kind.plural])]

    def cells(
        self,
        columns: Sequence[ColumnElement[Any]],
        *,
        base: str = "",
        source: FromClause | None = None,
        where: Sequence[ColumnElement[bool]] = (),
        time: ColumnElement[Any] | None = None,
        currency: ColumnElement[Any] | None = None,
        also: Sequence[ColumnElement[Any]] = (),
        instead: Mapping[str, ColumnElement[Any]] = MappingProxyType({}),
    ) -> list[Cell]:
        """Select integer aggregates by dimension, bucket of `time` and `currency`; the caller's filter is applied.

        Currencies are told apart only where there are several: grouping by them costs a sort of all rows.
        """
        joined, dimensions = self.joined(base or self.metric.base, source)
        keys = [instead.get(name, column) for name, column in zip(self.by, dimensions, strict=True)]
        keys = [key.label(f"g{at}") for at, key in enumerate([*keys, *also])]
        conditions = [*where, *self.filters(base or self.metric.base)]
        if time is not None:
            conditions += self.within(time)
            if len(self.buckets) > 1:
                keys.append(self.bucket(time).label("b"))
        named = [column.label(f"a{at}") for at, column in enumerate(columns)]
        statement = select(*keys, *named).select_from(joined).where(*conditions).group_by(*keys)
        first = _Places(len(self.by), len(also), len(keys))
        if currency is None:
            return self._read(self.run(statement), len(columns), first)
        key = ("several currencies", str(currency))
        if key not in self.known:
            ends = [func.min(currency).label("low"), func.max(currency).label("high")]
            rows = self.run(statement.add_columns(*ends))
            if all(row[-2] == row[-1] and self._needs_no_rate(row[-1]) for row in rows):
                return self._read(rows, len(columns), first)
            self.known.add(key)
        keys = [currency.label("c")]
        if time is not None and self.reporting_currency and self.has_intervals:
            keys.append(self.interval(time).label("i"))
        return self._read(self.run(statement.add_columns(*keys).group_by(*keys)), len(columns), first)

    def _read(self, rows: Iterable[tuple[Any, ...]], width: int, places: _Places) -> list[Cell]:
        last, after = places.by + places.also, places.keys + width
        return [
            Cell(
                group=row[: places.by],
                also=row[places.by : last],
                bucket=row[last] if places.keys > last else 0,
                currency=row[after] if len(row) > after else None,
                interval=row[after + 1] if len(row) > after + 1 and isinstance(row[after + 1], int) else 0,
                values=tuple(value or 0 for value in row[places.keys : after]),
            )
            for row in rows
        ]

    def is_present(self, bucket: Bounds) -> bool:
        """Whether a stock of the bucket is taken now, from the records as they are, and not at a moment of the past."""
        return self._present and self.instant(bucket) == self.as_of

    def _needs_no_rate(self, currency: str | None) -> bool:
        return currency is None or self.reporting_currency in (None, currency)

    def _several_pipelines(self) -> bool:
        # Three look-ups at the ends of an index, where DISTINCT would read all of it.
        column = self.tables.deals.c.pipeline
        known = select(column).where(column.is_not(None))
        ends = [self.run(known.order_by(order).limit(1)) for order in (column.asc(), column.desc())]
        if not ends[0]:
            return False
        unknown = self.run(select(self.tables.deals.c.id).where(column.is_(None)).limit(1))
        return ends[0] != ends[1] or bool(unknown)


Ask = Callable[[Metric], MetricQuestion]
