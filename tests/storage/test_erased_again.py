"""A backup from before an erasure brings the person back: a restore erases them again, whatever happens on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from crm_core import CRM, Customer, Deal, Interaction
from crm_core.errors import CrmError, NotFound, SettingsError, StorageError, UsageError
from crm_core.ledger.erasure_log import FILE, ErasureLog
from crm_core.ledger.erasures import Erased
from crm_core.settings import load_settings, write_settings
from crm_core.upkeep import back_up, restore, restoring, verify_workspace
from crm_core.upkeep.persons import Returning, Seen
from crm_core.values import format_id
from tests.cli.calling import Crm
from tests.databases import DATABASES, drop_all, new_url
from tests.distributions import installed
from tests.opening import content

CANARY = "Kanarienvogel"
PLACES = [*DATABASES, pytest.param("jsonl", id="jsonl")]
ROOT = Path(__file__).parents[2]
FORMS = [pytest.param(False, id="own form"), pytest.param(True, id="portable")]


@pytest.fixture(autouse=True, scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed([ROOT / "examples" / "crm-storage-jsonl"], tmp_path_factory.mktemp("site")):
        yield
    drop_all()


@pytest.fixture(params=PLACES)
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return made(str(request.param), tmp_path)


@pytest.fixture(params=[PLACES[0], PLACES[-1]])
def near(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A workspace that needs no server, for what no server does otherwise."""
    return made(str(request.param), tmp_path)


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    return made("sqlite", tmp_path)


