"""A backup from before somebody said no does not know of it: a restore withdraws the consent again."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from crm_core import CRM, Consent, ContactPoint, Customer
from crm_core.errors import SettingsError, StorageError
from crm_core.services import withdrawing
from crm_core.settings import write_settings
from crm_core.upkeep import back_up, restore, restoring, verify_workspace
from crm_core.upkeep.worker import Line, Orders
from crm_core.upkeep.worker import work as work_off
from crm_core.values import format_id
from tests.cli.calling import Crm
from tests.databases import DATABASES, drop_all, new_url
from tests.distributions import installed

PLACES = [*DATABASES, pytest.param("jsonl", id="jsonl")]
ROOT = Path(__file__).parents[2]
FORMS = [pytest.param(False, id="own form"), pytest.param(True, id="portable")]
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed([ROOT / "examples" / "crm-storage-jsonl"], tmp_path_factory.mktemp("site")):
        yield
    drop_all()


@pytest.fixture(params=PLACES)
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return made(str(request.param), tmp_path)


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    return made("sqlite", tmp_path)


def made(database: str, tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    url = "jsonl:///data" if database == "jsonl" else new_url(database, folder)
    write_settings(folder, storage_url=url, currency="EUR")
    return folder


def person(crm: CRM, name: str = "Ada") -> int:
    """Add a customer who may be written to; returns the contact point."""
    one = crm.customers.add(Customer(name=name), email=f"{name}@example.org")
    (point,) = crm.contact_points.find(f"customer_id = {format_id(one.id)}")
    say(crm, point.id, "granted", 0)
    return point.id


def say(crm: CRM, point: int, status: str, day: int, purpose: str = "news") -> None:
    crm.records(Consent).add(
        Consent(
            contact_point_id=point, purpose=purpose, status=status, at=START + timedelta(days=day), source=f"day {day}"
        )
    )


def told(folder: Path, point: int) -> list[tuple[str, str, int, str | None]]:
    """Return what the database says of a contact point, oldest first."""
    with CRM.open(folder) as crm:
        found = crm.records(Consent).find(f"contact_point_id = {format_id(point)}", sort="at,id", limit=None)
        return [(one.purpose, one.status, (one.at - START).days, one.source) for one in found]


GRANTED = ("news", "granted", 0, "day 0")


@pytest.mark.parametrize("portable", FORMS)
def test_who_said_no_since_the_backup_has_said_no_after_it_is_restored(
    work: Path, portable: bool, tmp_path: Path
) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(work) as crm:
        no, yes, knew = person(crm), person(crm, "Grace"), person(crm, "Eve")
        say(crm, knew, "withdrawn", 1)
    back_up(work, file, portable=portable)
    with CRM.open(work) as crm:
        say(crm, no, "withdrawn", 2)
        say(crm, no, "withdrawn", 3, "calls")  # of which the backup knows nothing at all
        say(crm, yes, "withdrawn", 2)
        say(crm, yes, "granted", 3)
        say(crm, person(crm, "Newcomer"), "withdrawn", 2)
    wanted = {
        (format_id(no), "news", "2026-03-03T12:00:00+00:00"),
        (format_id(no), "calls", "2026-03-04T12:00:00+00:00"),
    }
    looked = restore(work, file, force=True, dry_run=True)
    assert wanted == {(one.contact_point, one.purpose, one.at) for one in looked.withdrawn_again}
    assert 3 == len(told(work, no))
    done = restore(work, file, force=True)
    assert (wanted, 0) == (
        {(one.contact_point, one.purpose, one.at) for one in done.withdrawn_again},
        done.erased_again,
    )
    after = [GRANTED, ("news", "withdrawn", 2, "day 2"), ("calls", "withdrawn", 3, "day 3")]
    assert after == told(work, no)
    assert [GRANTED] == told(work, yes)
    assert [GRANTED, ("news", "withdrawn", 1, "day 1")] == told(work, knew)
    assert [] == [check for check in verify_workspace(work) if check.state == "wrong"]
    with CRM.open(work) as crm:
        assert crm.ledger.verify().intact
    assert 2 == len(restore(work, file, force=True).withdrawn_again)  # as often as it is done
    assert after == told(work, no)
    late = tmp_path / "late.crm"
    back_up(work, late, portable=portable)
    assert () == restore(work, late, force=True).withdrawn_again


@pytest.mark.parametrize("portable", FORMS)
def test_a_restore_that_is_killed_before_it_withdraws_is_completed_by_what_opens_the_database_next(
    work: Path, portable: bool, tmp_path: Path
) -> None:
    file, between = tmp_path / "monday.crm", tmp_path / "between.crm"
    with CRM.open(work) as crm:
        points = [person(crm), person(crm, "Grace")]
    back_up(work, file, portable=portable)
    with CRM.open(work) as crm:
        for point in points:
            say(crm, point, "withdrawn", 2)
    killed(lambda: setattr(restoring, "finish", die) or restore(work, file, force=True))
    back_up(work, between, portable=portable)
    killed(lambda: (setattr(withdrawing, "_CHUNK", 1), die_at_second_chunk(), CRM.open(work).close()))
    with CRM.open(work) as crm:
        assert 1 == crm.withdrawn_again
    with CRM.open(work) as crm:
        assert 0 == crm.withdrawn_again
    assert [[GRANTED, ("news", "withdrawn", 2, "day 2")]] * 2 == [told(work, point) for point in points]
    assert 2 == len(restore(work, between, force=True).withdrawn_again)  # which was made in the middle of it
    assert [[GRANTED, ("news", "withdrawn", 2, "day 2")]] * 2 == [told(work, point) for point in points]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_second_chunk() -> None:
    write = withdrawing._write
    done = iter((write, die))
    withdrawing._write = lambda *said: next(done)(*said)  # type: ignore[assignment]


def killed(act: object) -> None:
    pid = os.fork()
    if pid == 0:
        act()  # type: ignore[operator]
        os._exit(0)
    assert signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) * -1


@pytest.mark.database("sqlite")
def test_many_are_withdrawn_again_whatever_the_order_they_came_in(embedded: Path, tmp_path: Path) -> None:
    file, count = tmp_path / "monday.crm", withdrawing._CHUNK + 3
    with CRM.open(embedded) as crm:
        someone = crm.customers.add(Customer(name="Ada"))
        points = crm.contact_points.add_many(
            ContactPoint(customer_id=someone.id, kind="email", value=f"{n}@example.org") for n in range(count)
        )
    back_up(embedded, file)
    with CRM.open(embedded) as crm:
        for day in (-60 * 365, -61 * 365):  # the later is stored first, and both are of before 1970
            crm.records(Consent).add_many(
                Consent(contact_point_id=one.id, purpose="news", status="withdrawn", at=START + timedelta(days=day))
                for one in points
            )
    assert count == len(restore(embedded, file, force=True).withdrawn_again)
    assert {("news", "withdrawn", -60 * 365, None)} == {told(embedded, one.id)[0] for one in points[:3] + points[-3:]}


@pytest.mark.database("sqlite")
def test_a_day_stays_a_day(embedded: Path, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(embedded) as crm:
        no = person(crm)
    back_up(embedded, file)
    with CRM.open(embedded) as crm:
        crm.records(Consent).add(
            Consent(contact_point_id=no, purpose="news", status="withdrawn", at=date(2026, 3, 2), text_version="v7")
        )
    restore(embedded, file, force=True)
    with CRM.open(embedded) as crm:
        (one,) = crm.records(Consent).find('status = "withdrawn"')
    assert (date(2026, 3, 2), None, "v7") == (one.at, one.source, one.text_version)


@pytest.mark.database("sqlite")
def test_withdrawing_again_is_not_undone(embedded: Path, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(embedded) as crm:
        no = person(crm)
    back_up(embedded, file)
    with CRM.open(embedded) as crm:
        say(crm, no, "withdrawn", 2)
    restore(embedded, file, force=True)
    said = Crm(embedded)("ledger", "undo", "last", "--yes")
    assert (1, True) == (said.code, "who said no is not asked again" in said.err)


@pytest.mark.database("sqlite")
def test_a_database_that_cannot_say_who_said_no_is_not_overwritten(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(embedded) as crm:
        no = person(crm)
    back_up(embedded, file)

    def damaged(*_: object) -> None:
        raise StorageError("a page of consents is damaged")

    monkeypatch.setattr(restoring, "withdrawn_in", damaged)
    with pytest.raises(StorageError, match=r"which consents were withdrawn.*a page of consents") as error:
        restore(embedded, file, force=True)
    assert "--despite-erasures" in error.value.hint
    assert () == restore(embedded, file, force=True, despite_erasures=True).withdrawn_again
    assert [GRANTED] == told(embedded, no)


@pytest.mark.database("sqlite")
def test_without_the_key_of_the_ledger_nothing_is_restored_that_could_not_be_withdrawn_again(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "monday.crm"
    monkeypatch.setenv("CRM_LEDGER_KEY", "0123456789abcdef" * 4)
    with (embedded / "crm.toml").open("a", encoding="utf-8") as toml:
        toml.write('\n[ledger]\nkey = {env = "CRM_LEDGER_KEY"}\n')
    with CRM.open(embedded) as crm:
        no = person(crm)
    back_up(embedded, file)
    with CRM.open(embedded) as crm:
        say(crm, no, "withdrawn", 2)
    monkeypatch.delenv("CRM_LEDGER_KEY")
    with pytest.raises(SettingsError):
        restore(embedded, file, force=True)
    assert 2 == len(told(embedded, no))


@pytest.mark.parametrize("database", DATABASES)
def test_a_backup_that_is_to_be_upgraded_first_is_told_by_the_upgrade(database: str, tmp_path: Path) -> None:
    work, file = made(database, tmp_path), tmp_path / "monday.crm"
    with CRM.open(work) as crm:
        no = person(crm)
    back_up(work, file)
    with CRM.open(work) as crm:
        say(crm, no, "withdrawn", 2)
    with (work / "crm.toml").open("a", encoding="utf-8") as toml:
        toml.write('\n[fields.customer.sector]\ntype = "text"\n')
    shop = Crm(work)
    shop.ok("storage", "upgrade")
    said = shop.ok("storage", "restore", str(file), "--force", "--json").json
    assert (1, "done" if database == "sqlite" else "later") == (len(said["withdrawn_again"]), said["erasing"])
    if database != "sqlite":
        assert 1 == shop.ok("storage", "upgrade", "--json").json["withdrawn_again"]
    assert [GRANTED, ("news", "withdrawn", 2, "day 2")] == told(work, no)


@pytest.mark.database("sqlite")
def test_the_command_says_before_and_after_what_it_withdraws_again(embedded: Path, tmp_path: Path) -> None:
    file, shop = tmp_path / "monday.crm", Crm(embedded)
    with CRM.open(embedded) as crm:
        no = person(crm)
    back_up(embedded, file)
    assert "withdrawn since  no consent" in shop.ok("storage", "restore", str(file), "--dry-run").out
    with CRM.open(embedded) as crm:
        say(crm, no, "withdrawn", 2)
    assert "1 consent that the backup" in shop.ok("storage", "restore", str(file), "--dry-run").out
    (named,) = shop.ok("storage", "restore", str(file), "--dry-run", "--json").json["withdrawn_again"]
    assert {"contact_point": format_id(no), "purpose": "news", "at": "2026-03-03T12:00:00+00:00"} == named
    assert "1 consent, withdrawn again" in shop.ok("storage", "restore", str(file), "--force").out


def test_workers_that_stay_do_what_a_killed_restore_left(work: Path, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(work) as crm:
        no, gone = person(crm), crm.customers.add(Customer(name="Grace"))
    back_up(work, file)
    with CRM.open(work) as crm:
        say(crm, no, "withdrawn", 2)
        crm.privacy.erase(gone.id)
    orders = Orders(place="", is_directory=True, user=None, name="w#1", every=0.0, once=True, patience=1)
    with CRM.open(work) as stayed:
        work_off(stayed, orders, Line(io.StringIO()), Event())
        assert (0, 0) == (stayed.erased_again, stayed.withdrawn_again)
        killed(lambda: setattr(restoring, "finish", die) or restore(work, file, force=True))
        work_off(stayed, orders, Line(io.StringIO()), Event())
        assert (1, 1) == (stayed.erased_again, stayed.withdrawn_again)
        assert None is stayed.customers.get(gone.id).name
    assert [GRANTED, ("news", "withdrawn", 2, "day 2")] == told(work, no)
