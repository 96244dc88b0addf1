"""`crm inbox --follow`: what comes in and what is answered, line by line, for a person or a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import sleep
from typing import TYPE_CHECKING, Final, NoReturn

import click

from crm_core.console import clean, moment, session
from crm_core.values import format_id
from crm_inbox.waiting import Item, headline, inbox

if TYPE_CHECKING:
    from crm_core import CRM

_PAUSE: Final = 1.0
"""Seconds between two looks at whether anything was written."""
_MOST: Final = 10_000


def follow_inbox(
    crm: CRM, *, owner_id: int | None, channel: str, topic: str, pause: Callable[[], None] = lambda: sleep(_PAUSE)
) -> NoReturn:
    """Write a line for each interaction that waits, then for each that comes and each that is answered; for ever.

    A line is written out at once, so that whoever reads a pipe has it. It ends by an interrupt, or when nobody reads.
    """
    waiting: dict[int, Item] = {}
    head = -1
    while True:
        now = crm.ledger.history.head()
        if now != head:
            head = now
            found = inbox(crm, owner_id=owner_id, channel=channel, topic=topic, limit=_MOST)
            there = {each.interaction.id: each for each in found}
            for key in [key for key in waiting if key not in there]:
                _tell(crm, "answered", waiting.pop(key))
            for key, each in there.items():
                if key not in waiting:
                    _tell(crm, "waiting", each)
            waiting = there
        pause()


def _tell(crm: CRM, event: str, item: Item) -> None:
    if session().json:
        plain = not (sys.stdout.encoding or "").lower().startswith("utf")
        line = json.dumps({"event": event, **item.as_json(crm.zone)}, ensure_ascii=plain)
    else:
        one = item.interaction
        at = moment(one.occurred_at, crm.zone)
        parts = [format_id(one.id), at, one.channel or "", item.sender, headline(item)]
        line = "  ".join([f"{event:<8}", *(clean(each) for each in parts)])
    click.echo(line)  # which also empties the buffer