def made(database: str, tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    write_settings(
        folder, storage_url="jsonl:///data" if database == "jsonl" else new_url(database, folder), currency="EUR"
    )
    return folder


def person(crm: CRM, name: str = CANARY) -> int:
    """Add a person with something of everything that tells who they are."""
    one = crm.customers.add(
        Customer(name=f"{name} Ada", tags=(f"{name}-tag",)), email=f"{name}@example.org", external=("old", name)
    )
    crm.customers.edit(one.evolve(city=f"{name} city"))
    crm.deals.add(Deal(customer_id=one.id, title=f"{name} licence"))
    crm.interactions.add(Interaction(customer_id=one.id, channel="note", body=f"of {name}"))
    return one.id


def held(folder: Path, word: str = CANARY) -> list[str]:
    """Return where a database still says a word: tables of records, and images of the ledger."""
    with CRM.open(folder) as crm:
        found = [
            f"{name}: {record}" for name, records in content(crm).items() for record in records.values()
            if word.casefold() in str(record).casefold()
        ]  # fmt: skip
        images = crm.storage.find("ledger_images", columns=["content"])
        return found + [f"image: {row[0]}" for row in images if word.casefold() in str(row[0]).casefold()]


def erase(folder: Path, who: int) -> None:
    with CRM.open(folder) as crm:
        crm.privacy.erase(who)


def start_over(folder: Path) -> None:
    """Let the workspace have an empty database, as after the loss of the old one."""
    url = load_settings(folder).storage_url
    toml = (folder / "crm.toml").read_text("utf-8")
    scheme = url.partition(":")[0]
    if scheme in ("sqlite", "jsonl"):
        fresh = f"{scheme}:///fresh.db"
    else:
        fresh = new_url({"mysql": "mariadb"}.get(scheme, scheme), folder)
    (folder / "crm.toml").write_text(toml.replace(url, fresh), "utf-8")


@pytest.mark.parametrize("portable", FORMS)
def test_who_was_erased_since_the_backup_is_erased_again(work: Path, portable: bool, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(work) as crm:
        who, other = person(crm), person(crm, "Grace")
    back_up(work, file, portable=portable)
    erase(work, who)
    assert [] == held(work)
    told = restore(work, file, force=True, dry_run=True)
    assert (1, True, {}) == (told.erased_again, told.dry_run, told.absorbed)
    with CRM.open(work) as crm:
        assert 1 == sum(1 for entry in crm.ledger.operations() if entry.label == "erase customer")
    assert 1 == restore(work, file, force=True).erased_again
    assert [] == held(work)
    assert [] != held(work, "Grace")
    with CRM.open(work) as crm:
        assert (None, "Grace Ada") == (crm.customers.get(who).name, crm.customers.get(other).name)
        assert crm.ledger.verify().intact
        with pytest.raises(CrmError, match="erased"):
            crm.customers.add(Customer(name="x"), external=("old", CANARY))
    assert [] == [check for check in verify_workspace(work) if check.state == "wrong"]
    assert 1 == restore(work, file, force=True).erased_again  # as often as it is done
    assert [] == held(work)
    after = tmp_path / "after.crm"
    back_up(work, after, portable=portable)
    assert 0 == restore(work, after, force=True).erased_again


@pytest.mark.parametrize("portable", FORMS)
def test_a_file_beside_the_settings_knows_it_when_the_database_is_lost(
    work: Path, portable: bool, tmp_path: Path
) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(work) as crm:
        who = person(crm)
    back_up(work, file, portable=portable)
    erase(work, who)
    assert CANARY not in (work / FILE).read_text("utf-8")
    start_over(work)
    assert 1 == restore(work, file, dry_run=True).erased_again
    assert 1 == restore(work, file).erased_again
    assert [] == held(work)


def test_a_backup_notes_what_others_erased_in_the_same_database(near: Path, tmp_path: Path) -> None:
    early, late, elsewhere = tmp_path / "early.crm", tmp_path / "late.crm", tmp_path / "elsewhere"
    with CRM.open(near) as crm:
        who = person(crm)
    back_up(near, early)
    erase(near, who)
    (near / FILE).rename(elsewhere)  # as if it had been done on another machine
    back_up(near, late)
    assert [who] == [each for one in ErasureLog(near).read() for each in one.persons]
    assert (near / FILE).read_text("utf-8") == elsewhere.read_text("utf-8")
    start_over(near)
    assert 1 == restore(near, early).erased_again


@pytest.mark.parametrize("portable", FORMS)
def test_a_restore_that_is_killed_before_it_erases_is_completed_by_what_opens_the_database_next(
    work: Path, portable: bool, tmp_path: Path
) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(work) as crm:
        who, other = person(crm), person(crm, "Grace")
    back_up(work, file, portable=portable)
    erase(work, who)
    erase(work, other)
    pid = os.fork()
    if pid == 0:
        restoring.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        restore(work, file, force=True)
        os._exit(0)
    assert signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) * -1
    (work / FILE).unlink()  # it is the database that says so
    pid = os.fork()
    if pid == 0:  # it is killed again, when it has erased one of the two
        from crm_core.services.privacy import PrivacyService

        erased = PrivacyService._erased
        done = iter((erased, lambda *_: os.kill(os.getpid(), signal.SIGKILL)))
        PrivacyService._erased = lambda *said: next(done)(*said)  # type: ignore[assignment,method-assign]
        CRM.open(work).close()
        os._exit(0)
    assert signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) * -1
    with CRM.open(work) as crm:
        assert 1 == crm.erased_again
        assert [None, None] == [crm.customers.get(one).name for one in (who, other)]
    with CRM.open(work) as crm:
        assert 0 == crm.erased_again
        assert 2 == sum(1 for entry in crm.ledger.operations() if entry.label == "erase customer")
    assert [] == held(work) + held(work, "Grace")


def test_a_backup_of_an_unfinished_restore_finishes_it_when_it_is_restored(near: Path, tmp_path: Path) -> None:
    file, between = tmp_path / "monday.crm", tmp_path / "between.crm"
    with CRM.open(near) as crm:
        who = person(crm)
    back_up(near, file)
    erase(near, who)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crm_core.upkeep.restoring.finish", lambda place, report: report)
        restore(near, file, force=True)
    back_up(near, between)
    start_over(near)
    (near / FILE).unlink()
    assert 1 == restore(near, between).erased_again
    assert [] == held(near)


def test_persons_whom_a_merge_made_one_are_erased_again_each(work: Path, tmp_path: Path) -> None:
    apart, joined = tmp_path / "apart.crm", tmp_path / "joined.crm"
    with CRM.open(work) as crm:
        keep, gone = person(crm), person(crm, "Vogel")
    back_up(work, apart)
    with CRM.open(work) as crm:
        crm.customers.merge(keep, gone)
    back_up(work, joined)
    erase(work, keep)
    assert 2 == restore(work, apart, force=True).erased_again
    assert [] == held(work, "vogel")
    assert 1 == restore(work, joined, force=True).erased_again
    assert [] == held(work, "vogel")


