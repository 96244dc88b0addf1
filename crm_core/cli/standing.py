"""How the commands show where subscribers stand: what waits for them, and what was given up on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crm_core.cli.app import lenient_settings
from crm_core.console import Column, moment, plural, say, table
from crm_core.values import from_micros

if TYPE_CHECKING:
    from crm_core.ledger.standing import Standing


def standing_json(one: Standing) -> dict[str, Any]:
    """Return a standing as JSON data."""
    return {
        "plugin": one.plugin,
        "hook": one.hook,
        "position": one.position,
        "behind": one.behind,
        "attempts": one.attempts,
        "next_at": from_micros(one.next_at) if one.attempts else None,
        "error": one.error,
        "parked": [
            {"position": parked.position, "at": from_micros(parked.at), "error": parked.error} for parked in one.parked
        ],
    }


def standing_words(one: Standing) -> str:
    """Say in words where a subscriber stands."""
    words = [f"told up to position {one.position:,}"]
    if one.behind:
        words.append(f"{plural(one.behind, 'transaction')} behind")
    if one.attempts:
        words.append(f"failed {plural(one.attempts, 'time')}, tried again {_when(one.next_at)}: {one.error}")
    if one.parked:
        last = one.parked[-1]
        given_up = f"{plural(len(one.parked), 'transaction')} given up on"
        words.append(f"{given_up}, the last at position {last.position:,}: {last.error}")
    return "; ".join(words)


def standing_table(found: Sequence[Standing]) -> None:
    """Print a line for each subscriber, and what to do where something was given up on."""
    if found:
        rows = [[f"{one.plugin}.{one.hook}", standing_words(one)] for one in found]
        table(["subscriber", Column("where it stands", fit="wrap")], rows)
    for plugin in sorted({one.plugin for one in found if one.parked}):
        say(f"crm plugins retry {plugin} tells it again what was given up on")


def _when(micros: int) -> str:
    due = from_micros(micros)
    return "now" if due <= datetime.now(UTC) else f"at {moment(due, lenient_settings().zone, seconds=True)}"
