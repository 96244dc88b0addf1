"""Who is there twice: pairs with score and reasons, and the groups that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import combinations, groupby, product
from operator import itemgetter
from typing import Final

import attrs

from crm_contacts.blocks import Block, Evidence, Marks, Person
from crm_contacts.names import comparable, is_another, likeness
from crm_contacts.records import DistinctPair
from crm_contacts.rules import Rules
from crm_core import CRM

_FAMILY: Final = 50
"""Customers at one address from which on it says nothing of any two of them: a shop's own, a placeholder."""
_CROWD: Final = 300
"""Names in one block from which on each is compared with the next ones in order only, not with all."""
_NEIGHBOURS: Final = 20
_STRANGERS: Final = 50
"""Percent below which two names speak against one customer."""
_AGAINST: Final = 60
"""Percent that is left of a score against which a name or a day of birth speaks."""
_DOUBT: Final = 85
"""Percent that is left of a score where only the names of the family are one: it stays below what is merged by rule."""
_MAILBOXES: Final = (
    "info contact hello office mail team admin sales support service help orders order shop billing accounts "
    "accounting finance hr jobs booking reservations reception marketing press webmaster postmaster hostmaster "
    "noreply no-reply kontakt buero verkauf vertrieb rezeption contacto ventas contatto vendite"
)
_ROLES: Final = frozenset(_MAILBOXES.split())
"""Mailboxes that several people read."""
_ROLE: Final = 60
"""How much an address of such a mailbox says of people, in percent."""
_BATCH: Final = 5_000

PairKey = tuple[int, int]
Row = tuple[int, int, str, str, int]
"""Two customers, the lower id first, a rule, what they share, how much of it holds in percent."""
Crowds = dict[tuple[str, str], int]


@attrs.frozen
class Reason:
    """Why two customers may be one: the rule, what they share, how sure that alone makes it in percent.

    `share` is how much of the rule's weight that is, in percent: how much names are alike; of an address that several
    people read 60; else 100.
    """

    rule: str
    value: str
    weight: int
    share: int = 100


@attrs.frozen
class Pair:
    """Two customers who may be one, the lower id first; `score` is in percent."""

    one: int
    other: int
    score: int
    reasons: tuple[Reason, ...]


@attrs.frozen
class Group:
    """Customers who may all be one, by id: `score` is that of the weakest pair that holds them together."""

    members: tuple[int, ...]
    score: int
    pairs: tuple[Pair, ...]


@attrs.frozen(kw_only=True)
class Found:
    """What a search found: the groups, best first; how many pairs score less, by the tens of their scores.

    `crowds` are marks that too many customers share to say anything: the rule, the mark, how many they are.
    """

    customers: int
    groups: tuple[Group, ...]
    below: dict[int, int]
    judged: int
    crowds: tuple[tuple[str, str, int], ...]


def find_groups(crm: CRM, rules: Rules, min_score: int) -> Found:
    """Look for customers who are there twice.

    Only customers of one kind are compared, and those judged distinct are not put together. Memory grows with what is
    found, not with the customers.

    Raises:
        UsageError: a field that the settings name is none that tells customers apart.
        SettingsError: the settings are not understood.
    """
    marks = Marks(crm, rules, names_alone=min_score <= rules.weights["same_name"])
    try:
        customers = marks.read()
        crowds: Crowds = {}
        evidence = marks.evidence()
        evidence.add(row for block in marks.blocks() for row in _reasons(block, rules, crowds))
        distinct = distinct_pairs(crm)
        pairs, below, judged = _scored(marks, evidence, rules, min_score, distinct)
    finally:
        marks.close()
    groups = tuple(grouped(pairs, distinct))
    shared = tuple((rule, mark, count) for (rule, mark), count in sorted(crowds.items(), key=lambda one: -one[1]))
    return Found(customers=customers, groups=groups, below=below, judged=judged, crowds=shared)


def distinct_pairs(crm: CRM) -> frozenset[PairKey]:
    """Return who was judged distinct, the lower id first."""
    found = crm.records(DistinctPair).iterate()
    return frozenset(ordered(one.customer_id, one.other_id) for one in found)


def grouped(pairs: Iterable[Pair], distinct: Set[PairKey] = frozenset()) -> Iterator[Group]:
    """Put pairs together, the surest first, and never two who were judged distinct; yield the groups, best first."""
    home: dict[int, int] = {}
    members: dict[int, set[int]] = {}
    scores: dict[int, int] = {}
    apart: dict[int, set[int]] = {}
    for one, other in distinct:
        apart.setdefault(one, set()).add(other)
        apart.setdefault(other, set()).add(one)
    ranked = sorted(pairs, key=lambda pair: (-pair.score, pair.one, pair.other))
    for pair in ranked:
        for one in (pair.one, pair.other):
            members.setdefault(home.setdefault(one, one), {one})
        large, small = sorted((home[pair.one], home[pair.other]), key=lambda at: (-len(members[at]), at))
        if large == small or not apart.get(small, set()).isdisjoint(members[large]):
            continue
        for one in members[small]:
            home[one] = large
        members[large] |= members.pop(small)
        if small in apart:
            apart.setdefault(large, set()).update(apart.pop(small))
        scores[large] = pair.score
    inside: dict[int, list[Pair]] = {}
    for pair in ranked:
        if home[pair.one] == home[pair.other]:
            inside.setdefault(home[pair.one], []).append(pair)
    groups = [Group(tuple(sorted(members[at])), scores[at], tuple(found)) for at, found in inside.items()]
    yield from sorted(groups, key=lambda group: (-group.score, group.members))


