"""Keys of texts that an older kernel folded otherwise are made anew by an upgrade, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from crm_core import CRM, Customer
from crm_core.errors import StorageError, UpgradeNeeded
from crm_core.extend import Storage, Update
from crm_core.ledger import evolution
from crm_core.opening import opened_storage, upgrade_workspace
from crm_core.records import ContactPoint
from crm_core.upkeep import back_up, restore, verify_workspace
from tests.databases import DATABASES, drop_all, new_url

NAMES = ("İstanbul Lojistik", "KILIÇ", "Kılıç Çelik", "i\u0307zmir", "Ada", "علی")
OLD = {"İstanbul Lojistik": "i\u0307stanbul lojistik", "Kılıç Çelik": "kılıç çelik", "i\u0307zmir": "i\u0307zmir"}


@pytest.fixture(autouse=True, scope="module")
def dropped() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database as a kernel of schema version 1 left it."""
    found = new_url(str(request.param), tmp_path)
    with CRM.open(found) as crm:
        for name in NAMES:
            one = crm.customers.add(Customer(name=name, tags=(name,)), email=f"ılgaz{len(name)}@example.org")
            crm.contact_points.add(ContactPoint(customer_id=one.id, kind="telegram", value=name))
        gone, renamed = crm.customers.add_many([Customer(name="Işık"), Customer(name="Işıl")])
        aged(crm.storage)
        with monkeypatch.context() as patch:
            patch.setattr("crm_core.records.codec.text_key", str.casefold)  # as far as these names go, as it was
            patch.setattr("crm_core.records.rows.text_key", str.casefold)
            crm.customers.edit(crm.customers.get(renamed.id).evolve(name="Işıltı"))
            crm.customers.delete(crm.customers.get(gone.id))
    return found


def aged(storage: Storage) -> None:
    """Give texts the keys that they had, and the database its version."""
    manifest = storage.schema()
    assert manifest is not None
    olden = {**OLD, "Işık": "işık", "Işıl": "işıl"}
    storage.begin()
    texts = (("customers", "name", "name_key"), ("customer_tags", "tag", "tag_key"), ("contact_points", "value", "key"))
    for table, text, key in texts:
        for id_, version, said in storage.find(table, columns=["id", "version", text]):
            if said in olden:
                update = Update(int(id_ or 0), int(version or 0), {key: olden[str(said)]})
                storage.update_if_version(table, [update])
    storage.commit()
    storage.apply([], attrs.evolve(manifest, version=1))


def found(crm: CRM, *typed: str) -> list[str | None]:
    return [one.name for text in typed for one in crm.customers.search(text)]


def opened(url: str) -> CRM:
    """Open a CRM; on a server an older database is refused until it was upgraded on purpose."""
    if url.startswith("sqlite"):
        return CRM.open(url)
    with pytest.raises(UpgradeNeeded, match="crm-core 2 wants it"):
        CRM.open(url)
    assert upgrade_workspace(url).rows > 0
    return CRM.open(url)


def test_either_i_finds_the_other_in_a_database_of_before(url: str) -> None:
    with opened(url) as crm:
        assert ["İstanbul Lojistik"] * 3 == found(crm, "istanbul", "ISTANBUL", "İSTANBUL lojistik")
        assert {"KILIÇ", "Kılıç Çelik"} == set(found(crm, "kiliç"))
        assert ["i\u0307zmir"] == found(crm, "İzm")
        assert ["Kılıç Çelik"] == [one.name for one in crm.customers.find(where='tags contains "KILIÇ ÇELİK"')]
        crm.ledger.undo("last")
        assert () == crm.ledger.undo(crm.ledger.operations(limit=3)[2].id).kept
        assert ["Işıl"] == found(crm, "IŞIL")
        assert ["Işık"] == found(crm, "ISIK") + found(crm, "IŞIK")  # what was deleted under the old keys
        assert set(NAMES) == set(found(crm, "ılgaz"))
        assert 6 == len(crm.contact_points.find(where='value contains "ılgaz"'))
    assert not upgrade_workspace(url).needed
    assert [] == [check for check in verify_workspace(url) if check.state == "wrong"]


def test_an_upgrade_that_is_interrupted_goes_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    write = evolution._write

    def failing(*said: object) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StorageError("the power is gone")
        return write(*said)  # type: ignore[arg-type]

    monkeypatch.setattr(evolution, "CHUNK", 2)
    monkeypatch.setattr(evolution, "_write", failing)
    with pytest.raises(StorageError, match="the power is gone"):
        upgrade_workspace(url)
    _, _, storage = opened_storage(url)
    stored = storage.schema()
    storage.close()
    assert stored is not None
    assert 1 == stored.version
    assert 0 < upgrade_workspace(url).rows
    with CRM.open(url) as crm:
        assert ["İstanbul Lojistik", "i\u0307zmir"] == found(crm, "istanbul", "izmir")


@pytest.mark.database("sqlite")
def test_a_backup_of_before_is_upgraded_when_it_was_restored(tmp_path: Path) -> None:
    url, file = new_url("sqlite", tmp_path), tmp_path / "old.crm"
    with CRM.open(url) as crm:
        crm.customers.add(Customer(name="İstanbul Lojistik"))
        aged(crm.storage)
    back_up(url, file, portable=True)
    assert restore(url, file, force=True).older
    with CRM.open(url) as crm:
        assert ["İstanbul Lojistik"] == found(crm, "istanbul")
