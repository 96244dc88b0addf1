"""Portable backups: the way of a team from one database to another, and what a restore on a server must not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Money, Sale
from crm_core.errors import StorageError, StorageLocked
from crm_core.extend import TableRows
from crm_core.ledger.evolution import upgrade
from crm_core.settings import load_settings, write_settings
from crm_core.testing.tables import MANIFEST, THINGS, thing
from crm_core.upkeep import back_up, check_backup, restore, verify_workspace
from crm_products import Product, SaleLine
from crm_storage_sql.server import ServerStorage
from tests.databases import DATABASES, OPENERS, SERVERS, drop_all, new_url

ON_SERVERS = [pytest.param(name, id=name, marks=pytest.mark.database(name)) for name in SERVERS]


@pytest.fixture(autouse=True, scope="module")
def dropped() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make workspaces on databases of a kind; each has the same settings and key of the ledger."""
    monkeypatch.setenv("CRM_LEDGER_KEY", "0123456789abcdef" * 4)
    made = iter(range(100))

    def make(database: str) -> Path:
        folder = tmp_path / f"{database}-{next(made)}"
        folder.mkdir()
        write_settings(folder, storage_url=new_url(database, folder), currency="EUR")
        toml = (folder / "crm.toml").read_text("utf-8")
        own = '\n[fields.customer.sector]\ntype = "text"\n\n[ledger]\nkey = {env = "CRM_LEDGER_KEY"}\n'
        (folder / "crm.toml").write_text(toml + own, "utf-8")
        return folder

    return make


def fill(folder: Path) -> None:
    with CRM.open(folder) as crm:
        product = crm.records(Product).add(Product(name="۱۲ عدد"))
        for n, name in enumerate(("Ada", "سارا احمدی", "Արամ", "e\u0301 ", "😀" * 50)):
            one = crm.customers.add(
                Customer(name=name, tags=("vip", "قدیمی"), fields={"sector": "بازرگانی"}),
                email=f"{n}@example.org",
                external=("old", f"c{n}"),
            )
            sold = crm.sales.add(Sale(customer_id=one.id, amount=Money("12.50", "EUR")))
            crm.records(SaleLine).add(SaleLine(sale_id=sold.id, product_id=product.id, amount=Money("3", "EUR")))
        crm.customers.delete(crm.customers.add(Customer(name="gone")))
        crm.ledger.undo(crm.ledger.resolve("last"))


@pytest.mark.parametrize("database", ON_SERVERS)
def test_a_team_moves_from_sqlite_to_a_server_and_back_with_equal_content(
    database: str, place: Callable[[str], Path], tmp_path: Path
) -> None:
    files = [tmp_path / f"{n}.crm" for n in range(3)]
    start, server, end = place("sqlite"), place(database), place("sqlite")
    fill(start)
    infos = [back_up(start, files[0], portable=True)]
    for folder, came, leaves in ((server, files[0], files[1]), (end, files[1], files[2])):
        assert 0 == restore(folder, came).replaced
        infos.append(back_up(folder, leaves, portable=True))
        assert [] == [check for check in verify_workspace(folder) if check.state == "wrong"]
        with CRM.open(folder) as crm:
            found = crm.ledger.verify()
            assert (True, infos[0].position, 0) == (found.intact, found.keyed, found.plain)
            assert ["سارا احمدی"] == [one.name for one in crm.customers.search("احمدی").records]
    assert infos[0].digests == infos[1].digests == infos[2].digests
    assert infos[0].rows == infos[2].rows
    with CRM.open(server) as crm:  # and life goes on there
        crm.customers.add(Customer(name="New"))
    assert infos[0].rows["customers"] + 1 == back_up(server, tmp_path / "later.crm").rows["customers"]
    assert restore(server, files[0], force=True).replaced > 0
    assert infos[0].digests == back_up(server, tmp_path / "again.crm").digests


