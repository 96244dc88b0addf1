"""Stages: how many deals get further, and how long they stay; from the moves that were recorded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import and_, case, false, func, literal, or_, select, union_all

from crm_core.extend import Measure, Metric, MetricQuery
from crm_core.query.functions import count_if, isum
from crm_kpi.deals import lasting, medians

_LOST: Final = -1
_NOT_COUNTED: Final = ("visits that ended before they began", "visits whose beginning is unknown")


def _is_open(q: MetricQuery, pipeline: Any, stage: Any) -> Any:
    """Return the condition that a stage is open: its pipeline does not say that it ends there."""
    ends = [
        and_(pipeline == one.name, stage.in_([each.name for each in one.stages if each.kind != "open"]))
        for one in q.crm.pipelines.values()
        if any(each.kind != "open" for each in one.stages)
    ]
    return ~or_(*ends) if ends else ~false()


def _rank(q: MetricQuery, pipeline: Any, stage: Any) -> Any:
    """Return the place of a stage in its pipeline; won comes after every open stage, lost before."""
    by_pipeline = {}
    for one in q.crm.pipelines.values():
        kinds = {"won": len(one.stages), "lost": _LOST}
        places = {each.name: kinds.get(each.kind, place) for place, each in enumerate(one.stages)}
        by_pipeline[one.name] = case(places, value=stage)
    return case(by_pipeline, value=pipeline)


def _changes(q: MetricQuery) -> Any:
    """Return every stage change, with the moment of the one before it in its deal."""
    changes = q.tables.stage_changes
    before: dict[str, Any] = {"partition_by": changes.c.deal_id, "order_by": [changes.c.at, changes.c.id]}
    found: list[Any] = [changes.c[name] for name in ("deal_id", "pipeline", "from_stage", "at")]
    found.append(func.lag(changes.c.at).over(**before).label("since"))
    return select(*found).subquery("changes")


def _entries(q: MetricQuery) -> Any:
    """Return (deal_id, pipeline, stage, at, late, rank, reached): each entry into a stage, and the furthest one later.

    A deal whose first recorded move leaves a stage had entered that stage when it was opened; `late` is 1 where it was
    opened after that move, and its place among the entries is unknown.
    """
    changes, deals = q.tables.stage_changes, q.tables.deals
    names = ("id", "deal_id", "pipeline", "at")
    moves = select(*[changes.c[name] for name in names], changes.c.to_stage.label("stage"), literal(0).label("late"))
    first = _changes(q)
    opened = (
        select(
            literal(0).label("id"),
            first.c.deal_id,
            first.c.pipeline,
            deals.c.opened_at.label("at"),
            first.c.from_stage.label("stage"),
            case((deals.c.opened_at > first.c.at, 1), else_=0).label("late"),
        )
        .select_from(first.join(deals, deals.c.id == first.c.deal_id))
        .where(first.c.since.is_(None), first.c.from_stage.is_not(None))
    )
    both = union_all(moves, opened).subquery("entered")
    rank = _rank(q, both.c.pipeline, both.c.stage)
    order: Any = {"partition_by": both.c.deal_id, "order_by": [func.coalesce(both.c.at, 0), both.c.id]}
    reached = func.max(case((both.c.late == 0, rank))).over(**order, rows=(1, None))
    columns = [both.c[name] for name in ("deal_id", "pipeline", "stage", "at", "late")]
    return select(*columns, rank.label("rank"), reached.label("reached")).subquery("entries")


def _stage_conversion(q: MetricQuery) -> Iterator[Measure]:
    deals, entries = q.tables.deals, _entries(q)
    in_order = entries.c.late == 0
    further = func.count(case((and_(in_order, entries.c.reached > entries.c.rank), entries.c.deal_id)).distinct())
    all_of_them = func.count(case((in_order, entries.c.deal_id)).distinct())
    cells = q.cells(
        [further, all_of_them, count_if(entries.c.late == 1)],
        source=entries.join(deals, deals.c.id == entries.c.deal_id),
        where=[_is_open(q, entries.c.pipeline, entries.c.stage)],
        time=entries.c.at,
        instead={"stage": entries.c.stage, "pipeline": entries.c.pipeline},
    )
    for cell in cells:
        became, entered, late = cell.values
        yield cell.measure(numerator=became, denominator=entered, excluded={_NOT_COUNTED[0]: late})


def _visits(q: MetricQuery) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Return the visits that ended: their relation, when they ended, their duration and dimensions.

    What a deal left a stage for began when it entered it: at the change before, or else when the deal was opened. Both
    are looked up for the visits of the period alone, where a window function would pass over all changes there are.
    """
    deals, changes = q.tables.deals, q.tables.stage_changes
    earlier, before, opened = (changes.alias("earlier"), changes.alias("before"), deals.alias("opened"))
    previous = (
        select(earlier.c.id)
        .where(earlier.c.deal_id == changes.c.deal_id, earlier.c.at <= changes.c.at)
        .where(or_(earlier.c.at < changes.c.at, earlier.c.id < changes.c.id))
        .order_by(earlier.c.at.desc(), earlier.c.id.desc())
        .limit(1)
        .correlate(changes)
    )
    names = ("deal_id", "pipeline", "from_stage", "at", "at_is_date")
    where = [changes.c.from_stage.is_not(None), _is_open(q, changes.c.pipeline, changes.c.from_stage)]
    left = select(*[changes.c[name] for name in names], previous.scalar_subquery().label("previous_id"))
    visits = left.where(*where, *q.within(changes.c.at)).subquery("visits")
    source = visits.outerjoin(before, before.c.id == visits.c.previous_id)
    source = source.outerjoin(opened, opened.c.id == case((before.c.id.is_(None), visits.c.deal_id)))
    instead = {"stage": visits.c.from_stage, "pipeline": visits.c.pipeline}
    if q.where or set(q.by) - set(instead):
        source = source.join(deals, deals.c.id == visits.c.deal_id)
    entered = func.coalesce(before.c.at, opened.c.opened_at)
    entered_is_date = func.coalesce(before.c.at_is_date, opened.c.opened_at_is_date)
    duration = lasting(entered, entered_is_date, visits.c.at, visits.c.at_is_date)
    return source, visits.c.at, duration, instead


