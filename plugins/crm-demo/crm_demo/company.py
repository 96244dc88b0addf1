"""The made-up company: who its customers are, how its deals go, and what is said, from a seed and a last day."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

import attrs

from crm_demo.names import (
    AREA_CODES,
    INDUSTRIES,
    LOST_REASONS,
    SOURCES,
    TAGS,
    TEAMS,
    TITLES,
    WORDS,
    Script,
    Words,
)

Row = Mapping[str, Any]
HISTORY: Final = 30 * 30
"""Days of history before the last day."""
ZONE: Final = "Europe/Berlin"
"""Where the company's clocks are read."""
STAGES: Final = ("New", "Qualified", "Proposal", "Negotiation")
_MONTHS: Final = (0.85, 0.95, 1.10, 1.00, 1.05, 1.00, 0.80, 0.65, 1.10, 1.15, 1.25, 1.10)
_WEEKDAYS: Final = (1.0, 1.1, 1.1, 1.05, 0.9, 0.12, 0.08)
_PERSIAN_DIGITS: Final = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")


@attrs.frozen(kw_only=True)
class Scale:
    """How much of everything; the default is the company that `crm demo` shows."""

    organisations: int = 700
    people: int = 1_300
    deals: int = 10_000
    interactions: int = 30_000
    orders: int = 3_000


@attrs.frozen(kw_only=True)
class _Owner:
    name: str
    email: str
    script: Script
    skill: float


@attrs.define(kw_only=True)
class _Customer:
    code: str
    row: dict[str, Any]
    words: Words
    owner: _Owner
    source: str
    weight: float
    currency: str
    since: date
    bought: date | None = None


