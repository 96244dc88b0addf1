"""The hash chain: what is edited, deleted, inserted or reordered in the ledger shows, and where; giving up keeps it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from crm_core import CRM, Customer, hookimpl
from crm_core.errors import SettingsError, UndoRefused, UsageError
from crm_core.events import CustomersChanged
from crm_core.ledger.audit import ChainReport
from crm_core.ledger.chain import EMPTIED, Chain
from crm_core.ledger.tables import IMAGES, OPERATIONS, TRANSACTIONS
from crm_core.records.schema import Primitive, Row, Table
from crm_core.settings import load_settings
from tests.databases import DATABASES, new_url

KEY = "a key of thirty-two characters ok"
Tamper = Callable[[sqlite3.Connection], object]


def changed(crm: CRM, times: int = 3) -> Customer:
    """Add a customer and change it: a transaction each."""
    made = crm.customers.add(Customer(name="Ada", city="0"))
    for number in range(1, times):
        made = crm.customers.edit(made.evolve(city=str(number)))
    return made


def overwrite(crm: CRM, table: Table, change: Callable[[dict[str, Primitive]], dict[str, Primitive]]) -> None:
    """Write ledger rows anew past the ledger, as somebody with access to the storage could."""

    def written(row: Row) -> Row:
        cells = dict(zip(table.column_names, row, strict=True))
        return tuple({**cells, **change(cells)}.values())

    rows = crm.storage.find(table.name)
    crm.storage.begin()
    crm.storage.put_many(table.name, table.column_names, [written(row) for row in rows])
    crm.storage.commit()


def where(report: ChainReport) -> int | None:
    return None if report.broken is None else report.broken.position


def test_every_transaction_is_linked_and_the_chain_holds(crm: CRM) -> None:
    ada = changed(crm)
    with crm.operation("tidy"):
        crm.customers.add_many(Customer(name=f"C{n}") for n in range(2_100))
    crm.customers.delete(ada)
    crm.ledger.undo(crm.ledger.resolve("last"))
    report = crm.ledger.verify(crm.ledger.anchor())
    assert (True, 8, 0, 0) == (report.intact, report.plain, report.keyed, report.unchained)
    assert crm.ledger.anchor() == report.anchor


@pytest.mark.parametrize("database", DATABASES)
def test_the_chain_holds_when_many_write_at_once(database: str, tmp_path: Path) -> None:
    with CRM.open(new_url(database, tmp_path)) as crm:

        def write(name: int) -> None:
            for number in range(12):
                crm.customers.edit(crm.customers.add(Customer(name=f"{name} {number}")).evolve(city="Rome"))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        report = crm.ledger.verify()
        assert (None, 96, 48) == (report.broken, report.plain, report.images)


def test_an_empty_ledger_holds_and_has_no_head(crm: CRM) -> None:
    assert (True, 0) == (crm.ledger.verify().intact, crm.ledger.verify().position)
    with pytest.raises(UsageError, match="no head yet"):
        crm.ledger.anchor()


def test_an_edited_image_shows_at_its_position(crm: CRM) -> None:
    changed(crm, 4)
    overwrite(crm, IMAGES, lambda row: {"content": str(row["content"]).replace('"2"', '"x"')})
    assert 3 == where(crm.ledger.verify())


def test_who_did_it_is_covered_and_how_it_went_on_is_not(crm: CRM) -> None:
    changed(crm)
    overwrite(crm, OPERATIONS, lambda row: {"state": "undone", "detail": '{"more": 1}'})
    assert crm.ledger.verify().intact
    overwrite(crm, OPERATIONS, lambda row: {"user_id": 7} if row["label"] == "edit customer" else {})
    assert 2 == where(crm.ledger.verify())


def test_an_image_that_was_emptied_by_no_erasure_shows(crm: CRM) -> None:
    from crm_core.ledger.audit import emptied

    changed(crm)
    rows = crm.storage.find(IMAGES.name)
    crm.storage.begin()
    crm.storage.put_many(IMAGES.name, IMAGES.column_names, [emptied(rows[1])])
    crm.storage.commit()
    report = crm.ledger.verify()
    assert 3 == where(report)
    assert report.broken is not None
    assert "by no erasure" in report.broken.reason


def test_an_anchor_kept_elsewhere_shows_that_the_end_is_cut_off(tmp_path: Path) -> None:
    url = "memory:"
    with CRM.open(url) as crm:
        changed(crm, 5)
        anchor = crm.ledger.anchor()
    with CRM.open(url) as crm:  # another ledger, shorter
        changed(crm, 3)
        report = crm.ledger.verify(anchor)
    assert 4 == where(report)
    assert report.broken is not None
    assert "the end is cut off" in report.broken.reason


def test_an_anchor_shows_a_chain_that_was_computed_anew() -> None:
    with CRM.open("memory:") as crm:
        changed(crm)
        anchor = crm.ledger.anchor()
    with CRM.open("memory:") as crm:
        changed(crm)
        assert crm.ledger.verify().intact
        assert 3 == where(crm.ledger.verify(anchor))


@pytest.mark.parametrize("anchor", ["", "12", "12:plain:5f", "x:plain:" + "0" * 64, "1:other:" + "0" * 64])
def test_what_is_no_anchor_is_refused(anchor: str) -> None:
    with CRM.open("memory:") as crm, pytest.raises(UsageError, match="is no anchor"):
        crm.ledger.verify(anchor)


OF_THE_FOURTH = "WHERE id = (SELECT operation_id FROM ledger_transactions WHERE position = 4)"
TAMPERINGS: dict[str, tuple[Tamper, int]] = {
    "a transaction deleted": (lambda c: c.execute("DELETE FROM ledger_transactions WHERE position = 3"), 3),
    "the last one deleted": (lambda c: c.execute("DELETE FROM ledger_transactions WHERE position = 6"), 6),
    "an image deleted": (
        lambda c: c.execute("DELETE FROM ledger_images WHERE id = (SELECT max(id) FROM ledger_images)"),
        6,
    ),
    "an image of another added": (
        lambda c: c.execute(
            "INSERT INTO ledger_images SELECT id + 1, tx_id, table_name, record_id, action, content, salt, digest"
            " FROM ledger_images WHERE id = (SELECT min(id) FROM ledger_images)"
        ),
        2,
    ),
    "an image of none added": (
        lambda c: c.execute(
            "INSERT INTO ledger_images SELECT 1, 1, table_name, record_id, action, content, salt, digest"
            " FROM ledger_images LIMIT 1"
        ),
        0,
    ),
    "two swapped": (
        lambda c: c.executescript(
            "UPDATE ledger_transactions SET position = -1 WHERE position = 4;"
            "UPDATE ledger_transactions SET position = 4 WHERE position = 5;"
            "UPDATE ledger_transactions SET position = 5 WHERE position = -1;"
        ),
        4,
    ),
    "a time changed": (lambda c: c.execute("UPDATE ledger_transactions SET at = at + 1 WHERE position = 2"), 2),
    "a start changed": (
        lambda c: c.execute(f"UPDATE ledger_operations SET started_at = started_at - 1 {OF_THE_FOURTH}"),
        4,
    ),
    "an end changed": (lambda c: c.execute(f"UPDATE ledger_operations SET ended_at = ended_at + 1 {OF_THE_FOURTH}"), 4),
    "an end taken off": (lambda c: c.execute(f"UPDATE ledger_operations SET ended_at = NULL {OF_THE_FOURTH}"), 4),
    "a process changed": (lambda c: c.execute(f"UPDATE ledger_operations SET process = 'x:1:2' {OF_THE_FOURTH}"), 4),
    "a kind changed": (lambda c: c.execute(f"UPDATE ledger_operations SET kind = 'rule' {OF_THE_FOURTH}"), 4),
    "a link taken off": (lambda c: c.execute("UPDATE ledger_transactions SET chain = NULL WHERE position = 5"), 5),
    "an operation deleted": (
        lambda c: c.execute(
            "DELETE FROM ledger_operations WHERE id = (SELECT operation_id FROM ledger_transactions WHERE position = 4)"
        ),
        4,
    ),
    "all links taken off but one": (
        lambda c: c.execute("UPDATE ledger_transactions SET chain = NULL WHERE position < 6"),
        6,
    ),
}


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_shows_at_its_position(name: str, tmp_path: Path) -> None:
    tamper, position = TAMPERINGS[name]
    url = f"sqlite:///{tmp_path}/team.db"
    with CRM.open(url) as crm:
        changed(crm, 6)
        assert crm.ledger.verify().intact
    with closing(sqlite3.connect(tmp_path / "team.db")) as raw:
        tamper(raw)
        raw.commit()
    with CRM.open(url) as crm:
        assert position == where(crm.ledger.verify())


def test_when_an_operation_of_several_transactions_began_is_covered_and_how_it_ended_is_not(crm: CRM) -> None:
    with crm.operation("tidy"):
        crm.customers.add(Customer(name="Ada"))
        crm.customers.add(Customer(name="Bob"))
    overwrite(crm, OPERATIONS, lambda row: {"ended_at": int(str(row["ended_at"])) + 1, "process": "x:1:2"})
    assert crm.ledger.verify().intact
    overwrite(crm, OPERATIONS, lambda row: {"started_at": int(str(row["started_at"])) - 1})
    assert 1 == where(crm.ledger.verify())


def test_links_of_before_times_were_covered_hold_and_those_after_them_cover_more(
    crm: CRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crm_core.ledger import chain

    covered = chain.header_of
    with monkeypatch.context() as patch:
        patch.setattr(chain, "header_of", lambda *given: covered(*given)[:-3])
        changed(crm)
    changed(crm)
    assert (True, 6) == (crm.ledger.verify().intact, crm.ledger.verify().plain)
    rows = crm.storage.find(TRANSACTIONS.name)
    at = {row[2]: int(str(row[1])) for row in rows}
    overwrite(crm, OPERATIONS, lambda row: {"started_at": 7} if at[row["id"]] == 2 else {})
    assert crm.ledger.verify().intact
    overwrite(crm, OPERATIONS, lambda row: {"started_at": 7} if at[row["id"]] in (2, 5) else {})
    assert 5 == where(crm.ledger.verify())
    overwrite(crm, OPERATIONS, lambda row: {"label": "x"} if at[row["id"]] == 3 else {})
    assert 3 == where(crm.ledger.verify())


@pytest.fixture
def keyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose chain has a key."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "crm.toml").write_text(
        f'[storage]\nurl = "sqlite:///{folder}/crm.db"\n[ledger]\nkey = {{env = "CRM_TEST_LEDGER_KEY"}}\n', "utf-8"
    )
    monkeypatch.setenv("CRM_TEST_LEDGER_KEY", KEY)
    return folder


@pytest.mark.database("sqlite")
def test_with_a_key_who_has_the_database_alone_cannot_make_a_chain_that_holds(
    keyed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CRM.open(keyed) as crm:
        changed(crm)
        assert (True, 3) == (crm.ledger.verify().intact, crm.ledger.verify().keyed)
        forge(crm, crm._chain)
        assert crm.ledger.verify().intact, "the forger below does it right but for the key"
    monkeypatch.setenv("CRM_TEST_LEDGER_KEY", "another key, as long as that one")
    with CRM.open(keyed) as crm:
        assert 1 == where(crm.ledger.verify()), "links of another key are not links"
        forge(crm, crm._chain)
    monkeypatch.setenv("CRM_TEST_LEDGER_KEY", KEY)
    with CRM.open(keyed) as crm:
        assert 1 == where(crm.ledger.verify())


def forge(crm: CRM, chain: Chain) -> None:
    """Change history and compute every link anew."""
    from crm_core.ledger.chain import header_of, image_digest

    overwrite(crm, IMAGES, lambda row: {"content": '{"city": ["forged", "x"]}'})
    images = crm.storage.find(IMAGES.name)
    operations = {row[0]: row for row in crm.storage.find(OPERATIONS.name)}
    links: dict[Primitive, str] = {}
    previous = None
    for row in sorted(crm.storage.find(TRANSACTIONS.name), key=lambda one: int(str(one[1]))):
        digests = [image_digest(image[6], image) for image in images if image[1] == row[0]]
        header = header_of(int(str(row[1])), (row[0], *row[2:5]), operations[row[2]])
        previous = links[row[0]] = chain.link(previous, header, digests)
    overwrite(crm, TRANSACTIONS, lambda row: {"chain": links[row["id"]]})


@pytest.mark.database("sqlite")
def test_without_the_key_nothing_is_written_and_everything_can_be_read(
    keyed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CRM.open(keyed) as crm:
        changed(crm)
    monkeypatch.setenv("CRM_TEST_LEDGER_KEY", "short")
    for told in ("holds 5 bytes", "holds nothing"):
        with CRM.open(keyed) as crm:
            assert ["2"] == [one.city for one in crm.customers.find()]
            writing = partial(crm.customers.add, Customer(name="Bob"))
            for action in (writing, crm.ledger.verify, crm.ledger.require_key):
                with pytest.raises(SettingsError, match=told):
                    action()
        monkeypatch.delenv("CRM_TEST_LEDGER_KEY", raising=False)


@pytest.mark.database("sqlite")
def test_a_key_in_a_file_takes_over_from_a_plain_chain_and_does_not_go_back(keyed: Path, tmp_path: Path) -> None:
    toml = keyed / "crm.toml"
    with_key = toml.read_text("utf-8").replace('env = "CRM_TEST_LEDGER_KEY"', 'file = "../ledger.key"')
    without = with_key.partition("[ledger]")[0]
    (tmp_path / "ledger.key").write_text(f"{KEY}\n", "utf-8")
    toml.write_text(without, "utf-8")
    with CRM.open(keyed) as crm:
        changed(crm, 2)
    toml.write_text(with_key, "utf-8")
    with CRM.open(keyed) as crm:
        changed(crm, 2)
        report = crm.ledger.verify()
        assert (True, 2, 2) == (report.intact, report.plain, report.keyed)
    toml.write_text(without, "utf-8")
    with CRM.open(keyed) as crm:
        with pytest.raises(UsageError, match="made with a key, and the settings name none"):
            crm.ledger.verify()
        changed(crm, 2)
    toml.write_text(with_key, "utf-8")
    with CRM.open(keyed) as crm:
        assert 5 == where(crm.ledger.verify())
    (tmp_path / "ledger.key").unlink()
    with CRM.open(keyed) as crm, pytest.raises(SettingsError, match=r"ledger\.key cannot be read"):
        changed(crm)


@pytest.mark.parametrize("key", ['"secret"', '{env = "A", file = "b"}', "{}", '{env = ""}', '{word = "x"}'])
def test_settings_take_a_place_and_never_the_key_itself(key: str, tmp_path: Path) -> None:
    (tmp_path / "crm.toml").write_text(f'[storage]\nurl = "memory:"\n[ledger]\nkey = {key}\n', "utf-8")
    with pytest.raises(SettingsError, match="never the key itself") as error:
        load_settings(tmp_path)
    assert "secret" not in str(error.value)


# Giving up what is old


def test_compacting_gives_up_images_and_keeps_the_chain_the_log_and_what_is_new(crm: CRM) -> None:
    ada = changed(crm)
    bob = crm.customers.add(Customer(name="Bob"))
    crm.customers.delete(bob)
    operations = [one.label for one in crm.ledger.operations()]
    at = datetime.now(UTC) + timedelta(microseconds=1)
    later = crm.customers.edit(ada.evolve(city="later"))
    said = crm.ledger.compact(at, dry_run=True)
    assert (5, 3, 3, 3) == (said.through, said.images, said.transactions, said.operations)
    assert operations == [one.label for one in crm.ledger.operations()][1:]
    done = crm.ledger.compact(at)
    assert (said.images, said.through) == (done.images, done.through)
    report = crm.ledger.verify()
    assert (True, 3) == (report.intact, report.emptied)
    assert 0 == crm.ledger.compact(at).images
    compacting, newest, deleting, *_ = crm.ledger.operations()
    for one in (compacting, deleting):
        with pytest.raises(UndoRefused):
            crm.ledger.undo(one.id)
    crm.ledger.undo(newest.id)
    assert (later.city, "2") == ("later", crm.customers.get(ada.id).city)
    (first,) = [one for one in crm.ledger.operations() if one.label == "add customer" and one.id < deleting.id][-1:]
    with pytest.raises(UndoRefused, match="edited since"):
        crm.ledger.undo(first.id)


def test_what_was_only_created_before_can_still_be_undone(crm: CRM) -> None:
    crm.customers.add_many(Customer(name=f"C{n}") for n in range(5))
    created = crm.ledger.resolve("last")
    changed(crm)
    crm.ledger.compact(datetime.now(UTC) + timedelta(days=1))
    assert {"customer": 5} == dict(crm.ledger.undo(created).reversed)
    assert crm.ledger.verify().intact


def test_what_a_subscriber_has_not_been_told_yet_is_kept() -> None:
    class Weak:
        @hookimpl
        def on_customers_changed(self, event: CustomersChanged) -> None:
            raise ValueError("away")

    with CRM.open("memory:", plugins=[Weak()]) as crm:
        changed(crm)
        said = crm.ledger.compact(datetime.now(UTC) + timedelta(days=1), dry_run=True)
        assert (0, 0) == (said.through, said.images)
        assert 1 == len(said.held_by)


def test_emptied_images_are_json_that_says_nothing(crm: CRM) -> None:
    changed(crm)
    crm.ledger.compact(datetime.now(UTC) + timedelta(days=1))
    contents = [row[5] for row in crm.storage.find(IMAGES.name) if row[2] != IMAGES.name]
    assert ([EMPTIED] * 2, None) == (contents, json.loads(EMPTIED))
