"""The board of a pipeline: its stages with counts and sums, the largest open deals in each; at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import attrs

from crm_core.cli.records import labels
from crm_core.console import clip, emit, isolate, money, on_terminal, pad, plural, say, share, width
from crm_core.console.layout import terminal_width
from crm_core.console.text import clean
from crm_core.errors import NotFound
from crm_core.extend import Pipeline, Stage
from crm_core.records import Deal
from crm_core.values import Money, format_id

if TYPE_CHECKING:
    from crm_core.crm import CRM

_BAR, _TITLE, _CUSTOMER, _AMOUNT = 24, 30, 22, 19
_INDENT = 4
_WIDEST, _NARROWEST, _WITH_CUSTOMER = 80, 32, 64
"""Cells of a line: at most, at least, and from how many on a deal's customer has room."""


@attrs.frozen(kw_only=True)
class Lane:
    """One stage on the board: its deals counted and summed by currency, unknown amounts apart, and the largest ones."""

    stage: Stage
    count: int
    sums: tuple[Money, ...]
    unknown: int
    deals: tuple[Deal, ...]


def show_board(crm: CRM, pipeline_name: str | None, owner_id: int | None, top: int) -> None:
    """Print the board of a pipeline; bars compare the open stages."""
    pipeline = _pipeline(crm, pipeline_name)
    lanes = build(crm, pipeline, owner_id, top)
    ids = [deal.customer_id for lane in lanes for deal in lane.deals]
    customers = labels(crm, "customer", ids)
    emit(_json(pipeline, lanes, customers), lambda: _print(crm, pipeline, lanes, customers))


def build(crm: CRM, pipeline: Pipeline, owner_id: int | None, top: int) -> list[Lane]:
    """Count the deals of each stage in one select, and read the `top` largest of every open one."""
    from sqlalchemy import func, select

    from crm_core.query.functions import isum

    c = crm.tables.deals.c
    wanted = select(c.stage, c.amount_currency, func.count(c.id), isum(c.amount)).where(c.pipeline == pipeline.name)
    if owner_id is not None:
        wanted = wanted.where(c.owner_id == owner_id)
    found: dict[str, list[tuple[str | None, int, int]]] = {}
    for stage, currency, count, total in crm.run(wanted.group_by(c.stage, c.amount_currency)):
        found.setdefault(stage, []).append((currency, count, total))
    return [_lane(crm, pipeline, stage, found.get(stage.name, []), owner_id, top) for stage in pipeline.stages]


def _lane(
    crm: CRM,
    pipeline: Pipeline,
    stage: Stage,
    groups: Iterable[tuple[str | None, int, int]],
    owner_id: int | None,
    top: int,
) -> Lane:
    counted = list(groups)
    sums = sorted((Money.from_minor(total, code) for code, _, total in counted if code), key=lambda m: m.currency)
    mine = "" if owner_id is None else f' and owner_id = "{format_id(owner_id)}"'
    where = f'pipeline = "{pipeline.name}" and stage = "{stage.name}"{mine}'
    largest: tuple[Deal, ...] = ()
    if stage.kind == "open" and top and counted:
        largest = crm.deals.find(where, sort="-amount", limit=top).records
    return Lane(
        stage=stage,
        count=sum(count for _, count, _ in counted),
        sums=tuple(sums),
        unknown=sum(count for code, count, _ in counted if code is None),
        deals=largest,
    )


def _pipeline(crm: CRM, name: str | None) -> Pipeline:
    if name is None:
        return next(iter(crm.pipelines.values()))
    if name not in crm.pipelines:
        raise NotFound(f"there is no pipeline {name!r}", hint=f"pipelines: {', '.join(crm.pipelines)}")
    return crm.pipelines[name]