def _stage_duration(q: MetricQuery) -> Iterator[Measure]:
    source, at, duration, instead = _visits(q)
    fine = duration >= 0
    columns = [isum(case((fine, duration)), bounded=True), count_if(fine), count_if(duration < 0)]
    columns.append(count_if(duration.is_(None)))
    for cell in q.cells(columns, source=source, time=at, instead=instead):
        total, number, negative, unknown = cell.values
        excluded = dict(zip(_NOT_COUNTED, (negative, unknown), strict=True))
        yield cell.measure(numerator=total, denominator=number, excluded=excluded)
    yield from _still_open(q)


def _stage_duration_median(q: MetricQuery) -> Iterator[Measure]:
    source, at, duration, instead = _visits(q)
    yield from medians(q, duration, [], at, _NOT_COUNTED, source=source, instead=instead)
    yield from _still_open(q)


def _still_open(q: MetricQuery) -> Iterator[Measure]:
    deals = q.tables.deals
    open_now = [deals.c.status == "open", deals.c.stage.is_not(None)]
    for cell in q.cells([func.count()], source=deals, where=open_now):
        last = len(q.buckets) - 1
        yield Measure(group=cell.group, bucket=last, excluded={"visits still open": cell.values[0]})


_MOVED: Final[Any] = lambda t: t.stage_changes.c.at  # noqa: E731

METRICS: Final = (
    Metric(
        name="stage_conversion",
        label="Stage conversion",
        unit="ratio",
        kind="cohort",
        formula="deals that later entered a further stage / deals that entered this stage",
        population="deals that entered the stage in the period, per pipeline and stage, from recorded moves",
        traps="shows where deals get stuck; skipping a stage is getting further; a deal that came back counts once; "
        "a visit that ended before it began, by the day the deal was opened, is left out and counted",
        example="10 deals entered Proposal, 6 of them Negotiation or Won later: 60%",
        subject="recorded stage changes",
        base="deal",
        rows="stage_change",
        time=_MOVED,
        per_pipeline=True,
        intrinsic=("stage",),
        compute=_stage_conversion,
    ),
    Metric(
        name="stage_duration",
        label="Time in stage",
        unit="days",
        kind="ratio",
        direction="down",
        formula="mean of (left - entered) per visit",
        population="visits to a stage that ended in the period, per pipeline and stage",
        traps="a second visit counts again; visits still open are not averaged but shown apart",
        example="visits of 2, 4 and 9 days: 5",
        subject="recorded stage changes",
        base="deal",
        rows="stage_change",
        time=_MOVED,
        per_pipeline=True,
        intrinsic=("stage",),
        compute=_stage_duration,
    ),
    Metric(
        name="stage_duration_median",
        label="Time in stage, median",
        unit="days",
        kind="ratio",
        direction="down",
        formula="median of (left - entered) per visit",
        population="visits to a stage that ended in the period, per pipeline and stage",
        traps="a second visit counts again; visits still open are shown apart",
        example="visits of 2, 4 and 9 days: 4",
        subject="recorded stage changes",
        base="deal",
        rows="stage_change",
        time=_MOVED,
        per_pipeline=True,
        intrinsic=("stage",),
        compute=_stage_duration_median,
    ),
)
