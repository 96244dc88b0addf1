"""What the journals of exchanges keep of people who were erased: nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crm_channel_phone.calls import Call
from crm_channel_phone.journal import Journal, State
from crm_core import CRM, Customer
from crm_core.extend import JobRun
from crm_inbox.polling import poll_account

pytestmark = pytest.mark.database("sqlite")
CANARY, NAME, OTHER = "09121234567", "Canary Bird", "09129999999"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path, "pbx")
    made.make()
    made.note(State(told="well", at=datetime.now(UTC), listening=True))
    return made


@pytest.fixture
def crm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CRM]:
    monkeypatch.setenv("PBX_SECRET", "a secret of the exchange")
    account = 'type = "phone-ami"\nhost = "127.0.0.1"\nuser = "crm"\nsecret = {env = "PBX_SECRET"}\n'
    lines = f'[storage]\nurl = "sqlite:///crm.db"\n[channels.pbx]\n{account}'
    (tmp_path / "crm.toml").write_text(lines, "utf-8")
    with CRM.open(tmp_path) as opened:
        yield opened


def call(number: int, caller: str, name: str = "", **more: object) -> Call:
    return Call(**{"id": f"1.{number}", "direction": "in", "number": caller, "name": name, "at": NOW, **more})  # type: ignore[arg-type]


def taken_in(crm: CRM) -> int:
    """Poll as `crm run` does; returns how many calls were new."""
    before = crm.interactions.count()
    poll_account(JobRun(crm=crm, part="pbx", stopping=lambda: False))
    return crm.interactions.count() - before


def sweep(crm: CRM) -> None:
    """Run what is due, as `crm run` does: of jobs that sweep this is all that is at hand."""
    assert [] == [each.error for each in crm.jobs.run() if each.job == "sweep-calls" and each.error]


def files(journal: Journal) -> str:
    return "".join(each.read_text("utf-8") for each in sorted(journal.path.parent.glob("pbx.calls*")))


def test_no_journal_keeps_an_erased_person_and_no_other_call_is_lost(crm: CRM, journal: Journal) -> None:
    canary = crm.customers.add(Customer(name=NAME), phone=CANARY)
    for number in range(6):
        journal.add(call(number, CANARY if number % 2 == 0 else OTHER, NAME if number % 2 == 0 else "Eve"))
    old = journal.path.with_name("pbx.calls.20261101T000000000000")
    journal.path.rename(old)
    journal.add(call(6, CANARY, NAME))
    journal.add(call(7, OTHER))
    assert 8 == taken_in(crm)
    size = old.stat().st_size
    crm.privacy.erase(canary.id)
    assert CANARY in files(journal)
    sweep(crm)
    assert not [each for each in (CANARY, CANARY[1:], NAME) if each in files(journal)]
    assert (4, size) == (files(journal).count(OTHER), old.stat().st_size)
    journal.add(call(8, OTHER))
    assert 1 == taken_in(crm), "what was overwritten makes no other call come again, or stay away"
    assert 5 == crm.interactions.count(f'thread = "pbx:{OTHER}"')


def test_a_call_that_was_not_taken_in_yet_stays_for_the_poll(crm: CRM, journal: Journal) -> None:
    canary = crm.customers.add(Customer(name=NAME), phone=CANARY)
    journal.add(call(0, CANARY))
    assert 1 == taken_in(crm)
    journal.add(call(1, CANARY))
    crm.privacy.erase(canary.id)
    sweep(crm)
    taken_in(crm)
    assert (1, 2) == (files(journal).count(CANARY), crm.interactions.count())


def test_half_lines_go_and_what_is_written_meanwhile_stays(journal: Journal) -> None:
    journal.add(call(0, OTHER))
    with journal.path.open("ab") as file:
        file.write(b'{"id": "1.5", "number": "' + CANARY.encode() + b"\n")

    def wanted(ids: object) -> set[str]:
        journal.add(call(1, OTHER))
        return set()

    assert 1 == journal.blank(wanted)
    assert (False, 2, 0) == (CANARY in files(journal), files(journal).count(OTHER), journal.blank(lambda ids: ()))


def test_what_is_old_goes_without_a_listener_and_without_its_account(crm: CRM, journal: Journal) -> None:
    journal.add(call(0, CANARY, at=NOW - timedelta(days=8)))
    (journal.path.parent / "former.calls").write_bytes(journal.path.read_bytes())
    sweep(crm)
    rotated = [*journal.path.parent.glob("*.calls.*")]
    assert 2 == len(rotated)
    for each in rotated:
        long_ago = (NOW - timedelta(days=8)).timestamp()
        os.utime(each, (long_ago, long_ago))
    Journal(journal.path.parent.parent, "pbx").rotate()
    assert ["former.calls"] == [each.name.partition(".2")[0] for each in journal.path.parent.glob("*.calls.*")]


def test_the_file_whose_first_call_was_overwritten_still_grows_old(crm: CRM, journal: Journal) -> None:
    canary = crm.customers.add(Customer(name=NAME), phone=CANARY)
    journal.add(call(0, CANARY, at=NOW - timedelta(days=6)))
    journal.add(call(1, OTHER, at=NOW - timedelta(days=6)))
    assert 2 == taken_in(crm)
    crm.privacy.erase(canary.id)
    sweep(crm)
    assert NOW - timedelta(days=6) == journal._begun(NOW)