def _print(crm: CRM, pipeline: Pipeline, lanes: list[Lane], customers: dict[int, str]) -> None:
    open_lanes = [lane for lane in lanes if lane.stage.kind == "open"]
    total = sum(lane.count for lane in open_lanes)
    say(f"{pipeline.label or pipeline.name}: {plural(total, 'open deal')}", style="bold")
    if not any(lane.count for lane in lanes):
        say("No deal is in this pipeline yet; crm deals add CUSTOMER TITLE opens one.")
        return
    most = max((lane.count for lane in open_lanes), default=0) or 1
    wide = max(width(_name(lane)) for lane in lanes)
    room = max(min(terminal_width(), _WIDEST), _NARROWEST)
    for lane in lanes:
        say()
        for line in _lane_lines(lane, wide, most, room):
            say(line)
        for deal in lane.deals:
            say(" " * _INDENT + _deal_line(crm, deal, customers, room - _INDENT))
    if any(_is_late(crm, deal) for lane in lanes for deal in lane.deals):
        say()
        say("! is later than its expected close")


def _lane_lines(lane: Lane, wide: int, most: int, room: int) -> list[str]:
    longest = max(_BAR - (_WIDEST - room), 0)
    drawn = longest and lane.stage.kind == "open" and lane.count
    bar = "█" * max(round(longest * lane.count / most), 1) if drawn else ""
    chance = share(lane.stage.probability, digits=0) if lane.stage.kind == "open" else lane.stage.kind
    head = f"{pad(_name(lane), wide)}  {pad(chance, 5, right=True)}  {lane.count:>7,}  {pad(bar, longest)}"
    sums = [str(one) for one in lane.sums]
    sums += [f"{lane.unknown:,} without amount"] if lane.unknown else []
    right = room - width(head) - 1
    lines = [head.rstrip()]
    if sums and width(sums[0]) <= right:
        lines = [f"{head} {pad(sums.pop(0), right, right=True)}"]
    return lines + [pad(one, room, right=True) for one in sums]


def _deal_line(crm: CRM, deal: Deal, customers: dict[int, str], room: int) -> str:
    """Return a deal in `room` cells: where they are few, the title gives way, then the customer is left out."""
    late = "!" if _is_late(crm, deal) else " "
    amount = pad(money(deal.amount), _AMOUNT, right=True)
    texts = room - width(amount) - 3
    if room + _INDENT < _WITH_CUSTOMER:
        return f"{_fitted(deal.title, max(texts, 1))}  {amount}{late}".rstrip()
    customer = _fitted(customers.get(deal.customer_id or 0, ""), _CUSTOMER)
    return f"{_fitted(deal.title, max(min(texts - _CUSTOMER - 2, _TITLE), 1))}  {customer}  {amount}{late}".rstrip()


def _fitted(text: str, cells: int) -> str:
    """Cut and fill a text to exactly so many cells; right-to-left text is isolated, so that columns stay in place."""
    cut = clip(clean(text), cells)
    space = " " * (cells - width(cut))
    return (isolate(cut) if on_terminal() else cut) + space


def _is_late(crm: CRM, deal: Deal) -> bool:
    return deal.expected_close_on is not None and deal.expected_close_on < _today(crm)


def _today(crm: CRM) -> date:
    now: datetime = crm.clock.now()
    return now.astimezone(crm.zone).date()


def _name(lane: Lane) -> str:
    return clip(lane.stage.label or lane.stage.name, 18)


def _json(pipeline: Pipeline, lanes: list[Lane], customers: dict[int, str]) -> dict[str, Any]:
    stages = [
        {
            "stage": lane.stage.name,
            "label": lane.stage.label or lane.stage.name,
            "kind": lane.stage.kind,
            "probability": lane.stage.probability,
            "deals": lane.count,
            "sums": [one.to_json() for one in lane.sums],
            "without_amount": lane.unknown,
            "largest": [
                {
                    "id": format_id(deal.id),
                    "title": deal.title,
                    "customer": customers.get(deal.customer_id or 0),
                    "amount": None if deal.amount is None else deal.amount.to_json(),
                    "expected_close_on": deal.expected_close_on,
                }
                for deal in lane.deals
            ],
        }
        for lane in lanes
    ]
    return {"pipeline": pipeline.name, "label": pipeline.label or pipeline.name, "stages": stages}