@pytest.mark.parametrize("database", DATABASES)
def test_what_is_wrong_in_a_database_is_told_by_its_portable_backup_and_not_restored(
    database: str, place: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, file = place(database), tmp_path / "wrong.crm"
    fill(folder)
    storage = OPENERS[database](load_settings(folder).storage_url, {})
    storage.use(storage.schema() or MANIFEST)
    storage.begin()
    storage.put_many("ledger_head", ["id", "position"], [(1, 999)])
    storage.commit()
    storage.close()
    info = back_up(folder, file, portable=True)
    assert "the head of the ledger says position 999" in info.faults[0]
    assert info.faults == check_backup(file).faults
    with pytest.raises(StorageError, match="wrong in itself"):
        restore(folder, file, force=True)


@pytest.mark.parametrize("database", ON_SERVERS)
def test_a_database_that_others_build_on_is_not_half_replaced(database: str, tmp_path: Path) -> None:
    storage = OPENERS[database](new_url(database, tmp_path), {})
    assert isinstance(storage, ServerStorage)
    upgrade(storage, MANIFEST)
    session = storage._session()
    session.change("CREATE VIEW mine AS SELECT id FROM things")
    if database == "postgresql":  # which would have to drop it
        with pytest.raises(StorageError, match="depend") as error:
            storage.replace(MANIFEST, [])
        assert "a view of somebody" in error.value.hint
        session.change("DROP VIEW mine")
    storage.replace(MANIFEST, [TableRows("things", THINGS.column_names, [[thing(1)]])])
    assert [thing(1)] == storage.find("things")
    storage.close()


@pytest.mark.database("mariadb")
def test_what_a_killed_replacement_left_stands_in_nobodys_way_and_is_swept(tmp_path: Path) -> None:
    url = new_url("mariadb", tmp_path)
    storage = OPENERS["mariadb"](url, {})
    assert isinstance(storage, ServerStorage)
    ddl: Any = storage.ddl(storage._session(), MANIFEST)
    ddl.create_manifest_table()
    ddl.create_table(THINGS, "crm_new_1")
    ddl.create_table(THINGS, "crm_old_2")
    storage.close()
    storage = OPENERS["mariadb"](url, {})
    assert isinstance(storage, ServerStorage)
    assert None is storage.schema()
    storage.replace(MANIFEST, [TableRows("things", THINGS.column_names, [[thing(1)]])])
    ddl = storage.ddl(storage._session(), MANIFEST)
    assert {"crm_manifest", *MANIFEST.tables} == set(ddl.tables())
    ddl.create_table(THINGS, "crm_old_1")  # an erasure must reach these too
    storage.scrub()
    assert {"crm_manifest", *MANIFEST.tables} == set(ddl.tables())
    assert [thing(1)] == storage.find("things")
    storage.close()


@pytest.mark.parametrize("database", ON_SERVERS)
def test_who_waits_too_long_for_a_restore_to_take_a_snapshot_can_go_on_later(database: str, tmp_path: Path) -> None:
    url = new_url(database, tmp_path)
    storage, impatient = OPENERS[database](url, {}), OPENERS[database](url, {"timeout": 1})
    assert isinstance(storage, ServerStorage)
    upgrade(storage, MANIFEST)
    upgrade(impatient, MANIFEST)
    take, give_back = {
        "postgresql": ("BEGIN; LOCK TABLE crm_manifest IN ACCESS EXCLUSIVE MODE", "COMMIT"),
        "mariadb": ("LOCK TABLES crm_manifest WRITE", "UNLOCK TABLES"),
    }[database]
    storage._session().change(take)
    with pytest.raises(StorageLocked):
        impatient.begin(write=False)
    storage._session().change(give_back)
    impatient.begin()
    impatient.insert_many("things", THINGS.column_names, [thing(1)])
    impatient.commit()
    impatient.begin(write=False)
    assert [thing(1)] == impatient.find("things")
    impatient.rollback()
    storage.close()
    impatient.close()