def test_who_is_a_part_of_another_customer_in_the_backup_stops_it(work: Path, tmp_path: Path) -> None:
    file = tmp_path / "joined.crm"
    with CRM.open(work) as crm:
        keep, gone = person(crm, "Grace"), person(crm)
        crm.customers.merge(keep, gone)
    back_up(work, file)
    with CRM.open(work) as crm:
        crm.ledger.undo("last")
        crm.privacy.erase(gone)
    told = restore(work, file, force=True, dry_run=True)
    assert ({format_id(gone): format_id(keep)}, 0) == (told.absorbed, told.erased_again)
    with pytest.raises(UsageError, match=f"is a part of customer {format_id(keep)}"):
        restore(work, file, force=True)
    restore(work, file, force=True, despite_erasures=True)
    with CRM.open(work) as crm:
        assert [(gone, keep)] == [(who, other) for _, who, other in crm.privacy.unsettled()]
    said = Crm(work)("doctor")
    assert (1, True) == (said.code, format_id(gone) in said.out)
    with CRM.open(work) as crm:
        crm.ledger.undo("last")
    with CRM.open(work) as crm:
        assert (1, []) == (crm.erased_again, crm.privacy.unsettled())
        assert (None, "Grace Ada") == (crm.customers.get(gone).name, crm.customers.get(keep).name)
    assert [] == held(work)


def test_who_was_deleted_in_the_backup_is_erased_from_its_ledger(near: Path, tmp_path: Path) -> None:
    file = tmp_path / "deleted.crm"
    with CRM.open(near) as crm:
        one = crm.customers.add(Customer(name=CANARY), email=f"{CANARY}@example.org", external=("old", CANARY))
        crm.customers.delete(one)
    back_up(near, file)
    with CRM.open(near) as crm:
        crm.ledger.undo("last")
        crm.privacy.erase(one.id)
    assert 1 == restore(near, file, force=True).erased_again
    assert [] == held(near)
    with CRM.open(near) as crm:
        assert crm.ledger.verify().intact
        with pytest.raises(NotFound):
            crm.privacy.erase(one.id)  # nothing is left of them


