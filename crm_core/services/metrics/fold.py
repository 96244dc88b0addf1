"""From measures to results: cells added up, amounts converted, values divided exactly, gaps given their reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

import attrs

from crm_core.errors import UsageError
from crm_core.extend.metric import Measure, Metric, Unit
from crm_core.services.metrics.asking import MetricQuestion
from crm_core.services.metrics.dimensions import dimension, label_groups
from crm_core.services.metrics.results import GroupKey, Result, number
from crm_core.services.metrics.spans import is_beyond
from crm_core.values import Bounds, exponent, from_micros

_DAY: Final = 86_400_000_000
_MONEY: Final = frozenset({"money", "money_per_day"})


@attrs.define
class _Cell:
    numerator: Fraction = Fraction(0)
    denominator: Fraction = Fraction(0)
    known: bool = False
    undefined: str = ""
    incomplete: str = ""
    excluded: Counter[str] = attrs.field(factory=Counter)
    flagged: Counter[str] = attrs.field(factory=Counter)
    told_elsewhere: _Cell | None = None

    def add(self, measure: Measure, factors: tuple[Fraction, Fraction]) -> None:
        self.numerator += measure.numerator * factors[0]
        self.denominator += measure.denominator * factors[1]
        self.undefined = self.undefined or measure.undefined
        self.incomplete = self.incomplete or measure.incomplete
        self.excluded.update(measure.excluded)
        self.flagged.update(measure.flagged)

    def join(self, other: _Cell, *, tells: bool) -> None:
        """Take in what belongs to no currency; its counts are told by one cell of a group, so that they add up."""
        self.numerator += other.numerator
        self.denominator += other.denominator
        self.undefined = self.undefined or other.undefined
        self.incomplete = self.incomplete or other.incomplete
        if tells:
            self.excluded.update(other.excluded)
            self.flagged.update(other.flagged)
        else:
            self.told_elsewhere = other

    def counts(self) -> Counter[str]:
        """Return everything left out or doubtful that bears on this cell, also what another cell tells."""
        found = self.excluded | self.flagged
        return found + self.told_elsewhere.counts() if self.told_elsewhere else found


def is_money(metric: Metric) -> bool:
    """Whether some part of a metric is an amount, so that it has a currency."""
    return not _MONEY.isdisjoint({metric.unit, *units(metric)})


def units(metric: Metric) -> tuple[Unit, Unit]:
    """Return the units of numerator and denominator."""
    usual: Mapping[Unit, Unit] = {"ratio": "count", "money_per_day": "money"}
    return metric.numerator_unit or usual.get(metric.unit, metric.unit), metric.denominator_unit


def is_divided(metric: Metric) -> bool:
    """Whether the value is numerator over denominator; a flow and a stock are the numerator itself."""
    return metric.kind not in ("flow", "stock")


def inside(period: str) -> str:
    """Return a period's name as it ends a sentence.

    >>> inside("2017-Q2"), inside("until 2017-03-31")
    ('in 2017-Q2', 'until 2017-03-31')
    """
    return period if period.startswith(("until ", "since ")) else f"in {period}"


def fold(metric: Metric, question: MetricQuestion, measures: Iterable[Measure]) -> list[Result]:
    """Return the results of one metric: by bucket, then by group in the order of their labels."""
    cells: dict[tuple[tuple[Any, ...], int], dict[str | None, _Cell]] = {}
    for measure in measures:
        currency, factors, missing = _factors(metric, question, measure)
        cell = cells.setdefault((measure.group, measure.bucket), {}).setdefault(currency, _Cell())
        if missing and (measure.numerator or measure.denominator):
            cell.undefined = cell.undefined or missing
        cell.add(measure, factors)
    groups = list(dict.fromkeys(group for group, _ in cells)) or ([] if question.by else [()])
    names, labels = _labels(metric, question, groups)
    ordered = sorted(groups, key=lambda group: _order(question, labels[group]))
    currencies = _currencies(metric, question, cells)
    results = []
    for at, bucket in enumerate(question.buckets):
        for group in ordered:
            shown_in = currencies.get(group) or currencies[None]
            found = _by_currency(cells.get((group, at), {}), shown_in, _usual_currency(question))
            shown = {name: labels[group][name] for name in names}
            results += [_result(metric, question, bucket, shown, currency, cell) for currency, cell in found.items()]
    return results


def _factors(
    metric: Metric, question: MetricQuestion, measure: Measure
) -> tuple[str | None, tuple[Fraction, Fraction], str]:
    one = Fraction(1)
    if not is_money(metric):
        return None, (one, one), ""
    reporting = question.reporting_currency
    if reporting is None or measure.currency is None:
        return measure.currency, (one, one), ""
    try:
        if metric.kind == "stock":
            day = from_micros(question.instant(question.buckets[measure.bucket])).astimezone(question.crm.zone).date()
            rate = question.rate_on(measure.currency, day)
        else:
            rate = question.rate(measure.currency, measure.interval)
    except UsageError as error:
        return reporting, (Fraction(0), Fraction(0)), error.message
    first, second = (rate if unit in _MONEY else one for unit in units(metric))
    return reporting, (first, second), ""


def _currencies(
    metric: Metric, question: MetricQuestion, cells: Mapping[tuple[tuple[Any, ...], int], Mapping[str | None, _Cell]]
) -> dict[tuple[Any, ...] | None, list[str | None]]:
    """Return the currencies to show for each group, and under None for a group without any."""
    if not is_money(metric):
        return {None: [None]}
    found: dict[tuple[Any, ...] | None, set[str]] = {}
    for (group, _), by_currency in cells.items():
        found.setdefault(group, set()).update(code for code in by_currency if code is not None)
    seen = set().union(*found.values())
    usual = _usual_currency(question)
    shown: dict[tuple[Any, ...] | None, list[str | None]] = {group: [*sorted(codes)] for group, codes in found.items()}
    return {**shown, None: [*seen] if len(seen) == 1 else [usual]}


def _usual_currency(question: MetricQuestion) -> str | None:
    usual: str | None = question.reporting_currency or question.crm.settings.currency
    return usual


def _by_currency(
    found: Mapping[str | None, _Cell], currencies: list[str | None], usual: str | None
) -> dict[str | None, _Cell]:
    """Return a cell per currency.

    What belongs to none, such as unknown amounts, bears on each of them, but is counted in one alone: that of the
    usual currency, or the first where that is not among them.
    """
    if currencies == [None]:
        return {None: found.get(None, _Cell())}
    telling = usual if usual in currencies else currencies[0]
    cells = {}
    for currency in currencies:
        cells[currency] = cell = found.get(currency) or _Cell()
        cell.known = currency in found
        if None in found:
            cell.join(found[None], tells=currency == telling)
    return cells


def _labels(
    metric: Metric, question: MetricQuestion, groups: list[tuple[Any, ...]]
) -> tuple[list[str], Mapping[tuple[Any, ...], dict[str, GroupKey]]]:
    wanted = [dimension(question.crm.registry, metric.base, name) for name in question.by]
    names = list(question.by)
    added = metric.per_pipeline and names[:1] == ["pipeline"] and "pipeline" not in question.asked_by
    if added and len({group[0] for group in groups}) == 1:
        names = names[1:]
    return names, label_groups(question, wanted, groups)


def _order(question: MetricQuestion, keys: Mapping[str, GroupKey]) -> list[tuple[int, int, str]]:
    order = []
    for name, key in keys.items():
        place = _place_of_stage(question, keys, key) if name == "stage" else 0
        order.append((1 if key.id is None else 0, place, key.label.casefold()))
    return order


def _place_of_stage(question: MetricQuestion, keys: Mapping[str, GroupKey], key: GroupKey) -> int:
    beside = keys.get("pipeline")
    for pipeline in question.crm.pipelines.values():
        names = [stage.name for stage in pipeline.stages]
        if key.id in names and (beside is None or beside.id == pipeline.name):
            return names.index(str(key.id))
    return 999


def _result(
    metric: Metric,
    question: MetricQuestion,
    bucket: Bounds,
    group: Mapping[str, GroupKey],
    currency: str | None,
    cell: _Cell,
) -> Result:
    above, below = units(metric)
    numerator = _in_shown_units(cell.numerator, above, currency)
    denominator = _in_shown_units(cell.denominator, below, currency)
    undefined = cell.undefined or _undefined(metric, question, bucket, cell)
    divided = is_divided(metric)
    exact = None if undefined else numerator / denominator if divided else numerator
    return Result(
        metric=metric.name,
        label=metric.label,
        unit=metric.unit,
        period=None if bucket.start is None and bucket.end is None else bucket,
        group=group,
        currency=currency,
        exact=exact,
        numerator=number(numerator),
        denominator=number(denominator) if divided else None,
        undefined=undefined or None,
        excluded=_excluded(metric, cell),
        flagged={reason: count for reason, count in cell.flagged.items() if count},
        policy=question.policies.shown(metric.policies),
        incomplete=_incomplete(question, bucket) or cell.incomplete or None,
    )


def _in_shown_units(exact: Fraction, unit: Unit, currency: str | None) -> Fraction:
    if unit == "days":
        return exact / _DAY
    if unit in _MONEY and currency:
        return exact / Fraction(10) ** exponent(currency)
    return exact


def _undefined(metric: Metric, question: MetricQuestion, bucket: Bounds, cell: _Cell) -> str:
    if metric.undefined_when:
        counts = dict.fromkeys([*metric.excluded, *metric.flagged], 0) | cell.counts()
        counts |= {"numerator": int(cell.numerator), "denominator": int(cell.denominator)}
        reason = metric.undefined_when(counts)
        if reason:
            return reason
    nothing = cell.denominator == 0 if is_divided(metric) else is_money(metric) and not cell.known
    if not nothing:
        return ""
    left_out = [f"{count:,} {reason}" for reason, count in _excluded(metric, cell).items()]
    if left_out:
        return f"nothing to count: {', '.join(left_out)}"
    if cell.told_elsewhere and any(cell.told_elsewhere.excluded.values()):
        return "nothing to count: what was left out has no currency"
    return (
        f"no {metric.subject} {inside(bucket.name)}"
        if is_divided(metric) or is_beyond(metric, question, bucket)
        else ""
    )


def _excluded(metric: Metric, cell: _Cell) -> dict[str, int]:
    """Return what was left out, in the order of the declaration: databases group rows in orders of their own."""
    declared = [reason for reason in metric.excluded if cell.excluded[reason]]
    others = sorted(reason for reason, count in cell.excluded.items() if count and reason not in metric.excluded)
    return {reason: cell.excluded[reason] for reason in [*declared, *others]}


def _incomplete(question: MetricQuestion, bucket: Bounds) -> str | None:
    end = bucket.end_micros
    if end is None or end <= question.as_of + 1:
        return None
    return f"{bucket.name} is not over on {question.today.isoformat()}"
