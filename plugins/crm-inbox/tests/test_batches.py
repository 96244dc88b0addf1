"""Messages that come together: they become what they would be one by one, by fewer looks."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer
from crm_core.extend import Address, Received
from crm_inbox import InboxMessage, Intake, receive

from .test_intake import message

pytestmark = pytest.mark.database("sqlite")


def told_of(crm: CRM) -> list[Any]:
    """Return what the history holds, without ids and times of writing."""
    people = {one.id: one for one in crm.customers.find(limit=None)}
    notes = {one.interaction_id: one for one in crm.records(InboxMessage).find(limit=None)}
    keys = {
        entry.record_id: entry.external for entry in crm.external_ids.find('record_type = "interaction"', limit=None)
    }
    said = crm.interactions.find(limit=None)
    return sorted(
        (
            keys[one.id],
            one.body,
            one.thread,
            one.needs_answer,
            one.answered_at is not None,
            keys.get(one.in_reply_to_id or 0),
            people[one.customer_id].name if one.customer_id else None,
            notes[one.id].sender,
            notes[one.id].automatic,
        )
        for one in said
    )


def test_a_batch_is_what_its_messages_are_one_by_one(tmp_path: Path, crm: CRM, place: Path) -> None:
    shared = Address(kind="email", value="home@example.org")
    new = Address(kind="email", value="New@example.org", name="New")
    batch = [
        message("1", text="first"),
        message("2", text="an answer to it", replies_to=("1",)),
        message("3", sender=new, text="unknown"),
        message("4", sender=Address(kind="email", value="new@EXAMPLE.org"), text="the same, spelt otherwise"),
        message("5", sender=shared, text="who of both?", thread="t"),
        message("6", sender=shared, text="still unclear", thread="t"),
        message("7", kind="call", thread="n", text="missed"),
        message("8", kind="call", thread="n", text="spoke", duration=30),
        message("9", direction="out", recipient=new, thread="u", text="a colleague's"),
        message("10", sender=new, thread="u", text="thanks"),
        *(message(f"loop {number}", thread="hot", text="again") for number in range(25)),
        message("11", headers={"Auto-Submitted": "auto-replied"}, text="away"),
        message("12", replies_to=("unknown", "2"), text="to the second"),
    ]
    other = tmp_path / "other"
    shutil.copytree(place, other, ignore=shutil.ignore_patterns("crm.db*"))
    with CRM.open(other, clock=crm.clock) as alone:
        for each in (crm, alone):
            for name in ("Ada", "Eve"):
                each.customers.add(Customer(name=name), email="home@example.org")
        done = receive(crm, "desk", Received(messages=batch))
        one_by_one = Intake()
        for each in batch:
            one_by_one = one_by_one.plus(receive(alone, "desk", Received(messages=[each])))
        assert done == one_by_one
        assert told_of(alone) == told_of(crm)


def test_what_intake_looks_up_does_not_grow_with_the_messages(crm: CRM, monkeypatch: pytest.MonkeyPatch) -> None:
    crm.customers.add(Customer(name="Sara"), email="sara@example.org")
    looks: list[str] = []
    for name in ("find", "get_many", "count"):
        real = getattr(crm.storage, name)

        def look(table: str, *given: Any, real: Any = real, **named: Any) -> Any:
            looks.append(table)
            return real(table, *given, **named)

        monkeypatch.setattr(crm.storage, name, look)
    counted = []
    for key, count in (("warm", 1), ("few", 5), ("many", 50)):
        looks.clear()
        batch = [message(f"{key} {number}", text="Hello") for number in range(count)]
        assert count == receive(crm, "desk", Received(messages=batch)).new
        counted.append(Counter(looks))
    loops = counted[2]["interactions"] - counted[1]["interactions"]
    assert (45, 45) == (loops, (counted[2] - counted[1]).total()), "one look a message: whether its thread runs hot"
