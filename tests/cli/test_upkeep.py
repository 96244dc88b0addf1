"""Backup, restore and verify as a team types them; plugins that go, come back, or are purged."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, Money, Sale
from tests.cli.calling import Crm
from tests.distributions import installed

pytestmark = pytest.mark.database("sqlite")
ROOT = Path(__file__).parent.parent.parent

LISTENER = """
from crm_core import hookimpl

class Listener:
    @hookimpl
    def on_customers_changed(self, event):
        with open("told.txt", "a", encoding="utf-8") as file:
            file.write(f"{event.position}\\n")

plugin = Listener()
"""


@pytest.fixture
def shop(empty: Path, tmp_path: Path) -> Crm:
    """A workspace with a few records."""
    place = tmp_path / "shop"
    shutil.copytree(empty, place)
    with CRM.open(place) as crm:
        ada = crm.customers.add(Customer(name="Ada", tags=("vip",)), email="ada@example.org", external=("old", "1"))
        deal = crm.deals.add(Deal(customer_id=ada.id, title="Licence", amount=Money("12", "EUR")))
        crm.deals.move(deal, "won")
        crm.customers.add_many([Customer(name=f"مشتری {n}") for n in range(500)])
        crm.ledger.undo(crm.ledger.resolve("last"))
    return Crm(place)


def database(crm: Crm) -> Path:
    return next(crm.directory.glob("*.db"))


def names(crm: Crm) -> list[str]:
    return sorted(one["name"] for one in crm.ok("customers", "list", "--limit", "1000", "--json").json)


def test_a_backup_brings_everything_back(shop: Crm, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    info = shop.ok("storage", "backup", str(file), "--json").json
    assert 1 == info["rows"]["customers"]
    shop.ok("customers", "add", "Grace")
    refused = shop("storage", "restore", str(file), "--json")
    assert (2, True) == (refused.code, "--force" in refused.error["hint"])
    assert ["Ada", "Grace"] == names(shop)
    tried = shop.ok("storage", "restore", str(file), "--dry-run", "--force", "--json").json
    assert (True, info["digests"]) == (tried["dry_run"], tried["backup"]["digests"])
    assert ["Ada", "Grace"] == names(shop)
    shop.ok("storage", "restore", str(file), "--force")
    assert ["Ada"] == names(shop)
    again = shop.ok("storage", "backup", str(tmp_path / "again.crm"), "--json").json
    assert (info["digests"], info["rows"]) == (again["digests"], again["rows"])
    assert shop.ok("storage", "verify", "--json").json["sound"]


def test_a_wiped_workspace_needs_no_force(shop: Crm, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    shop.ok("storage", "backup", str(file))
    for path in shop.directory.glob("*.db*"):
        path.unlink()
    assert "restored" in shop.ok("storage", "restore", str(file)).out
    assert ["Ada"] == names(shop)


def test_one_flipped_byte_anywhere_is_refused_and_nothing_changes(shop: Crm, tmp_path: Path) -> None:
    file, broken = tmp_path / "monday.crm", tmp_path / "broken.crm"
    shop.ok("storage", "backup", str(file))
    whole = file.read_bytes()
    body = whole.index(b"\n", whole.index(b"\n") + 1)
    places = [0, 5, 11, 12, 13, 40, 76, 77, 78, body - 1, body, body + 1, len(whole) - 1]
    places += random.Random(7).sample(range(len(whole)), 40)
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        broken.write_bytes(changed)
        said = shop("storage", "restore", str(broken), "--force", "--json")
        assert (1, "StorageError") == (said.code, said.error["type"]), place
    for cut in (b"", whole[:50], whole[:-1], whole + b"x"):
        broken.write_bytes(cut)
        assert 1 == shop("storage", "restore", str(broken), "--force").code
    assert ["Ada"] == names(shop)


def test_a_backup_is_of_one_moment_while_others_write(shop: Crm, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with CRM.open(shop.directory) as crm:
            while not stop.is_set():
                with crm.transaction():  # always both or none
                    one = crm.customers.add(Customer(name="pair"))
                    crm.deals.add(Deal(customer_id=one.id, title="pair"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        files = [tmp_path / f"{n}.crm" for n in range(5)]
        found = [shop.ok("storage", "backup", str(file), "--json").json for file in files]
    finally:
        stop.set()
        writer.join()
    assert [0] * 5 == [info["rows"]["customers"] - info["rows"]["deals"] for info in found]
    positions = [info["position"] for info in found]
    assert positions == sorted(positions)
    assert positions[0] < positions[-1]
    shop.ok("storage", "restore", str(files[-1]), "--force")
    assert found[-1]["rows"]["customers"] == len(names(shop))


def test_an_existing_file_is_never_overwritten_by_a_backup(shop: Crm, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    file.write_text("mine")
    assert 2 == shop("storage", "backup", str(file)).code
    assert "mine" == file.read_text()
    assert [file, shop.directory] == sorted(tmp_path.iterdir())


def test_a_copy_of_one_engine_is_refused_by_another_that_names_the_portable_form(shop: Crm, tmp_path: Path) -> None:
    shop.ok("storage", "backup", str(tmp_path / "b.crm"))
    said = Crm(Path("memory:"))("storage", "restore", str(tmp_path / "b.crm"), "--json")
    assert 1 == said.code
    assert "--portable" in said.error["hint"]


def test_a_restore_without_room_to_unpack_says_so_and_changes_nothing(
    shop: Crm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "monday.crm"
    shop.ok("storage", "backup", str(file))
    before = shop.ok("customers", "list", "--json").json

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        said = shop("storage", "restore", str(file), "--force", "--json")
    assert (1, "StorageError") == (said.code, said.error["type"])
    assert f"{file} cannot be unpacked in {shop.directory}: No space left on device" in said.error["message"]
    assert before == shop.ok("customers", "list", "--json").json
    assert [] == list(shop.directory.glob(".crm-restore-*"))


def test_a_portable_backup_is_checked_by_itself_and_brings_everything_back(shop: Crm, tmp_path: Path) -> None:
    file, copy, broken = tmp_path / "team.crm", tmp_path / "copy.crm", tmp_path / "broken.crm"
    info = shop.ok("storage", "backup", str(file), "--portable", "--json").json
    assert ("portable", []) == (info["form"], info["faults"])
    assert info["digests"] == shop.ok("storage", "backup", str(copy), "--json").json["digests"]
    nowhere = Crm(tmp_path / "nowhere")
    for one, where in ((file, "any storage"), (copy, "SQLite only")):
        assert where in nowhere.ok("storage", "verify", str(one)).out
    assert info["digests"] == nowhere.ok("storage", "verify", str(file), "--json").json["digests"]
    whole = file.read_bytes()
    body = whole.index(b"\n", whole.index(b"\n") + 1)
    for place in [0, 5, 13, body - 1, body, body + 1, len(whole) - 1, *random.Random(7).sample(range(len(whole)), 12)]:
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        broken.write_bytes(changed)
        for said in (
            nowhere("storage", "verify", str(broken), "--json"),
            shop("storage", "restore", str(broken), "--json"),
        ):
            assert (1, "StorageError") == (said.code, said.error["type"]), place
    for cut in (b"", whole[:50], whole[:-1], whole + b"x"):
        broken.write_bytes(cut)
        assert 1 == nowhere("storage", "verify", str(broken)).code
        assert 1 == shop("storage", "restore", str(broken), "--force").code
    shop.ok("customers", "add", "Grace")
    tried = shop.ok("storage", "restore", str(file), "--dry-run", "--json").json
    assert tried["replaced"] > 1
    assert 2 == shop("storage", "restore", str(file)).code
    assert ["Ada", "Grace"] == names(shop)
    shop.ok("storage", "restore", str(file), "--force")
    assert ["Ada"] == names(shop)
    assert info["digests"] == shop.ok("storage", "backup", str(tmp_path / "again.crm"), "--json").json["digests"]
    assert ["Ada"] == [one["name"] for one in shop.ok("customers", "find", "ada", "--json").json]


def test_a_backup_of_a_later_version_is_refused_with_the_version_that_wrote_it(shop: Crm, tmp_path: Path) -> None:
    file = tmp_path / "monday.crm"
    shop.ok("storage", "backup", str(file))
    _, manifest, content = file.read_bytes().split(b"\n", 2)
    manifest = json.dumps({**json.loads(manifest), "colour": "red"}).encode()
    file.write_bytes(b"crm-backup 1 %s\n" % hashlib.sha256(manifest).hexdigest().encode() + manifest + b"\n" + content)
    for command in (["verify"], ["restore", "--force"]):
        said = shop("storage", command[0], str(file), *command[1:], "--json")
        assert (1, True) == (said.code, "the version that wrote it" in said.error["hint"])


def test_what_was_erased_or_deleted_is_not_in_a_backup(shop: Crm, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database(shop), isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete=OFF")  # some builds of SQLite overwrite what they delete
        connection.execute(
            "INSERT INTO teams (id, version, created_tx, updated_tx, name) VALUES (9, 1, 1, 1, 'canary')"
        )
        connection.execute("DELETE FROM teams WHERE id = 9")
    assert b"canary" in b"".join(path.read_bytes() for path in shop.directory.glob("*.db*"))
    shop.ok("storage", "backup", str(tmp_path / "monday.crm"))
    assert b"canary" not in (tmp_path / "monday.crm").read_bytes()


@pytest.mark.parametrize("form", [[], ["--portable"]], ids=["copy", "portable"])
@pytest.mark.parametrize(("start", "told"), [("gap", ["1"]), ("head", [])])
def test_after_a_restore_deliveries_go_on_from_where_it_is_said(
    empty: Path, tmp_path: Path, form: list[str], start: str, told: list[str]
) -> None:
    place = tmp_path / "shop"
    shutil.copytree(empty, place)
    shop, file = Crm(place), tmp_path / "monday.crm"
    (place / "listener.py").write_text(LISTENER, "utf-8")
    toml = (place / "crm.toml").read_text("utf-8")
    (place / "crm.toml").write_text(toml + '\n[plugins]\npaths = ["listener.py"]\n', "utf-8")
    shop.ok("customers", "list")  # its cursor starts here
    (place / "crm.toml").write_text(toml, "utf-8")
    shop.ok("customers", "add", "Ada")
    shop.ok("storage", "backup", str(file), *form)
    (place / "crm.toml").write_text(toml + '\n[plugins]\npaths = ["listener.py"]\n', "utf-8")
    refused = shop("storage", "restore", str(file), "--force", "--json")
    assert (2, True) == (refused.code, "--from gap" in refused.error["hint"])
    shop.ok("storage", "restore", str(file), "--force", "--from", start)
    with CRM.open(place) as crm:
        crm.ledger.deliver()
    found = Path("told.txt").read_text("utf-8").split() if Path("told.txt").exists() else []
    assert told == found


DAMAGE = [
    ("DELETE FROM ledger_transactions WHERE position = 2", "ledger positions"),
    ("UPDATE ledger_head SET position = 99", "ledger positions"),
    ("UPDATE ledger_images SET content = '{' WHERE id = (SELECT min(id) FROM ledger_images)", "ledger images"),
    ("UPDATE ledger_transactions SET operation_id = 3 WHERE position = 1", "ledger transactions"),
    ("UPDATE deals SET customer_id = 12345", "references"),
    ("UPDATE external_ids SET state = 'deleted'", "external ids"),
    ("UPDATE customers SET first_contact_at = 9000000000000000000", "customers"),
    ("UPDATE customers SET updated_tx = 5", "customers"),
    ("UPDATE deals SET version = 0", "deals"),
    ('DROP INDEX "customers(owner_id)"', "files"),
    ("DROP VIEW v_teams; DROP TABLE teams", "files"),
]


@pytest.mark.parametrize(("damage", "check"), DAMAGE, ids=[damage for damage, _ in DAMAGE])
def test_verify_finds_damage_and_a_backup_of_it_is_refused(shop: Crm, tmp_path: Path, damage: str, check: str) -> None:
    with closing(sqlite3.connect(database(shop))) as connection:
        connection.executescript(damage)
    said = shop("storage", "verify", "--json")
    assert 1 == said.code
    assert check in [one["name"] for one in said.json["checks"] if one["state"] == "wrong"]
    shop("storage", "backup", str(tmp_path / "wrong.crm"))
    assert 1 == shop("storage", "restore", str(tmp_path / "wrong.crm"), "--force").code


def test_a_damaged_search_index_is_told_made_anew_and_stands_in_no_backups_way(shop: Crm, tmp_path: Path) -> None:
    assert ["Ada"] == [one["name"] for one in shop.ok("customers", "find", "ada", "--json").json]
    with closing(sqlite3.connect(database(shop))) as connection:
        connection.executescript("DELETE FROM crm_search_customers_trigrams_data WHERE id > 10")
    said = shop("storage", "verify", "--json")
    assert (1, ["indexes"]) == (said.code, [one["name"] for one in said.json["checks"] if one["state"] == "wrong"])
    assert "crm storage reindex" in shop("storage", "verify").out
    shop.ok("storage", "backup", str(tmp_path / "monday.crm"))
    log = shop.ok("ledger", "log", "--json").out
    assert "the search index of customers" in shop.ok("storage", "reindex", "--json").json["made"]
    assert shop.ok("storage", "verify", "--json").json["sound"]
    assert ["Ada"] == [one["name"] for one in shop.ok("customers", "find", "ada", "--json").json]
    assert log == shop.ok("ledger", "log", "--json").out
    shop.ok("customers", "edit", "Ada", "city=Bonn")
    shop.ok("ledger", "undo", "last")
    shop.ok("storage", "restore", str(tmp_path / "monday.crm"), "--force")
    assert "made the search index of customers anew" in shop.ok("storage", "reindex").out
    assert shop.ok("storage", "verify", "--json").json["sound"]


def test_verify_finds_damaged_pages(shop: Crm) -> None:
    with closing(sqlite3.connect(database(shop))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database(shop).open("r+b") as file:
        pages = file.seek(0, 2) // 4096
        for page in range(4, pages, 3):
            file.seek(page * 4096 + 8)
            file.write(b"\xff" * 200)
    said = shop("storage", "verify", "--json")
    assert 1 == said.code
    assert "Traceback" not in said.err


def test_verify_in_words_names_what_is_wrong(shop: Crm) -> None:
    assert "The database is sound." in shop.ok("storage", "verify").out
    with closing(sqlite3.connect(database(shop))) as connection:
        connection.executescript("UPDATE ledger_head SET position = 99")
    assert "WRONG" in shop("storage", "verify").out


WALLED = """
from pathlib import Path
from crm_core import hookimpl
from crm_core.extend import StorageScheme
from crm_storage_sql.plugin import open_sqlite

