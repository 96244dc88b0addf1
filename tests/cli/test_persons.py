"""Merging, handing over and erasing on the command line, and whether the ledger is as it was written."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crm_core import CRM, Customer, Interaction
from crm_core.console import Progress
from tests.cli.calling import Crm

pytestmark = pytest.mark.database("sqlite")


@pytest.fixture
def twice(shop: Crm) -> Crm:
    """A workspace in which Ada is there twice."""
    shop.ok("customers", "add", "Ada L.", "--email", "ADA@example.org", "--tag", "vip", "country=UK", "city=London")
    shop.ok("deals", "add", "Ada L.", "Training", "--amount", "50 EUR")
    return shop


def test_a_merge_is_shown_done_and_undone(twice: Crm) -> None:
    said = twice.ok("customers", "merge", "Ada Lovelace", "Ada L.", "--dry-run", "--json").json
    assert (True, None, {"deal": 1}, {"contact_point": 1}) == (
        said["dry_run"], said["operation"], said["moved"], said["united"],
    )  # fmt: skip
    assert {"field": "country", "a": "GB", "b": "UK", "stays": "A"} in said["conflicts"]
    assert 3 == len(twice.ok("customers", "list", "--json").json)
    text = twice.ok("customers", "merge", "Ada Lovelace", "Ada L.", "--keep", "country=b").out
    for told in (
        "merged Ada L.",
        "follow: 1 deal",
        "made one: 1 contact point",
        "filled: city",
        "crm ledger undo last",
    ):
        assert told in text
    (ada,) = twice.ok("customers", "list", "--where", 'name = "Ada Lovelace"', "--json").json
    assert ("UK", "London", ["vip"]) == (ada["country"], ada["city"], ada["tags"])
    assert ada["id"] == twice.ok("customers", "show", said["gone"], "--json").json["id"]
    twice.ok("ledger", "undo", "last", "--yes")
    assert 3 == len(twice.ok("customers", "list", "--json").json)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["Ada Lovelace", "Ada Lovelace"], 2, "the two are one customer"),
        (["Ada Lovelace", "nobody"], 1, "no customer matches"),
        (["Ada Lovelace", "Ada L.", "--keep", "country"], 2, "--keep 'country' is not understood"),
        (["Ada Lovelace", "Ada L.", "--keep", "city=B"], 2, "nothing to choose in 'city'"),
        (["Ada Lovelace", "Firm"], 2, "of the kind organisation. One all the same?"),
    ],
)
def test_a_merge_that_makes_no_sense_says_why(twice: Crm, arguments: list[str], code: int, told: str) -> None:
    twice.ok("customers", "add", "Firm", "--kind", "organisation")
    said = twice("customers", "merge", *arguments)
    assert code == said.code
    assert told in said.err
    assert 4 == len(twice.ok("customers", "list", "--json").json)


def test_a_person_and_an_organisation_are_merged_when_that_is_meant(twice: Crm) -> None:
    twice.ok("customers", "add", "Firm", "--kind", "organisation")
    assert "of the kind organisation" in twice.ok("customers", "merge", "Firm", "Ada L.", "--across-kinds").out


def test_what_is_known_of_a_person_is_handed_over(shop: Crm, tmp_path: Path) -> None:
    data = shop.ok("customers", "export-data", "ada@example.org").json
    assert "Ada Lovelace" == data["about"]["label"]
    records = data["records"]
    assert ["Licence", "Support"] == [one["title"] for one in records["deals"]["records"]]
    assert "Sara Ahmadi" == records["deals"]["records"][0]["owner_id"]["label"]
    assert {"contact_points", "interactions", "sales", "stage_changes"} <= records.keys()
    assert "Contact point" == records["contact_points"]["label"]
    file = tmp_path / "ada.json"
    said = shop.ok("customers", "export-data", "ada@example.org", "-o", str(file))
    assert "about Ada Lovelace" in said.out
    assert records.keys() == json.loads(file.read_text("utf-8"))["records"].keys()
    again = shop("customers", "export-data", "ada@example.org", "-o", str(file))
    assert (2, True) == (again.code, "is there already" in again.err)


def test_a_person_is_erased_after_asking_and_the_receipt_is_kept(shop: Crm) -> None:
    said = shop.ok("customers", "erase", "ada@example.org", "--dry-run", "--json").json
    refused = shop("customers", "erase", "ada@example.org")
    assert (2, True) == (refused.code, "cannot be undone" in refused.err)
    assert "Ada" in shop.ok("customers", "list").out
    done = shop.ok("customers", "erase", "ada@example.org", "--yes", "--json").json
    for name in ("emptied", "deleted", "fields", "images", "kept"):
        assert said["receipt"][name] == done["receipt"][name]
    assert "" == done["left_over"]
    assert done["receipt"]["digest"] in shop.ok("ledger", "show", done["operation"]).out
    assert "Ada" not in shop.ok("customers", "list").out
    assert (1, "UndoRefused") == (
        shop("ledger", "undo", "last", "--yes").code,
        shop("ledger", "undo", "last", "--yes", "--json").error["type"],
    )
    assert "1,200.00 EUR" in shop.ok("customers", "show", said["receipt"]["person"]).out
    text = shop.ok("customers", "erase", "سارا احمدی", "--dry-run").out
    for told in ("would erase", "Kept, and why", "a shell without a name", "files outside the database"):
        assert told in text


def test_the_ledger_is_verified_against_its_head(shop: Crm, tmp_path: Path) -> None:
    head = shop.ok("ledger", "head").out
    anchor = tmp_path / "anchor.txt"
    anchor.write_text(head, "utf-8")
    shop.ok("customers", "add", "Later")
    assert "The chain holds." in shop.ok("ledger", "verify", "--anchor", str(anchor)).out
    assert shop.ok("ledger", "verify", "--anchor", head.strip(), "--json").json["intact"]
    assert "Made without a key" in shop.ok("ledger", "verify").out
    with closing(sqlite3.connect(next(shop.directory.glob("*.db")))) as raw:
        raw.execute("UPDATE ledger_operations SET label = 'nothing' WHERE label = 'add customer'")
        raw.commit()
    said = shop("ledger", "verify", "--json")
    assert (1, False) == (said.code, said.json["intact"])
    assert said.json["position"] + 1 == said.json["broken"]["position"]
    assert "TamperedLedger" == said.error["type"]
    assert (2, True) == (
        shop("ledger", "verify", "--anchor", "x").code,
        "is no anchor" in shop("ledger", "verify", "--anchor", "x").err,
    )


def test_old_images_are_given_up_after_asking(shop: Crm) -> None:
    shop.ok("customers", "edit", "ada@example.org", "city=London")
    assert "nothing to give up" in shop.ok("ledger", "compact", "--before", "2020-01-01", "--yes").out
    said = shop.ok("ledger", "compact", "--before", "2100-01-01", "--dry-run", "--json").json
    assert said["images"] > 0
    refused = shop("ledger", "compact", "--before", "2100-01-01")
    assert (2, True) == (refused.code, "cannot be taken back" in refused.err)
    assert "gave up" in shop.ok("ledger", "compact", "--before", "۲۱۰۰-۰۱-۰۱", "--yes").out
    assert said["images"] == shop.ok("ledger", "verify", "--json").json["emptied"]
    assert 2 == shop("ledger", "compact", "--before", "soon").code


def test_who_was_deleted_is_erased_by_the_whole_id(shop: Crm) -> None:
    who = shop.ok("customers", "add", "Canary", "--email", "canary@example.org", "--json").json["id"]
    shop.ok("customers", "delete", who, "--yes")
    assert 1 == shop("customers", "erase", "canary@example.org", "--yes").code
    told = shop.ok("customers", "erase", who, "--yes", "--json").json
    assert {"kept": 0, "images": 2} == {
        "kept": sum(one["count"] for one in told["receipt"]["kept"] if one["what"] == "customers"),
        "images": told["receipt"]["images"],
    }
    assert 1 == shop("customers", "erase", who, "--yes").code
    assert 1 == shop("ledger", "undo", told["operation"]).code


def test_an_erasure_shows_how_far_it_is(shop: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Progress, "advance", lambda bar, steps=1: shown.append(bar.label))
    shop.ok("customers", "erase", "ada@example.org", "--dry-run")
    assert {"erasing"} == set(shown)


def test_an_erasure_tells_whoever_asks_how_many_rows_it_looked_at(shop: Crm) -> None:
    seen: list[int] = []
    with CRM.open(shop.directory) as crm:
        who = crm.customers.add(Customer(name="Grace"))
        many = [Interaction(customer_id=who.id, channel="note", body=f"of {n}") for n in range(2500)]
        crm.interactions.add_many(many)
        crm.privacy.erase(who.id, progress=seen.append)
    assert sum(seen) >= 2 * 2500
    assert max(seen) <= 2500
