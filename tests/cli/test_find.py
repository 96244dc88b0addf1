"""`crm customers find`, and what is suggested where nobody has that name."""

from __future__ import annotations

import pytest

from tests.cli.calling import Crm

pytestmark = pytest.mark.database("sqlite")


def test_customers_are_found_by_parts_in_any_script(shop: Crm) -> None:
    for typed in ("lovel", "ADA example.org", "آحمدی", "احمدي", "۵۵۵۰", "5550 1000", "0098 21 5550"):
        found = shop.ok("customers", "find", typed, "--json").json
        expected = [] if typed == "آحمدی" else ["Ada Lovelace"] if typed[0] in "lA" else ["سارا احمدی"]
        assert expected == [one["name"] for one in found], typed


def test_words_need_no_quotation_marks_and_the_table_says_why(shop: Crm) -> None:
    said = shop.ok("customers", "find", "ada", "example")
    head, row = said.out.splitlines()
    assert ["name", "matched", "id"] == head.split()
    assert row.startswith("Ada Lovelace")
    assert "ada@example.org" in row


def test_pages_follow_each_other(shop: Crm) -> None:
    shop.ok("customers", "add", "Adam")
    first = shop.ok("customers", "find", "ad", "--limit", "1")
    assert "Ada Lovelace" in first.out
    cursor = first.err.split("--after ")[1].split()[0]
    assert "Adam" in shop.ok("customers", "find", "ad", "--after", cursor).out


def test_nothing_found_and_nothing_asked_are_said(shop: Crm) -> None:
    assert "Nothing is found by 'zzz'; there are 2 customers." in shop.ok("customers", "find", "zzz").out
    assert [] == shop.ok("customers", "find", "zzz", "--json").json
    assert 2 == shop("customers", "find").code
    assert "nothing to search for" in shop("customers", "find", " ").err
    assert "no cursor" in shop("customers", "find", "ada", "--after", "x").err


def test_a_byte_that_is_no_text_finds_nothing(shop: Crm) -> None:
    for typed in ("\udcff", "shop:\udcff", "a\udcff@example.org"):
        said = shop("customers", "show", typed)
        assert (1, True) == (said.code, "no customer matches" in said.err), said
    assert "nothing to search for" in shop("customers", "find", "\udcff").err
    assert "Ada Lovelace" in shop.ok("customers", "find", "lovel\udcff").out


def test_a_name_that_nobody_has_is_answered_by_those_alike(shop: Crm) -> None:
    said = shop("customers", "show", "Lovelac")
    assert 1 == said.code
    assert "did you mean Ada Lovelace (" in said.err
    assert "did you mean" not in shop("customers", "show", "zzz").err
    assert "did you mean" not in shop("deals", "show", "Lic").err


def test_the_status_says_how_records_are_searched(shop: Crm) -> None:
    assert "trigram index" == shop.ok("storage", "status", "--json").json["details"]["search"]