def combined(reasons: Sequence[Reason], *, against: int = 0) -> int:
    """Return the score of reasons that stand for themselves: how unlikely it is that all of them are chance.

    >>> combined([Reason("email", "a@b.c", 90), Reason("phone", "+491", 80)])
    98
    """
    whole, chance = 1, 1
    for reason in reasons:
        whole, chance = whole * 100, chance * (100 - reason.weight)
    score = (whole - chance) * 100 // whole
    for _ in range(against):
        score = score * _AGAINST // 100
    return score


def _reasons(block: Block, rules: Rules, crowds: Crowds) -> Iterator[Row]:
    if block.rule == "name":
        yield from _alike(block, rules, crowds)
    elif len(block.members) > _FAMILY:
        crowds[block.rule, block.key] = len(block.members)
    else:
        for (one, _), (other, _) in combinations(block.members, 2):
            yield one, other, block.rule, block.key, 100


def _alike(block: Block, rules: Rules, crowds: Crowds) -> Iterator[Row]:
    """Compare the names of a block, each different one once: with all others, or in a crowd with its neighbours."""
    place = block.key.rpartition("^" if "^" in block.key else "$")[0].strip()
    bearers: dict[str, list[int]] = {}
    for id_, name in block.members:
        bearers.setdefault(name, []).append(id_)
    for name, ids in bearers.items():
        if len(ids) > _FAMILY:
            crowds["name", f"{name} {place}"] = len(ids)
            continue
        for one, other in combinations(ids, 2):
            yield one, other, "name", place, 100
    names = sorted(name for name, ids in bearers.items() if len(ids) <= _FAMILY)
    reach = len(names) if len(names) <= _CROWD else _NEIGHBOURS
    for at, name in enumerate(names):
        for another in names[at + 1 : at + 1 + reach]:
            alike = likeness(name, another, rules.alike)
            if alike:
                for one, other in product(bearers[name], bearers[another]):
                    yield (*ordered(one, other), "name", place, alike)


def _scored(
    marks: Marks, evidence: Evidence, rules: Rules, min_score: int, distinct: Set[PairKey]
) -> tuple[list[Pair], dict[int, int], int]:
    pairs: list[Pair] = []
    below: dict[int, int] = {}
    judged = 0
    for rows in evidence.pairs(_BATCH):
        people = marks.people({one for row in rows for one in row[:2]})
        for (one, other), mine in groupby(rows, key=itemgetter(0, 1)):
            if one not in people or other not in people or people[one].kind != people[other].kind:
                continue
            if (one, other) in distinct:
                judged += 1
                continue
            pair = _judge(people[one], people[other], [row[2:] for row in mine], rules)
            if pair.score >= min_score:
                pairs.append(pair)
            else:
                tens = pair.score // 10 * 10
                below[tens] = below.get(tens, 0) + 1
    return pairs, below, judged


def _judge(one: Person, other: Person, rows: Sequence[tuple[str, str, int]], rules: Rules) -> Pair:
    """Weigh what was found of a pair, and what their names and birthdays say for or against it."""
    reasons: dict[str, Reason] = {}
    people = one.kind == "person"
    for rule, value, given in rows:
        share = _ROLE if people and rule == "email" and value.partition("@")[0] in _ROLES else given
        reason = Reason(rule, value, rules.weights[rule] * share // 100, share)
        if rule not in reasons or reason.weight > reasons[rule].weight:
            reasons[rule] = reason
    both = bool(one.name and other.name)
    alike = likeness(one.name, other.name, _STRANGERS) if both else 0
    if both and alike >= rules.alike and "name" not in reasons:
        place = f"in {one.city}" if one.city and one.city == other.city else ""
        rule = "name" if place else "same_name"
        reasons[rule] = Reason(rule, place, rules.weights[rule] * alike // 100, alike)
    if "name" in reasons:
        reasons.pop("same_name", None)
    strangers = both and alike == 0 and "external" not in reasons and comparable(one.name, other.name)
    relatives = both and people and not strangers and is_another(one.name, other.name)
    unequal = one.born is not None and other.born is not None and one.born != other.born
    ranked = tuple(sorted(reasons.values(), key=lambda reason: (-reason.weight, reason.rule)))
    score = combined(ranked, against=strangers + unequal)
    return Pair(one.id, other.id, score * _DOUBT // 100 if relatives else score, ranked)


def ordered(one: int, other: int) -> PairKey:
    """Return a pair of ids as it is written down."""
    return (one, other) if one < other else (other, one)
