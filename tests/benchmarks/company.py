"""An invented company for the benchmarks at scale: customers with addresses, deals and interactions, as stored rows.

They go to the storage as they are: what a service does with them on the way is measured elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.values import new_ids, text_key

SIZES: Final = {False: (2_000, 10_000), True: (200_000, 1_000_000)}
"""Customers, and deals and interactions each, by whether the long form is asked for."""
_CHUNK: Final = 10_000
_START: Final = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
_DAYS: Final = 1_000
_FIRST: Final = 150
_LAST: Final = 3_000
_SYLLABLES: Final = ["ka", "ra", "mi", "to", "ne", "su", "lo", "va", "di", "pe", "an", "el", "or", "in", "ut", "he"]
_SYSTEM: Final = ("version", "created_tx", "updated_tx")

Person = tuple[str, str, str]
"""Name, e-mail address and phone number."""


@attrs.frozen
class Company:
    """What was stored: ids and texts of the customers, in one order; a twentieth of the interactions is the first's."""

    customers: Sequence[int]
    people: Sequence[Person]

    @property
    def talkative(self) -> Sequence[int]:
        """The customers of whom each has hundreds of interactions."""
        return self.customers[: max(1, len(self.customers) // 2_000)]


def fill(crm: CRM, customers: int, others: int) -> Company:
    """Store customers with an e-mail address and a phone number each, and so many deals and interactions."""
    random = Random(7)
    people = list(islice(_people(random), customers))
    found = Company(new_ids(customers), people)
    ids = found.customers
    _insert(crm, "customers", ids, _CUSTOMER, lambda at: _customer(random, people[at][0], at))
    for place, kind in ((1, "email"), (2, "phone")):
        columns = ("customer_id", "kind", "value", "key", "primary")
        _insert(crm, "contact_points", new_ids(customers), columns, lambda at, n=place, k=kind: _point(found, at, n, k))
    _insert(crm, "deals", new_ids(others), _DEAL, lambda at: _deal(random, ids[at % customers], at))
    _insert(crm, "interactions", new_ids(others), _INTERACTION, lambda at: _interaction(random, found, at))
    return found


def _people(random: Random) -> Iterator[Person]:
    """Yield people; first names repeat as they do among people."""

    def invented(count: int, syllables: Sequence[int]) -> list[str]:
        return ["".join(random.choices(_SYLLABLES, k=random.choice(syllables))) for _ in range(count)]

    first, last = invented(_FIRST, (2, 3)), invented(_LAST, (2, 3, 4))
    while True:
        one, other = random.choice(first), random.choice(last)
        address = f"{one}.{other}{random.randrange(100)}@example{random.randrange(5)}.org"
        yield f"{one.title()} {other.title()}", address, f"+49170{random.randrange(10**7):07}"


def _insert(
    crm: CRM, table: str, ids: Sequence[int], columns: Sequence[str], made: Callable[[int], tuple[Any, ...]]
) -> None:
    for start in range(0, len(ids), _CHUNK):
        chunk = range(start, min(start + _CHUNK, len(ids)))
        crm.storage.begin()
        crm.storage.insert_many(table, ("id", *_SYSTEM, *columns), [(ids[at], 1, 1, 1, *made(at)) for at in chunk])
        crm.storage.commit()


_CUSTOMER: Final = ("name", "name_key", "kind", "role", "source", "first_contact_at", "first_contact_at_is_date")
_CUSTOMER += ("country", "city")


def _customer(random: Random, name: str, at: int) -> tuple[Any, ...]:
    source = random.choice(("fair", "web", "referral", "call")) if random.random() < 0.45 else None
    moment = _moment(random) if random.random() < 0.7 else None
    flag = None if moment is None else 0
    return (name, text_key(name), "person", "customer", source, moment, flag, "DE", f"City {at % 5_000}")


def _point(company: Company, at: int, place: int, kind: str) -> tuple[Any, ...]:
    value = company.people[at][place]
    return company.customers[at], kind, value, value, 1


_DEAL: Final = ("title", "title_key", "customer_id", "pipeline", "stage", "status", "amount", "amount_currency")
_DEAL += ("opened_at", "opened_at_is_date", "closed_at", "closed_at_is_date")


def _deal(random: Random, customer: int, at: int) -> tuple[Any, ...]:
    status = random.choice(("won", "lost", "open"))
    stage = "new" if status == "open" else status
    amount = random.randrange(1_000, 1_000_000) if random.random() < 0.8 else None
    code = "EUR" if amount is not None else None
    opened = _moment(random)
    closed, flag = (None, None) if status == "open" else (opened + 86_400_000_000 * random.randrange(1, 90), 0)
    return f"Deal {at}", f"deal {at}", customer, "sales", stage, status, amount, code, opened, 0, closed, flag


_INTERACTION: Final = ("customer_id", "channel", "direction", "kind", "occurred_at", "occurred_at_is_date", "subject")
_INTERACTION += ("body", "needs_answer")


def _interaction(random: Random, company: Company, at: int) -> tuple[Any, ...]:
    among = company.talkative if at % 20 == 0 else company.customers
    customer = among[at // 20 % len(among)] if at % 20 == 0 else among[at % len(among)]
    return customer, "email", "in", "message", _moment(random), 0, "A question", "Where is my order? " * 5, 0


def _moment(random: Random) -> int:
    return _START + random.randrange(_DAYS * 86_400) * 1_000_000
