"""`crm.segments`: finds segments by name, checks their parameters, runs them and names their members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

from sqlalchemy import select

from crm_core.errors import UsageError
from crm_core.extend.segment import Division, Segment
from crm_core.query.bind import close_matches
from crm_core.query.question import Question, bounds_of, moment_of
from crm_core.services.segments.results import Member, SegmentResult, SummaryRow
from crm_core.values import Bounds, Period, exponent, few_collections, format_id

_ALL_TIME = Bounds(None, None, "all time")
_CHUNK = 500

_Columns = tuple[Any, ...]
"""The ids, labels and scores of all assignments, each as one tuple."""


class SegmentQuestion(Question):
    """What a segment's `assign` receives; see `crm_core.extend.SegmentQuery`."""

    def __init__(
        self, crm: Any, segment: Segment, params: Mapping[str, Any], bounds: Bounds, now: datetime, until_now: bool
    ) -> None:
        super().__init__(crm, (bounds,), now, until_now=until_now)
        self.segment = segment
        self.params = params


class SegmentService:
    """The segments of one CRM, those of its plugins by name."""

    def __init__(self, crm: Any) -> None:
        self._crm = crm

    def all(self) -> list[Segment]:
        """Return every segment, by name."""
        return sorted((found.item for found in self._crm.host.collect("register_segments")), key=lambda s: s.name)

    def get(self, name: str) -> Segment:
        """Return the segment of that name.

        Raises:
            UsageError: there is none; the hint names close matches.
        """
        found = {segment.name: segment for segment in self.all()}
        wanted = name.strip().casefold().replace("-", "_")
        if wanted in found:
            return found[wanted]
        hint = close_matches(wanted, found, "segments") if found else "install some: pip install crm-segments"
        raise UsageError(f"there is no segment {name!r}", hint=hint)

    def run(
        self,
        name: str,
        *,
        as_of: datetime | date | None = None,
        period: str | Period | Bounds | None = None,
        **params: Any,
    ) -> SegmentResult:
        """Divide the customers.

        Args:
            name: the segment.
            as_of: what counts as "now"; a day counts as its end.
            period: the period whose sales count; None is all time.
            params: the segment's own parameters, as values or as text.

        Raises:
            UsageError: an unknown segment or parameter.
            InvalidValue: a parameter's text is not understood.
        """
        segment = self.get(name)
        values = _parameters(segment, params)
        now = moment_of(self._crm, as_of)
        bounds = bounds_of(self._crm, period, now, until_now=as_of is not None)
        question = SegmentQuestion(self._crm, segment, values, bounds or _ALL_TIME, now, as_of is not None)
        with self._crm.snapshot(), few_collections():
            division = segment.assign(question)
            columns = _columns(division)
            members = _members(question, division, columns)
            summary = _summary(segment, division, columns)
        shown = {name: _plain(value) for name, value in values.items()}
        shown |= {"period": bounds.name} if bounds and period is not None else {}
        return SegmentResult(
            segment=segment.name,
            label=segment.label,
            params=shown | ({"currency": division.currency} if division.currency else {}),
            policy=question.policies.shown(segment.policies),
            summary=summary,
            members=members,
            notes=division.notes,
        )


def _parameters(segment: Segment, given: Mapping[str, Any]) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in segment.parameters}
    for name in given:
        if name not in known:
            raise UsageError(f"{segment.name} has no parameter {name!r}", hint=close_matches(name, known, "parameters"))
    values = {}
    for name, parameter in known.items():
        value = given.get(name, parameter.default)
        if isinstance(value, str) or (name in given and value is not None):
            value = parameter.parse(value if isinstance(value, str) else _as_text(value))
        values[name] = value
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return float(value) if isinstance(value, (Fraction, Decimal)) else value


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _columns(division: Division) -> _Columns:
    return tuple(zip(*division.assignments, strict=True)) if division.assignments else ((), (), ())


def _members(question: Question, division: Division, columns: _Columns) -> tuple[Member, ...]:
    """Name who was assigned; made in C from end to end, because there may be millions."""
    ids, labels, scores = columns
    if not ids:
        return ()
    names = _names(question, ids)
    named: list[str | None] = list(map(names.get, ids))
    if None in named:
        named = [name or format_id(one) for name, one in zip(named, ids, strict=True)]
    unit = _unit(division)
    shown: Iterable[int | float | None] = scores
    if unit != 1:
        shown = [None if score is None else score / unit if score % unit else score // unit for score in scores]
    return tuple(map(partial(tuple.__new__, Member), zip(ids, named, labels, shown, strict=True)))


def _names(question: Question, ids: Sequence[int]) -> dict[int, str]:
    customers = question.tables.customers
    statement = select(customers.c.id, customers.c.name)
    if len(ids) <= _CHUNK:
        statement = statement.where(customers.c.id.in_(ids))
    return dict(question.run(statement))


def _unit(division: Division) -> int:
    if division.unit == "days":
        return 86_400_000_000
    return int(10 ** exponent(division.currency)) if division.unit == "money" and division.currency else 1


def _shown(score: int, unit: int) -> int | float:
    whole, rest = divmod(score, unit)
    return whole if not rest else score / unit


def _summary(segment: Segment, division: Division, columns: _Columns) -> tuple[SummaryRow, ...]:
    _, labels, scores = columns
    counts = dict.fromkeys(segment.labels, 0) | Counter(labels)
    totals = dict.fromkeys(counts, 0)
    for label, score in zip(labels, scores, strict=True):
        if score:
            totals[label] += score
    unit = _unit(division)
    return tuple(
        SummaryRow(label=label, customers=number, value=_shown(totals[label], unit), currency=division.currency)
        for label, number in counts.items()
    )
