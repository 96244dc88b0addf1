"""Searching a company's records, most of which have the same host and the same network: what is usual is left out.

What is left out has to be looked at in the records, so every page is compared with what reading all of them finds.
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
from crm_storage_sql import lookup, server_lookup
from crm_storage_sql.trigram import loose_expression, rough_expression
from tests.databases import OPENERS, SERVERS, drop_all, new_url

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


@pytest.fixture(autouse=True, scope="module")
def databases() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture
def sqlite(tmp_path: Path, company: Texts) -> Iterator[Storage]:
    yield from filled("sqlite", tmp_path, company)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.database(name)) for name in SERVERS])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, company: Texts
) -> Iterator[Storage]:
    yield from filled(request.param, tmp_path_factory.mktemp("server"), company)


def filled(database: str, folder: Path, company: Texts) -> Iterator[Storage]:
    """Yield a storage of that kind with the records of the company."""
    opened = OPENERS[database](new_url(database, folder), {})
    upgrade(opened, SEARCHED)
    opened.begin()
    opened.insert_many("people", PEOPLE.column_names, [(n, 1, 1, 1, own[0], None, None) for n, own in company.items()])
    addresses = [(1_000 * n + at, 1, 1, 1, n, text) for n, own in company.items() for at, text in enumerate(own[1:])]
    opened.insert_many("addresses", ADDRESSES.column_names, addresses)
    opened.commit()
    assert [] == opened.search("people", question_of("nobody"), limit=1)
    yield opened
    opened.close()


def questions(company: Texts, people: int = 12) -> list[str]:
    """Return parts of the texts of so many records, as people type them."""
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
    for name, mail, phone in list(company.values())[:people]:
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


def paged(storage: Storage, typed: str, limit: int = 7) -> list[Hit]:
    """Return what the storage finds, seven at a time, or as many as given."""
    found: list[Hit] = []
    while True:
        page = storage.search("people", question_of(typed), after=found[-1] if found else None, limit=limit)
        assert page is not None
        found += page
        if len(page) < limit:
            return found


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("many", [1, 20, lookup.MANY])
def test_what_most_records_have_changes_no_result(
    sqlite: Storage, company: Texts, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "MANY", many)
    for typed in questions(company):
        assert (typed, expected(company, typed)) == (typed, paged(sqlite, typed))


@pytest.mark.parametrize(
    "limits",
    [
        pytest.param({}, id="as-it-is"),
        pytest.param({"FREQUENT": 10**6, "MANY": 20}, id="some-candidates-are-many"),
        pytest.param({"FREQUENT": 10**6}, id="by-candidates"),
        pytest.param({"FREQUENT": 1, "LOOK": 10, "PATIENCE": 30}, id="out-of-patience"),
        pytest.param({"FREQUENT": 10**6, "MANY": 0, "_MOST": 50}, id="in-order"),
    ],
)
def test_a_server_finds_the_same_whichever_way_it_takes(
    server: Storage, company: Texts, limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(server_lookup, name, value)
    for typed in questions(company, people=3):
        assert (typed, expected(company, typed)) == (typed, paged(server, typed, limit=25))


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
