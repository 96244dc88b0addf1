"""What a metric answers: rows with value, parts, exclusions and policy, their JSON and their table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

import attrs

from crm_core.extend.metric import Unit
from crm_core.values import Bounds, money_text

Number = int | float
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_LTR_ISOLATE: Final = ("\u2068", "\u2069")


@attrs.frozen
class GroupKey:
    """A value of a dimension: `id` is a record's id as text, or the value itself; None is missing."""

    id: str | int | bool | None
    label: str

    def to_json(self) -> dict[str, Any]:
        """Return `{"id", "label"}`."""
        return {"id": self.id, "label": self.label}


@attrs.frozen(kw_only=True)
class Comparison:
    """Before and after a day: the values of equal windows on both sides, and how they differ; None where undefined."""

    before: Number | None
    after: Number | None
    delta: Number | None
    delta_percent: Number | None


@attrs.frozen(kw_only=True)
class Result:
    """One number: `value` in major units of money or in days, its parts, and everything needed to trust it.

    `exact` is the value as a fraction. `undefined` says why there is none. `excluded` counts rows left out by reason,
    `flagged` rows that count but are doubtful, `policy` the settings applied, `incomplete` says why the window is not
    whole.

    Where a group has one row per currency, a record that belongs to none (its amount is unknown) is counted in one of
    these rows alone: that of the workspace's currency, or the first where that is not among them. So the counts of all
    rows of a metric may be added up.
    """

    metric: str
    label: str
    unit: Unit
    period: Bounds | None = None
    group: Mapping[str, GroupKey] = _NOTHING
    currency: str | None = None
    exact: Fraction | None = None
    numerator: Number | None = None
    denominator: Number | None = None
    undefined: str | None = None
    excluded: Mapping[str, int] = _NOTHING
    flagged: Mapping[str, int] = _NOTHING
    policy: Mapping[str, Any] = _NOTHING
    incomplete: str | None = None
    comparison: Comparison | None = None

    @property
    def value(self) -> Number | None:
        """The value as a plain number, not rounded."""
        return None if self.exact is None else number(self.exact)

    @property
    def text(self) -> str:
        """The value for a person, rounded: `63.2%`, `1,200.00 EUR`, `51.8 days`; "-" when undefined."""
        return shown(self.value, self.unit, self.currency)

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON data; numbers are not rounded."""
        row: dict[str, Any] = {
            "metric": self.metric,
            "period": period_json(self.period),
            "group": {name: key.to_json() for name, key in self.group.items()},
            "value": self.value,
            "numerator": self.numerator,
            "denominator": self.denominator,
            "currency": self.currency,
            "unit": self.unit,
            "undefined": self.undefined,
            "excluded": dict(self.excluded),
            "flagged": dict(self.flagged),
            "policy": dict(self.policy),
            "incomplete": self.incomplete,
        }
        if self.comparison is not None:
            row |= attrs.asdict(self.comparison)
        return row


@attrs.frozen
class Results(Sequence[Result]):
    """The rows that answer one call, and `notes`: sentences on what is missing."""

    rows: tuple[Result, ...]
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Result]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rows as plain JSON data."""
        return [row.to_json() for row in self.rows]

    def remarks(self) -> list[str]:
        """Return what the rows say of themselves: what was left out, what is doubtful, what is not whole."""
        left_out: Counter[tuple[str, str]] = Counter()
        doubtful: Counter[tuple[str, str]] = Counter()
        for row in self.rows:
            left_out.update({(row.label, reason): count for reason, count in row.excluded.items()})
            doubtful.update({(row.label, reason): count for reason, count in row.flagged.items()})
        said = [f"{label}: {count:,} left out: {reason}" for (label, reason), count in left_out.items()]
        said += [f"{label}: {count:,} counted, but doubtful: {reason}" for (label, reason), count in doubtful.items()]
        return said + list(dict.fromkeys(row.incomplete for row in self.rows if row.incomplete))

    def in_several_currencies(self) -> frozenset[str]:
        """Return the names of the metrics that have rows of several currencies."""
        pairs = {(row.metric, row.currency) for row in self.rows if row.currency}
        return frozenset(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the headings and cells of the table that shows these rows to a person.

        Where a metric has rows of several currencies, each row names its own.
        """
        dimensions = list(dict.fromkeys(name for row in self.rows for name in row.group))
        with_period = len({row.period for row in self.rows}) > 1
        compared = any(row.comparison for row in self.rows)
        with_currency = bool(self.in_several_currencies())
        head = ["metric", *(["period"] if with_period else []), *dimensions, *(["currency"] if with_currency else [])]
        head += ["before", "after", "change", "change %"] if compared else ["value", "of", "why undefined"]
        if not compared and not any(row.undefined for row in self.rows):
            head.pop()
        cells = []
        for row in self.rows:
            line = [row.label]
            if with_period:
                line.append(row.period.name if row.period else "all time")
            line += [_isolated(row.group[name].label) if name in row.group else "" for name in dimensions]
            if with_currency:
                line.append(row.currency or "")
            line += _compared(row) if compared else [row.text, _parts(row), row.undefined or ""]
            cells.append(line[: len(head)])
        return head, cells

    def __str__(self) -> str:
        head, cells = self.table()
        widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [head, *cells]
        ]
        if not cells:
            lines = []
        return "\n".join([*lines, *(f"note: {note}" for note in [*self.remarks(), *self.notes])])


@attrs.frozen(kw_only=True)
class Explanation:
    """How a number comes about: formula, plugin and version, the SQL that ran, and the rows behind it.

    `row_type` is the record type of the rows behind the number, `rows` how many there are, `row_ids` the first of them.
    """

    metric: str
    label: str
    formula: str
    population: str
    traps: str
    example: str
    plugin: str
    distribution: str
    version: str
    policy: Mapping[str, Any]
    statements: tuple[str, ...]
    row_type: str
    rows: int
    row_ids: tuple[int, ...]
    results: Results


def number(exact: Fraction) -> Number:
    """Return a fraction as an `int` when it is whole, else as the nearest `float`."""
    return int(exact) if exact.denominator == 1 else float(exact)


def shown(value: Number | None, unit: Unit, currency: str | None) -> str:
    """Return a number for a person: rounded, with its unit.

    >>> shown(0.631501, "ratio", None), shown(1200, "money", "EUR"), shown(51.782, "days", None)
    ('63.2%', '1,200.00 EUR', '51.8 days')
    """
    if value is None:
        return "-"
    if unit == "ratio":
        return f"{value:.1%}"
    if unit == "days":
        return f"{value:,.1f} days"
    if unit == "count":
        return f"{value:,}"
    text = money_text(value, currency) if currency else f"{value:,.2f}"
    return f"{text} a day" if unit == "money_per_day" else text


def period_json(period: Bounds | None) -> dict[str, Any] | None:
    """Return `{"name", "start", "end"}`, ends as ISO 8601 or null where open; None for all time."""
    if period is None:
        return None

    def iso(at: datetime | None) -> str | None:
        return None if at is None else at.isoformat()

    return {"name": period.name, "start": iso(period.start), "end": iso(period.end)}


def _compared(row: Result) -> list[str]:
    if row.comparison is None:
        return ["", "", "", ""]
    both = row.comparison
    percent = "-" if both.delta_percent is None else f"{both.delta_percent:+.1f}%"
    delta = shown(both.delta, row.unit, row.currency)
    if row.unit == "ratio" and both.delta is not None:
        delta = f"{float(both.delta) * 100:+.1f} points"
    return [shown(both.before, row.unit, row.currency), shown(both.after, row.unit, row.currency), delta, percent]


def _parts(row: Result) -> str:
    if row.numerator is None or row.denominator is None:
        return ""
    return f"{row.numerator:,.10g} / {row.denominator:,.10g}" if row.unit != "count" else ""


def _isolated(label: str) -> str:
    return label if label.isascii() else _LTR_ISOLATE[0] + label + _LTR_ISOLATE[1]