class Walled:
    @hookimpl
    def register_storages(self):
        return [StorageScheme(name="walled", schemes=("walled",), open=opened)]

def opened(url, options):
    return open_sqlite("sqlite" + url.removeprefix("walled"), options)

plugin = Walled()
"""


def test_an_old_database_that_is_not_embedded_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    place = tmp_path / "shop"
    place.mkdir()
    (place / "walled.py").write_text(WALLED, "utf-8")
    toml = '[crm]\ncurrency = "EUR"\n[storage]\nurl = "walled:///crm.db"\n[plugins]\npaths = ["walled.py"]\n'
    (place / "crm.toml").write_text(toml, "utf-8")
    shop = Crm(place)
    shop.ok("customers", "add", "Ada")
    (place / "crm.toml").write_text(toml + '[fields.customer.sector]\ntype = "text"\n', "utf-8")
    refused = shop("customers", "list", "--json")
    assert (1, "UpgradeNeeded") == (refused.code, refused.error["type"])
    assert "crm storage upgrade" in refused.error["hint"]
    planned = shop.ok("storage", "upgrade", "--dry-run", "--json").json
    assert (True, ["add field customers.fields__sector (crm.toml)"]) == (planned["needed"], planned["changes"])
    assert 1 == shop("customers", "list").code  # a dry run changes nothing
    shop.ok("storage", "upgrade")
    assert ["Ada"] == names(shop)
    assert not shop.ok("storage", "upgrade", "--json").json["needed"]


# Plugins that go and come


@pytest.fixture
def loyal(empty: Path, tmp_path: Path) -> Any:
    """A workspace in which the loyalty plugin has stored points of one customer."""
    place = tmp_path / "shop"
    shutil.copytree(empty, place)
    with installed([ROOT / "examples" / "crm-loyalty"], tmp_path / "site"):
        with CRM.open(place) as crm:
            ada = crm.customers.add(Customer(name="Ada"))
            crm.sales.add(Sale(customer_id=ada.id, amount=Money("100", "EUR")))
        yield Crm(place)


def points(crm: Crm) -> list[Any]:
    return [one["ext"].get("loyalty", {}).get("points") for one in crm.ok("customers", "list", "--json").json]


def test_detaching_keeps_and_attaching_links_again(loyal: Crm) -> None:
    assert [100] == points(loyal)
    said = loyal.ok("plugins", "detach", "loyalty", "--json").json
    assert (True, 1) == (said["changed"], said["data"]["columns"]["customers.loyalty__points"])
    assert [None] == points(loyal)
    loyal.ok("customers", "edit", "Ada", "city=London")
    assert not loyal.ok("plugins", "detach", "crm-loyalty", "--json").json["changed"]
    loyal.ok("plugins", "attach", "loyalty", "--from", "head")
    assert [100] == points(loyal)


def test_what_a_plugin_missed_is_told_or_passed_over_as_it_is_said(loyal: Crm) -> None:
    loyal.ok("plugins", "detach", "loyalty")
    loyal.ok("sales", "add", "Ada", "50 EUR")
    refused = loyal("plugins", "attach", "loyalty", "--json")
    assert (2, True) == (refused.code, "--from gap" in refused.error["hint"])
    assert 1 <= loyal.ok("plugins", "attach", "loyalty", "--from", "gap", "--json").json["waiting"]
    with CRM.open(loyal.directory) as crm:
        crm.ledger.deliver()
    assert [150] == points(loyal)


def test_a_purge_previews_removes_and_is_refused_while_the_plugin_is_at_work(loyal: Crm) -> None:
    refused = loyal("plugins", "purge", "loyalty", "--yes", "--json")
    assert (2, True) == (refused.code, "detach" in refused.error["hint"])
    loyal.ok("plugins", "detach", "loyalty")
    assert 2 == loyal("plugins", "purge", "loyalty").code  # nobody is there to answer
    planned = loyal.ok("plugins", "purge", "loyalty", "--dry-run", "--json").json
    assert {"loyalty_entries": 1} == planned["tables"]
    assert planned == loyal.ok("plugins", "purge", "loyalty", "--dry-run", "--json").json
    done = loyal.ok("plugins", "purge", "loyalty", "--yes", "--json").json
    assert {**planned, "dry_run": False} == done
    with closing(sqlite3.connect(database(loyal))) as connection:
        schema = " ".join(str(row[0]) for row in connection.execute("SELECT sql FROM sqlite_schema"))
    assert "loyalty" not in schema
    assert loyal.ok("storage", "verify", "--json").json["sound"]
    nothing = loyal("plugins", "purge", "loyalty", "--yes", "--json")
    assert (1, "NotFound") == (nothing.code, nothing.error["type"])
    loyal.ok("plugins", "attach", "loyalty")
    assert [None] == points(loyal)
    loyal.ok("sales", "add", "Ada", "7 EUR")
    assert 7 <= points(loyal)[0]


def test_a_purge_of_an_uninstalled_plugin_is_by_name(loyal: Crm) -> None:
    command = [
        sys.executable,
        "-m",
        "crm_core",
        "-w",
        str(loyal.directory),
        "plugins",
        "purge",
        "loyalty",
        "--yes",
        "--json",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert 0 == done.returncode, done.stderr
    assert {"loyalty_entries": 1} == json.loads(done.stdout)["tables"]


def test_the_storage_of_the_workspace_is_not_detached(shop: Crm) -> None:
    said = shop("plugins", "detach", "storage-sql", "--json")
    assert (2, True) == (said.code, "[storage]" in said.error["hint"])
    assert 1 == shop("plugins", "detach", "nothing").code


@pytest.mark.parametrize("form", ["plugins = {}\n", "[plugins]\npaths = {}\n"])
@pytest.mark.parametrize("code", [LISTENER, "def broken(:\n"])
def test_a_teams_own_file_goes_and_comes_sound_or_broken(crm: Crm, form: str, code: str) -> None:
    settings = crm.directory / "crm.toml"
    before = settings.read_text("utf-8")
    own = form.format('["./قلاب.py"]')
    settings.write_text(before + "\n" + own if own.startswith("[") else own + before, encoding="utf-8")
    (crm.directory / "قلاب.py").write_text(code, encoding="utf-8")
    listed = crm("customers", "list", "--json")
    if code != LISTENER:
        assert (1, True) == (listed.code, "crm plugins detach قلاب" in listed.error["hint"])
    assert crm.ok("plugins", "detach", "قلاب", "--json").json["changed"]
    crm.ok("customers", "list")
    assert crm.ok("plugins", "attach", "قلاب", "--json").json["changed"]
    assert listed.code == crm("customers", "list").code
    assert not crm.ok("plugins", "attach", "قلاب", "--json").json["changed"]


def test_any_plugin_goes_and_comes_beside_the_short_form_of_own_files(loyal: Crm) -> None:
    settings = loyal.directory / "crm.toml"
    settings.write_text('plugins = ["./own.py"]\n' + settings.read_text("utf-8"), encoding="utf-8")
    (loyal.directory / "own.py").write_text(LISTENER, encoding="utf-8")
    loyal.ok("plugins", "detach", "loyalty")
    assert [None] == points(loyal)
    loyal.ok("plugins", "attach", "loyalty")
    assert [100] == points(loyal)


def test_what_is_written_to_a_workspace_in_memory_is_said_to_be_lost(tmp_path: Path) -> None:
    (tmp_path / "crm.toml").write_text('[crm]\ncurrency = "EUR"\n[storage]\nurl = "memory:"\n', encoding="utf-8")
    crm = Crm(tmp_path)
    assert "nothing of this is kept" in crm.ok("customers", "add", "آدا").err
    assert "nothing of this is kept" in json.loads(crm.ok("customers", "add", "Ada", "--json").err)["note"]
    assert "" == crm.ok("customers", "list").err
