"""Segments: how a plugin divides customers into named groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import attrs

if TYPE_CHECKING:
    from fractions import Fraction

    from sqlalchemy import ColumnElement, FromClause, Select

    from crm_core.query.policies import Policies
    from crm_core.query.tables import Tables


@attrs.frozen(kw_only=True)
class Parameter:
    """A setting of one run: `parse` turns text from the command line into the value, or raises `InvalidValue`."""

    name: str
    default: Any
    help: str
    parse: Callable[[str], Any]


class Assignment(NamedTuple):
    """A customer's place in a segment: the label, and the integer score it was given for (money in minor units)."""

    customer_id: int
    label: str
    score: int | None = None


@attrs.frozen(kw_only=True)
class Division:
    """What a segment gives: assignments in the order to show them, the unit of their scores, and notes for a person."""

    assignments: tuple[Assignment, ...]
    unit: Literal["money", "count", "days"] = "money"
    currency: str | None = None
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Segment:
    """A way to divide customers: `assign` receives a `SegmentQuery` and returns who belongs where.

    `labels` fixes the order in which a summary shows the groups.
    """

    name: str
    label: str
    help: str
    labels: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    policies: tuple[str, ...] = ()
    assign: Callable[[SegmentQuery], Division]


class SegmentQuery(Protocol):
    """What a segment's `assign` receives: its parameters, the period, and building blocks for SQL of the closed set.

    `start` and `end` bound the period in microseconds, None where open; `as_of` is "now" in microseconds.
    """

    segment: Segment
    params: Mapping[str, Any]
    tables: Tables
    policies: Policies
    start: int | None
    end: int | None
    as_of: int
    crm: Any

    @property
    def reporting_currency(self) -> str | None:
        """The currency that all amounts are turned into, None when the workspace has none."""

    def run(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        """Run an analytic select."""

    def within(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        """Return the conditions that keep a moment inside the period."""

    def unit_of(self, source: FromClause, column: ColumnElement[Any]) -> tuple[FromClause, ColumnElement[Any]]:
        """Return `source` and the column of who counts for the customer in `column`, by the policy `customer_unit`."""

    def interval(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the number of the stretch of days with one exchange rate that a moment lies in."""

    def rate(self, currency: str, interval: int) -> Fraction:
        """Return what one minor unit of `currency` is worth in minor units of the reporting currency in that stretch.

        Raises:
            UsageError: there is no rate; the message names currency and day.
        """