def test_who_came_after_the_backup_is_not_looked_for(near: Path, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(near) as crm:
        crm.customers.add(Customer(name="Grace"))
    back_up(near, file)
    with CRM.open(near) as crm:
        who = person(crm)
    erase(near, who)
    assert 0 == restore(near, file, force=True).erased_again
    with CRM.open(near) as crm:
        assert ["Grace"] == [one.name for one in crm.customers.iterate()]
        assert 1 == crm.ledger.history.head()


@pytest.mark.database("sqlite")
def test_a_file_that_was_damaged_stops_a_restore_and_a_line_cut_off_does_not(embedded: Path, tmp_path: Path) -> None:
    file, log = tmp_path / "monday.crm", embedded / FILE
    with CRM.open(embedded) as crm:
        who, other = person(crm), person(crm, "Grace")
    back_up(embedded, file)
    erase(embedded, who)
    with log.open("a", encoding="utf-8") as stream:
        stream.write('{"operation": "0CN5')  # whoever wrote it was killed
    erase(embedded, other)
    assert {who, other} == {each for one in ErasureLog(embedded).read() for each in one.persons}
    whole = log.read_text("utf-8")
    log.write_text(whole.replace('"persons"', '"person"', 1), "utf-8")
    with pytest.raises(StorageError, match="line 1") as error:
        restore(embedded, file, force=True)
    assert "--despite-erasures" in error.value.hint
    assert "line 1" in Crm(embedded)("doctor").out
    with CRM.open(embedded) as crm:
        assert "" == crm.privacy.erase(crm.customers.add(Customer(name="Eve")).id).not_noted
    assert len(whole.splitlines()) + 1 == len(log.read_text("utf-8").splitlines())
    assert 2 == restore(embedded, file, force=True, despite_erasures=True).erased_again  # the database knew
    assert "--despite-erasures" in Crm(embedded)("storage", "restore", str(file), "--force").err
    log.write_text(whole, "utf-8")
    start_over(embedded)
    assert 2 == restore(embedded, file).erased_again


@pytest.mark.database("sqlite")
def test_an_erasure_that_failed_at_its_commit_is_not_repeated(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "monday.crm"
    with CRM.open(embedded) as crm:
        who = person(crm)
        back_up(embedded, file)

        def full() -> None:
            raise StorageError("no room")

        monkeypatch.setattr(crm.storage, "commit", full)
        with pytest.raises(StorageError, match="no room"):
            crm.privacy.erase(who)
        monkeypatch.undo()
    assert [] == ErasureLog(embedded).read()
    start_over(embedded)
    assert 0 == restore(embedded, file).erased_again


@pytest.mark.database("sqlite")
def test_a_folder_that_cannot_be_written_to_keeps_nobody_from_being_erased(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CRM.open(embedded) as crm:
        who = person(crm)
        (embedded / FILE).mkdir()
        told = crm.privacy.erase(who)
    assert FILE in told.not_noted
    assert [] == held(embedded)


@pytest.mark.database("sqlite")
def test_without_the_key_of_the_ledger_nothing_is_restored_that_could_not_be_erased_again(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "monday.crm"
    monkeypatch.setenv("CRM_LEDGER_KEY", "0123456789abcdef" * 4)
    with (embedded / "crm.toml").open("a", encoding="utf-8") as toml:
        toml.write('\n[ledger]\nkey = {env = "CRM_LEDGER_KEY"}\n')
    with CRM.open(embedded) as crm:
        who = person(crm)
    back_up(embedded, file)
    erase(embedded, who)
    monkeypatch.delenv("CRM_LEDGER_KEY")
    with pytest.raises(SettingsError):
        restore(embedded, file, force=True)
    with CRM.open(embedded) as crm:
        assert None is crm.customers.get(who).name


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("portable", FORMS)
def test_who_is_erased_while_the_backup_is_read_is_erased_again_too(
    embedded: Path, portable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, waiting = tmp_path / "monday.crm", list[int]()
    with CRM.open(embedded) as crm:
        waiting.append(person(crm))
    back_up(embedded, file, portable=portable)
    compared = restoring.returning

    def meanwhile(known: Sequence[Erased], seen: Seen) -> Returning:
        while waiting:
            erase(embedded, waiting.pop())
        return compared(known, seen)

    monkeypatch.setattr(restoring, "returning", meanwhile)
    assert 1 == restore(embedded, file, force=True).erased_again
    assert [] == held(embedded)


@pytest.mark.parametrize("database", DATABASES)
def test_a_backup_that_is_to_be_upgraded_first_is_erased_by_the_upgrade(database: str, tmp_path: Path) -> None:
    work, file = made(database, tmp_path), tmp_path / "monday.crm"
    with CRM.open(work) as crm:
        who = person(crm)
    back_up(work, file)
    erase(work, who)
    with (work / "crm.toml").open("a", encoding="utf-8") as toml:
        toml.write('\n[fields.customer.sector]\ntype = "text"\n')
    shop = Crm(work)
    shop.ok("storage", "upgrade")
    told = shop.ok("storage", "restore", str(file), "--force", "--json").json
    assert (1, "done" if database == "sqlite" else "later") == (told["erased_again"], told["erasing"])
    if database != "sqlite":
        assert 1 == shop("customers", "list").code
        assert 1 == shop.ok("storage", "upgrade", "--json").json["erased_again"]
    assert [] == held(work)


@pytest.mark.database("sqlite")
def test_the_command_says_before_and_after_whom_it_erases_again(embedded: Path, tmp_path: Path) -> None:
    file, shop = tmp_path / "monday.crm", Crm(embedded)
    with CRM.open(embedded) as crm:
        who = person(crm)
    back_up(embedded, file)
    assert "erased since     nobody" in shop.ok("storage", "restore", str(file), "--dry-run").out
    erase(embedded, who)
    assert "1 person in the backup" in shop.ok("storage", "restore", str(file), "--dry-run").out
    assert 1 == shop.ok("storage", "restore", str(file), "--dry-run", "--json").json["erased_again"]
    assert "1 person, erased again" in shop.ok("storage", "restore", str(file), "--force").out
    assert [] == held(embedded)