class Company:
    """A company made from a seed: the same seed and last day give the same rows, file by file."""

    def __init__(self, seed: int, last_day: date, scale: Scale | None = None) -> None:
        self.scale = scale or Scale()
        self.last_day = last_day
        self.first_day = last_day - timedelta(days=HISTORY)
        self._random = Random(seed)
        self._days, self._day_weights = self._calendar()
        self._owners = [
            _Owner(name=name, email=f"user{at}.{team.lower()}@example.org", script=script, skill=skill)  # type: ignore[arg-type]
            for team, people in TEAMS
            for at, (name, script, skill) in enumerate(people, 1)
        ]
        self._phones = iter(self._random.sample(range(len(AREA_CODES) * 100), len(AREA_CODES) * 100))
        self._used: set[str] = set()
        self._organisations = [self._organisation(at) for at in range(self.scale.organisations)]
        self._people = [self._person(at) for at in range(self.scale.people)]
        self._buyers = self._organisations + [one for one in self._people if not one.row["company"]]
        self._shares = list(accumulate(one.weight for one in self._buyers))
        self._deals, self._stage_changes, self._sales = self._trade()
        self._interactions = self._talk()

    def files(self) -> Iterator[tuple[str, Sequence[Row]]]:
        """Yield the name of each file without its ending, and its rows; references point backwards."""
        yield "users", self._users()
        yield "organisations", [one.row for one in self._organisations]
        yield "people", [one.row for one in self._people]
        yield "deals", self._deals
        yield "stage_changes", self._stage_changes
        yield "sales", self._sales
        yield "interactions", self._interactions

    def _users(self) -> list[Row]:
        rows: list[Row] = []
        for team, people in TEAMS:
            mine = [one for one in self._owners if one.email.endswith(f".{team.lower()}@example.org")]
            for one in mine:
                manager = "" if one is mine[0] else mine[0].email
                rows.append({"email": one.email, "name": one.name, "team": team, "manager": manager})
            assert len(mine) == len(people), "an e-mail names its team"
        return rows

    def _calendar(self) -> tuple[list[date], list[float]]:
        """Every day with its share of business: seasons, weekends, and a growth of a fifth a year."""
        days = [self.first_day + timedelta(days=at) for at in range(HISTORY)]
        weights = [
            _MONTHS[day.month - 1] * _WEEKDAYS[day.weekday()] * 1.2 ** ((day - self.first_day).days / 365)
            for day in days
        ]
        return days, list(accumulate(weights))

    def _day(self, since: date | None = None) -> date:
        low = self._day_weights[min(max((since - self.first_day).days, 0), HISTORY - 1)] if since else 0.0
        at = bisect(self._day_weights, low + self._random.random() * (self._day_weights[-1] - low))
        return self._days[min(at, HISTORY - 1)]

    def _since(self, earliest: date | None = None) -> date:
        """Draw the day of a first contact: most customers are old ones, new ones keep coming."""
        first = earliest or self.first_day
        return first + timedelta(days=int((self.last_day - first).days * self._random.random() ** 2.2))

    def _moment(self, day: date) -> str:
        minute = min(max(int(self._random.gauss(13.0, 2.4) * 60), 7 * 60), 20 * 60)
        return datetime.combine(day, time(minute // 60, minute % 60)).isoformat(timespec="minutes")

    def _source(self) -> str:
        return self._random.choices([name for name, _, _ in SOURCES], [share for _, share, _ in SOURCES])[0]

    def _owner(self) -> _Owner:
        return self._random.choices(self._owners, [1.6, 1.4, 1.0, 1.2, 1.3, 1.1, 0.9, 0.7, 0.9, 0.7, 0.5])[0]

    def _name(self, first: Sequence[str], last: Sequence[str], further: Sequence[str]) -> str:
        """Make a name that nobody in this company has yet."""
        for _ in range(20):
            name = f"{self._random.choice(first)} {self._random.choice(last)}"
            if name not in self._used:
                break
        else:
            name = f"{name} {self._random.choice(further)}"
        self._used.add(name)
        return name

    def _phone(self, words: Words) -> str:
        # The numbers 555-0100 to 555-0199 of every area belong to nobody.
        area, line = divmod(next(self._phones), 100)
        number = f"+1 {AREA_CODES[area]} 555 01{line:02d}"
        return number.translate(_PERSIAN_DIGITS) if words.language == "fa" and self._random.random() < 0.5 else number

    def _common(self, owner: _Owner, since: date) -> dict[str, Any]:
        words = WORDS[owner.script]
        city, country = self._random.choice(words.cities)
        return {
            "language": words.language,
            "city": city,
            "country": country,
            "source": self._source(),
            "owner": owner.email,
            "first_contact": self._moment(since) if self._random.random() < 0.7 else since.isoformat(),
            "tags": ";".join(tag for tag, share in TAGS if self._random.random() < share),
        }

    def _organisation(self, at: int) -> _Customer:
        owner = self._owner()
        words = WORDS[owner.script]
        since = self._since()
        size = self._random.paretovariate(1.15)
        employees = min(int(5 + size * 12), 25_000)
        later = at > 30 and self._random.random() < 0.05
        row = {
            "code": f"ORG-{at + 1:04d}",
            "name": self._name(words.company_stems, words.company_forms, [city for city, _ in words.cities]),
            **self._common(owner, since),
            "industry": self._random.choice(INDUSTRIES),
            "employees": employees,
            "size": "large" if employees > 250 else "medium" if employees > 50 else "small",
            "parent": f"ORG-{self._random.randint(1, at):04d}" if later else "",
            "phone": self._phone(words),
        }
        return self._customer(row, words, owner, since, weight=min(size, 60.0) + 0.3)

    def _person(self, at: int) -> _Customer:
        employer = self._random.choice(self._organisations) if self._random.random() < 0.72 else None
        owner = employer.owner if employer else self._owner()
        words = WORDS[owner.script]
        since = self._since(employer.since if employer else None)
        code = f"PER-{at + 1:04d}"
        name = self._name(words.first, words.last, words.last)
        latin = name.lower().replace(" ", ".") if name.isascii() else code.lower()
        row = {
            "code": code,
            "name": name,
            **self._common(owner, since),
            "email": f"{latin}@example.com",
            "phone": self._phone(words) if self._random.random() < 0.8 else "",
            "telegram": f"@{code.lower().replace('-', '')}_demo" if words.language != "en" else "",
            "company": employer.code if employer else "",
            "title": self._random.choice(TITLES) if employer else "",
            "birth_date": self._birthday() if self._random.random() < 0.4 else "",
        }
        return self._customer(row, words, owner, since, weight=0.25)

    def _birthday(self) -> str:
        return (date(1960, 1, 1) + timedelta(days=self._random.randrange(16_000))).isoformat()

    def _customer(self, row: dict[str, Any], words: Words, owner: _Owner, since: date, *, weight: float) -> _Customer:
        currency = "USD" if row["country"] in ("US", "CA", "AE") else "EUR"
        return _Customer(
            code=row["code"],
            row=row,
            words=words,
            owner=owner,
            source=row["source"],
            weight=weight,
            currency=currency,
            since=since,
        )

    def _buyer(self) -> _Customer:
        return self._buyers[min(bisect(self._shares, self._random.random() * self._shares[-1]), len(self._buyers) - 1)]

    def _amount(self, buyer: _Customer) -> int:
        """Draw an amount in whole units of currency: skewed, and larger for large customers."""
        drawn = math.exp(self._random.gauss(6.9, 0.85)) * (1 + min(buyer.weight, 40) / 20)
        return max(int(round(drawn, -1)), 40)

    def _trade(self) -> tuple[list[Row], list[Row], list[Row]]:
        opened = sorted(
            ((self._day(buyer.since), buyer) for buyer in (self._buyer() for _ in range(self.scale.deals))),
            key=lambda pair: (pair[0], pair[1].code),
        )
        deals: list[Row] = []
        changes: list[Row] = []
        sales: list[Row] = []
        for at, (day, buyer) in enumerate(opened):
            deal, passages = self._deal(f"D-{at + 1:05d}", day, buyer)
            deals.append(deal)
            changes += passages
            if deal["stage"] == "Won":
                buyer.bought = min(buyer.bought or date.max, date.fromisoformat(deal["closed"][:10]))
                sales.append(self._sale(f"S-{deal['code']}", buyer, deal["closed"], deal["amount"], deal["code"]))
        sales += self._orders()
        sales.sort(key=lambda sale: (sale["sold"], sale["code"]))
        return deals, changes, sales + self._refunds(sales)

    def _deal(self, code: str, opened: date, buyer: _Customer) -> tuple[Row, list[Row]]:
        owner = buyer.owner if self._random.random() < 0.85 else self._owner()
        bonus = next(factor for name, _, factor in SOURCES if name == buyer.source)
        amount = self._amount(buyer)
        chance = owner.skill * bonus * (1.05 if buyer.bought and buyer.bought < opened else 0.8)
        wins = self._random.random() < chance
        length = max(int(self._random.lognormvariate(3.2, 0.75) * (0.9 if wins else 1.15)), 2)
        closes = opened + timedelta(days=length)
        # Who loses is often dropped at an early stage; who wins passes them all.
        reached = len(STAGES) if wins else self._random.choices((1, 2, 3, 4), (30, 30, 25, 15))[0]
        steps = [opened + timedelta(days=length * at // max(reached, 1)) for at in range(reached)]
        passed = [(stage, day) for stage, day in zip(STAGES, steps, strict=False) if day <= self.last_day]
        closed = closes <= self.last_day
        end = ("Won" if wins else "Lost") if closed else passed[-1][0]
        path = passed + ([(end, closes)] if closed else [])
        known = self._random.random() < (0.97 if closed else 0.9)
        row = {
            "code": code,
            "customer": buyer.code,
            "title": f"{self._random.choice(buyer.words.projects)} {code[2:]}",
            "stage": end,
            "amount": amount if known or end == "Won" else "",
            "currency": buyer.currency,
            "list_amount": int(round(amount * self._random.uniform(1.0, 1.25), -1)),
            "owner": owner.email,
            "source": buyer.source if self._random.random() < 0.8 else self._source(),
            "opened": self._moment(opened),
            "expected_close": (closes + timedelta(days=self._random.randint(-12, 20))).isoformat(),
            "closed": self._moment(closes) if closed else "",
            "lost_reason": self._lost_reason() if end == "Lost" else "",
            "competitor": self._random.choice(("Nimbus", "Orbit", "Kolibri")) if self._random.random() < 0.2 else "",
            "next_step": "" if closed else self._random.choice(("call", "send the offer", "arrange a visit", "")),
            "next_step_on": ""
            if closed
            else (self.last_day + timedelta(days=self._random.randint(-9, 21))).isoformat(),
        }
        return row, self._passages(row, path)

    def _passages(self, deal: Row, path: Sequence[tuple[str, date]]) -> list[Row]:
        before = ""
        rows: list[Row] = []
        for at, (stage, day) in enumerate(path):
            moment = deal["opened"] if at == 0 else deal["closed"] if stage in ("Won", "Lost") else day.isoformat()
            rows.append(
                {
                    "code": f"{deal['code']}-{at + 1}",
                    "deal": deal["code"],
                    "from": before,
                    "to": stage,
                    "at": moment,
                    "actor": deal["owner"],
                }
            )
            before = stage
        return rows

    def _lost_reason(self) -> str:
        return self._random.choices([name for name, _ in LOST_REASONS], [share for _, share in LOST_REASONS])[0]

    def _sale(self, code: str, buyer: _Customer, sold: str, amount: Any, deal: str) -> dict[str, Any]:
        share = min(max(self._random.gauss(0.42, 0.12), 0.05), 0.8)
        return {
            "code": code,
            "kind": "sale",
            "customer": buyer.code,
            "deal": deal,
            "refunds": "",
            "sold": sold,
            "amount": amount,
            "margin": round(float(amount) * share, 2),
            "currency": buyer.currency,
            "owner": buyer.owner.email,
            "source": buyer.source,
        }

    def _orders(self) -> list[dict[str, Any]]:
        """Orders without a deal: those who bought once come back, more often the larger they are."""
        known = [one for one in self._buyers if one.bought is not None]
        if not known:
            return []
        shares = list(accumulate(math.sqrt(one.weight) for one in known))
        rows = []
        for at in range(self.scale.orders):
            buyer = known[min(bisect(shares, self._random.random() * shares[-1]), len(known) - 1)]
            day = self._day(buyer.bought)
            amount = round(math.exp(self._random.gauss(4.9, 0.7)), 2)
            rows.append(self._sale(f"S-O{at + 1:05d}", buyer, self._moment(day), amount, ""))
        return rows

    def _refunds(self, sales: Sequence[Row]) -> list[Row]:
        rows: list[Row] = []
        for sale in sales:
            day = date.fromisoformat(sale["sold"][:10]) + timedelta(days=self._random.randint(2, 40))
            if self._random.random() < 0.03 and day <= self.last_day:
                part = self._random.choice((1.0, 1.0, 0.5, 0.25))
                back = {
                    "code": f"R-{sale['code']}",
                    "kind": "refund",
                    "refunds": sale["code"],
                    "sold": self._moment(day),
                    "amount": round(float(sale["amount"]) * part, 2),
                    "margin": "",
                }
                rows.append({**sale, **back})
        return rows

    def _talk(self) -> list[Row]:
        by_code = {one.code: one for one in self._buyers}
        people = {one.code: one for one in self._people}
        staff: dict[str, list[_Customer]] = {}
        for one in people.values():
            if one.row["company"]:
                staff.setdefault(one.row["company"], []).append(one)
        rows: list[Row] = []
        for at in range(self.scale.interactions):
            if self._deals and self._random.random() < 0.7:
                deal = self._random.choice(self._deals)
                buyer = by_code[deal["customer"]]
                who = self._random.choice(staff.get(buyer.code) or [buyer])
                start = date.fromisoformat(deal["opened"][:10])
                end = date.fromisoformat(deal["closed"][:10]) if deal["closed"] else self.last_day
                day = start + timedelta(days=self._random.randint(0, max((end - start).days, 0)))
                rows.append(self._interaction(at, who, day, deal))
            else:
                who = self._random.choice(self._people) if self._random.random() < 0.6 else self._buyer()
                rows.append(self._interaction(at, who, self._day(who.since), None))
        return sorted(rows, key=lambda row: (row["at"], row["code"]))

    def _interaction(self, at: int, who: _Customer, day: date, deal: Row | None) -> Row:
        topics = ("", "request", "question", "complaint", "feedback", "praise")
        topic = self._random.choices(topics, (45, 20, 14, 10, 5, 6))[0]
        channel, kind = self._random.choices(
            (
                ("email", "message"),
                ("phone", "call"),
                ("telegram", "message"),
                ("whatsapp", "message"),
                ("", "meeting"),
            ),
            (38, 28, 16 if who.words.language != "en" else 3, 12, 6),
        )[0]
        direction = self._random.choices(("in", "out"), (85, 15) if topic else (25, 75))[0]
        asks = direction == "in" and topic in ("request", "complaint", "question")
        hours = self._random.lognormvariate(1.6, 1.1)
        occurred = datetime.fromisoformat(self._moment(day))
        answered = _later(occurred, timedelta(hours=hours))
        is_answered = asks and answered.date() <= self.last_day and self._random.random() < 0.96
        return {
            "code": f"I-{at + 1:05d}",
            "customer": who.code,
            "deal": deal["code"] if deal else "",
            "channel": channel,
            "direction": direction,
            "kind": kind,
            "topic": topic,
            "at": occurred.isoformat(timespec="minutes"),
            "subject": self._random.choice(who.words.subjects[topic]),
            "author": (deal["owner"] if deal else who.owner.email) if direction == "out" else "",
            "needs_answer": "yes" if asks else "no",
            "answered": answered.isoformat(timespec="minutes") if is_answered else "",
            "duration": self._random.randint(1, 25) * 60 if kind == "call" else "",
        }


def _later(moment: datetime, by: timedelta) -> datetime:
    """Add elapsed time to what a clock of the company shows: it never shows the hour that is left out in spring."""
    zone = ZoneInfo(ZONE)
    return (moment.replace(tzinfo=zone).astimezone(UTC) + by).astimezone(zone).replace(tzinfo=None)
