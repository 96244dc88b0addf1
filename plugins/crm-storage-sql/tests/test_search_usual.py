"""Searching a company's records, most of which have the same host and the same network: SQLite's index leaves that out.

What it leaves out it has to look at in the documents, so every page is compared with what reading all records finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from crm_core.extend import Storage
from crm_core.ledger.evolution import upgrade
from crm_core.query.search import Hit, question_of, rank_of
from crm_core.testing.searching import ADDRESSES, PEOPLE, SEARCHED
from crm_storage_sql import lookup
from crm_storage_sql.plugin import open_sqlite
from crm_storage_sql.trigram import loose_expression, rough_expression

pytestmark = pytest.mark.database("sqlite")

_FIRST = ["ada", "orla", "oren", "exa", "joan", "noor"]
_LAST = ["miller", "organ", "exner", "plener", "orgel", "amples"]
_COUNT = 240

Texts = dict[int, list[str]]
"""The texts of each record, its name first."""


@pytest.fixture(scope="module")
def company() -> Texts:
    random = Random(5)
    texts: Texts = {}
    for number in range(1, _COUNT + 1):
        first, last = random.choice(_FIRST), random.choice(_LAST)
        host = f"example{random.randrange(3)}.org" if random.random() < 0.9 else "home.net"
        phone = f"+49170{random.randrange(10**5):05}"
        texts[number] = [f"{first} {last}", f"{first}.{last}{random.randrange(20)}@{host}", phone]
    return texts


@pytest.fixture
def storage(tmp_path: Path, company: Texts) -> Iterator[Storage]:
    opened = open_sqlite(f"sqlite:///{tmp_path}/crm.db", {})
    upgrade(opened, SEARCHED)
    opened.begin()
    opened.insert_many("people", PEOPLE.column_names, [(n, 1, 1, 1, own[0], None, None) for n, own in company.items()])
    addresses = [(1_000 * n + at, 1, 1, 1, n, text) for n, own in company.items() for at, text in enumerate(own[1:])]
    opened.insert_many("addresses", ADDRESSES.column_names, addresses)
    opened.commit()
    assert [] == opened.search("people", question_of("nobody"), limit=1)
    yield opened
    opened.close()


def questions(company: Texts) -> list[str]:
    """Return parts of the texts of some records, as people type them."""
    asked = [
        "org",
        "or",
        "o",
        "exa",
        "example",
        "example org",
        "org o",
        ".org",
        "@",
        "@example1",
        "e2.o",
        "49170",
        "0170",
    ]
    asked += ["nn", "organ example1.org", "example.org", "example1.orgx", "ada home", "x@example0.org", "170 org"]
    for name, mail, phone in list(company.values())[:12]:
        first, last = name.split()
        local, host = mail.split("@")
        asked += [name, f"{last} {first}", f"{first[1:]}", f"{last[-3:]} {first[:2]}", f"{first} {host}", mail[-15:]]
        asked += [
            mail,
            local,
            f"{local[-1]}@{host}",
            f"{local[-2:]}@{host[:3]}",
            f"{first} 0170",
            f"{last} {phone[-2:]}",
        ]
        asked += [
            f"{phone[:3]} {phone[3:6]} {phone[6:9]} {phone[9:]}",
            f"0{phone[3:]}",
            phone[5:9],
            phone[-3:],
            first + last,
        ]
    return asked


def expected(company: Texts, typed: str) -> list[Hit]:
    """Return what reading every record finds, in order."""
    question = question_of(typed)
    ranks = {number: rank_of(question, texts[0], texts) for number, texts in company.items()}
    return sorted(Hit(rank, company[number][0], number) for number, rank in ranks.items() if rank is not None)


def paged(storage: Storage, typed: str) -> list[Hit]:
    """Return what the index finds, seven at a time."""
    found: list[Hit] = []
    while True:
        page = storage.search("people", question_of(typed), after=found[-1] if found else None, limit=7)
        assert page is not None
        found += page
        if len(page) < 7:
            return found


@pytest.mark.parametrize("many", [1, 20, lookup.MANY])
def test_what_most_records_have_changes_no_result(
    storage: Storage, company: Texts, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "MANY", many)
    for typed in questions(company):
        assert (typed, expected(company, typed)) == (typed, paged(storage, typed))


def test_what_most_records_have_is_not_looked_up() -> None:
    sample = [f"\n  someone\n  x{n}@example.org\n  +49170{n}\n" for n in range(100, 200)]
    terms = question_of("di6@example.org").terms
    assert '(("di6" AND "i6@"))' == rough_expression(terms, sample)
    assert '(("di6@e"))' == loose_expression(terms, sample, begin=False)
    grouped = question_of("+49 170 598 7062").terms
    assert '"598" AND "706" AND "062"' in rough_expression(grouped, sample)
    assert "+49" not in rough_expression(grouped, sample)


def test_a_rare_trigram_between_usual_ones_is_looked_up_with_them() -> None:
    sample = [f"\n  someone\n  x{n}@example.org\n" for n in range(100, 200)]
    assert '((" org"))' == loose_expression(question_of("org").terms, sample, begin=True)
