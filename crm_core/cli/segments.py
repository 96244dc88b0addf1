"""`crm segments`: groups of customers, such as ABC by revenue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from crm_core.console import (
    MISSING,
    Column,
    Number,
    as_of_option,
    emit,
    examples,
    heading,
    instant,
    period_option,
    reading_options,
    say,
    table,
    workspace,
)
from crm_core.errors import UsageError
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core.extend import Segment
    from crm_core.services.segments import SegmentResult


@click.group()
def segments() -> None:
    """Divide customers into groups."""


@segments.command("list", epilog=examples("crm segments list", "crm segments list --json"))
def list_() -> None:
    """List the segments there are, with their parameters."""
    with workspace() as crm:
        found = sorted(crm.segments.all(), key=lambda segment: segment.name)

        def show() -> None:
            for segment in found:
                heading(f"{segment.name}: {segment.label}")
                say(segment.help)
                if segment.parameters:
                    rows = [[p.name, _default(p.default), p.help] for p in segment.parameters]
                    table(["parameter", "default", Column("meaning", fit="wrap")], rows)
            if not found:
                say("No segment is installed; pip install crm-segments brings ABC.")

        emit([_segment_json(segment) for segment in found], show)


@segments.command(
    epilog=examples(
        "crm segments run abc",
        "crm segments run abc --param rule=crossing --param cuts=0.70,0.90 --period 2017",
        "crm segments run abc --members 20 --label A --json",
    )
)
@click.argument("name")
@click.option("--param", "params", metavar="NAME=VALUE", multiple=True, help="A parameter; crm segments list has them.")
@click.option("--members", type=Number(0), default=10, show_default=True, help="Members to show of each group.")
@click.option("--label", metavar="LABEL", help="Show one group only.")
@period_option
@as_of_option
def run(
    name: str, params: tuple[str, ...], members: int, label: str | None, period: str | None, as_of: str | None
) -> None:
    """Divide the customers; JSON holds all members."""
    with workspace(as_of=as_of) as crm, reading_options():
        at = instant(as_of, crm.zone) if as_of else None
        result = crm.segments.run(name, as_of=at, period=period, **_parameters(params))
        labels = [str(part.label) for part in result.summary]
        if label is not None and label not in labels:
            raise UsageError(f"segment {name} has no label {label!r}", hint=f"its labels: {', '.join(labels)}")
        emit(_chosen(result.to_json(), label), lambda: _show(result, members, label))


def _parameters(typed: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for one in typed:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise UsageError(f"{one!r} is no parameter", hint="write --param name=value, such as --param rule=crossing")
        found[name.strip()] = value.strip()
    return found


def _show(result: SegmentResult, members: int, label: str | None) -> None:
    head, cells = result.table()
    table([Column(title, right=at > 0) for at, title in enumerate(head)], cells)
    if result.params:
        say("parameters " + ", ".join(f"{name} = {_default(value)}" for name, value in result.params.items()))
    if result.policy:
        say("policies " + ", ".join(f"{name} = {value}" for name, value in result.policy.items()))
    currency = next((row.currency for row in result.summary if row.currency), None)
    groups = list(dict.fromkeys(member.label for member in result.members))
    for group in [one for one in groups if label in (None, one)]:
        inside = [member for member in result.members if member.label == group]
        if not members:
            continue
        rows = [[format_id(m.id), m.name, _score(m.score, currency)] for m in inside[:members]]
        heading(f"{group}: {len(inside):,}" + (f", the first {members:,}" if len(inside) > members else ""))
        table([Column("id"), Column("customer", fit="wrap"), Column("score", right=True)], rows)
    for text in result.notes:
        say(f"note: {text}")
    if not result.members and not result.notes:
        say("Nobody is in any group: a segment of revenue needs sales.")


def _score(score: float | None, currency: str | None) -> str:
    from crm_core.services.segments import score_text

    return score_text(score, currency) or MISSING


def _chosen(data: dict[str, Any], label: str | None) -> dict[str, Any]:
    if label is None:
        return data
    return {**data, "members": [member for member in data["members"] if member["label"] == label]}


def _default(value: Any) -> str:
    if value is None:
        return MISSING
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _segment_json(segment: Segment) -> dict[str, Any]:
    parameters = [{"name": p.name, "default": _default(p.default), "help": p.help} for p in segment.parameters]
    return {
        "name": segment.name,
        "label": segment.label,
        "help": segment.help,
        "labels": list(segment.labels),
        "parameters": parameters,
    }
