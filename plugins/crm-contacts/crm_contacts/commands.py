"""`crm customers duplicates`: who is there twice, what was judged distinct, and merging by rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from crm_contacts.rules import rules_of
from crm_core.console import (
    MISSING,
    Column,
    Number,
    cell,
    clean,
    confirm,
    emit,
    examples,
    note,
    plural,
    progress,
    say,
    table,
    workspace,
    yes_option,
)
from crm_core.errors import UsageError
from crm_core.query.ast import In
from crm_core.values import format_id, id_time

if TYPE_CHECKING:
    from crm_contacts.matching import Found, Group, Pair, Reason
    from crm_contacts.merging import Merged, Plan
    from crm_contacts.rules import Rules
    from crm_core import CRM, Customer

_CROWDS = 3
_BATCH = 500
_SOME_REJECTED = 3
_TOLD = {
    "email": "same e-mail {value}",
    "phone": "same number {value}",
    "account": "same account {value}",
    "external": "same external key {value}",
    "name": "names {share}% alike {value}",
    "same_name": "names {share}% alike",
}


@click.command(
    epilog=examples(
        "crm customers duplicates",
        "crm customers duplicates --min-score 80 --json",
        "crm customers duplicates --not-same ada@example.org 5XK3Q",
        "crm customers duplicates --merge oldest --dry-run",
    )
)
@click.option("--min-score", type=Number(1, 100), help="From which score; else as in crm.toml: 60, to merge 90.")
@click.option("--limit", type=Number(1, 100_000), default=50, show_default=True, help="At most so many groups.")
@click.option("--merge", "rule", type=click.Choice(["oldest", "fullest"]), help="Merge each group into that one of it.")
@click.option("--not-same", nargs=2, metavar="A B", help="Two customers who are two; they are not proposed again.")
@click.option("--dry-run", is_flag=True, help="With --merge: show what would become of whom, and write nothing.")
@yes_option
def duplicates(
    min_score: int | None, limit: int, rule: str | None, not_same: tuple[str, str] | None, dry_run: bool, yes: bool
) -> None:
    """Find customers who are there twice.

    They share an e-mail address, a number, an external key, or have names alike and a city or company in common. Each
    reason has a weight, `[policies.contacts.weights]` in crm.toml. With --merge all groups, whatever --limit says,
    become one customer each: the one known longest, or the one of whom most is known. That is one operation, which
    `crm ledger undo` takes back. To merge two by hand, field by field: crm customers merge A B.
    """
    if dry_run and rule is None:
        raise UsageError("--dry-run goes with --merge", hint="without --merge nothing is written anyway")
    if rule is not None and not_same is not None:
        raise UsageError("--merge and --not-same are two things", hint="do one after the other")
    with workspace() as crm:
        rules = rules_of(crm.settings.policies)
        if not_same is not None:
            _judge(crm, *not_same)
        elif rule is not None:
            _merge(crm, rules, rule, min_score or rules.merge_score, limit, dry_run=dry_run, yes=yes)
        else:
            _list(crm, rules, min_score or rules.min_score, limit)


def _judge(crm: CRM, a: str, b: str) -> None:
    from crm_contacts.matching import distinct_pairs, ordered
    from crm_contacts.records import DistinctPair

    one, other = (crm.customers.get(crm.resolve("customer", typed)) for typed in (a, b))
    if one.id == other.id:
        raise UsageError(f"{a!r} and {b!r} are one customer: {_named(one)}", hint="name two")
    known = ordered(one.id, other.id) in distinct_pairs(crm)
    if not known:
        crm.records(DistinctPair).add(DistinctPair(customer_id=one.id, other_id=other.id))
    what = {"distinct": [format_id(one.id), format_id(other.id)], "known_before": known}
    told = "was known already" if known else "is remembered; crm ledger undo last takes it back"
    emit(what, lambda: say(f"{_named(one)} and {_named(other)} are two: that {told}"))


# Showing


def _list(crm: CRM, rules: Rules, min_score: int, limit: int) -> None:
    from crm_contacts.matching import find_groups

    found = find_groups(crm, rules, min_score)
    shown = found.groups[:limit]
    people = _people(crm, shown)
    emit(
        [_group_json(group, people) for group in shown],
        lambda: _show_groups(shown, people) if shown else say(_nothing(found, rules, min_score)),
    )
    if len(shown) < len(found.groups):
        note(f"There are {len(found.groups):,} groups; --limit shows more, --min-score the surer ones.")
    _tell_crowds(found)


def _nothing(found: Found, rules: Rules, min_score: int) -> str:
    """Say why the answer is empty, and what would not be."""
    if found.customers < 2:
        return f"There are no duplicates among {plural(found.customers, 'customer')}."
    told = f"None of {plural(found.customers, 'customer')} is there twice with a score of {min_score} or more."
    if found.judged:
        told += f" Left out: {plural(found.judged, 'pair')} judged not the same."
    if found.below:
        best = max(found.below)
        pairs = plural(found.below[best], "pair")
        return f"{told} Below that: {pairs} from {best} to {best + 9} (--min-score {best or 1})."
    least = rules.weights["same_name"]
    if min_score > least:
        return f"{told} Nothing scores less either; the same name alone might (--min-score {least})."
    return told


def _tell_crowds(found: Found) -> None:
    for rule, value, count in found.crowds[:_CROWDS]:
        note(f"{clean(value)!r} is the {rule} of {count:,} customers: too many to say anything, so it is not used.")
    if len(found.crowds) > _CROWDS:
        note(f"So are {len(found.crowds) - _CROWDS:,} more.")


def _show_groups(groups: Iterable[Group], people: dict[int, Customer]) -> None:
    rows = []
    for number, group in enumerate(groups, 1):
        first = True
        for one in group.members:
            best = next(pair for pair in group.pairs if one in (pair.one, pair.other))
            rows.append(
                [str(number) if first else "", str(group.score) if first else "", *_cells(people, one), _why(best)]
            )
            first = False
    heads = [Column("group", right=True), Column("score", right=True), Column("id"), Column("name", fit="clip")]
    table([*heads, Column("city", fit="clip"), Column("why", fit="wrap")], rows)
    say("crm customers merge A B makes two one; crm customers duplicates --not-same A B remembers that they are two")


def _cells(people: dict[int, Customer], one: int) -> list[str]:
    customer = people.get(one)
    if customer is None:  # gone since
        return [format_id(one), MISSING, MISSING]
    return [format_id(one), clean(customer.name or MISSING), clean(customer.city or MISSING)]


def _why(pair: Pair) -> str:
    return "; ".join(_told(reason) for reason in pair.reasons)


def _told(reason: Reason) -> str:
    return _TOLD[reason.rule].format(value=clean(reason.value), share=reason.share).strip()


def _group_json(group: Group, people: dict[int, Customer]) -> dict[str, Any]:
    return {
        "score": group.score,
        "members": [_customer_json(people, one) for one in group.members],
        "pairs": [
            {
                "a": format_id(pair.one),
                "b": format_id(pair.other),
                "score": pair.score,
                "reasons": [
                    {"rule": one.rule, "value": one.value, "alike": one.share, "weight": one.weight}
                    for one in pair.reasons
                ],
            }
            for pair in group.pairs
        ],
    }


def _customer_json(people: dict[int, Customer], one: int) -> dict[str, Any]:
    customer = people.get(one)
    found = {} if customer is None else {"name": customer.name, "kind": customer.kind, "city": customer.city}
    return {"id": format_id(one), **found}


def _people(crm: CRM, groups: Sequence[Group]) -> dict[int, Customer]:
    ids = [one for group in groups for one in group.members]
    found: dict[int, Customer] = {}
    for at in range(0, len(ids), _BATCH):
        found |= {one.id: one for one in crm.customers.find(In("id", tuple(ids[at : at + _BATCH])), limit=None)}
    return found


# Merging


def _merge(crm: CRM, rules: Rules, rule: str, min_score: int, limit: int, *, dry_run: bool, yes: bool) -> None:
    from crm_contacts.matching import find_groups
    from crm_contacts.merging import merge, plans

    found = find_groups(crm, rules, min_score)
    planned = plans(crm, found.groups, rule)
    total = sum(len(plan.gone) for plan in planned)
    if not planned:
        emit(_merge_json((), None, dry_run=dry_run), lambda: say(_nothing(found, rules, min_score)))
        _tell_crowds(found)
        return
    done: Merged | None = None
    if not dry_run:
        _preview(crm, planned, limit)
        question = f"Merge {plural(total, 'customer')} into {len(planned):,} others, each time the {rule}?"
        confirm(question, yes=yes, undoable=True)
        with progress(total, "merging") as bar:
            done = merge(crm, planned, each=bar.advance)
    emit(_merge_json(planned, done, dry_run=dry_run), lambda: _show_merged(crm, planned, done, total, limit))
    _tell_crowds(found)
    if done is not None and done.refused:
        raise SystemExit(_SOME_REJECTED)


def _preview(crm: CRM, planned: Sequence[Plan], limit: int) -> None:
    rows = [
        [str(plan.group.score), _named(gone), _named(plan.keep), _since(crm, plan.keep), _why(_tie(plan, gone))]
        for plan in planned[:limit]
        for gone in plan.gone
    ]
    heads = [Column("score", right=True), Column("becomes part", fit="clip"), Column("of", fit="clip"), Column("since")]
    table([*heads, Column("why", fit="wrap")], rows)
    if len(planned) > limit:
        note(f"There are {len(planned):,} groups; --limit shows more of them.")


def _show_merged(crm: CRM, planned: Sequence[Plan], done: Merged | None, total: int, limit: int) -> None:
    if done is None:
        _preview(crm, planned, limit)
        say(f"would merge {plural(total, 'customer')} into {len(planned):,} others; everything of theirs follows")
        return
    say(f"merged {plural(done.merged, 'customer')} into {len(planned):,} others")
    for one in done.refused:
        note(f"not merged: {_named(one.gone)} into {_named(one.keep)}: {one.error.message}")
    if done.merged:
        say("crm ledger undo last takes it back")


def _tie(plan: Plan, gone: Customer) -> Pair:
    """Return the pair that says best why somebody is in a group: with the one who stays, if they are tied."""
    mine = [pair for pair in plan.group.pairs if gone.id in (pair.one, pair.other)]
    return next((pair for pair in mine if plan.keep.id in (pair.one, pair.other)), mine[0])


def _since(crm: CRM, customer: Customer) -> str:
    """Write since when a customer is known: the first contact, else when they were added."""
    return cell(customer.first_contact_at or id_time(customer.id), crm.zone)


def _merge_json(planned: Sequence[Plan], done: Merged | None, *, dry_run: bool) -> dict[str, Any]:
    operation = None if done is None or done.operation_id is None else format_id(done.operation_id)
    return {
        "groups": [
            {
                "score": plan.group.score,
                "keep": format_id(plan.keep.id),
                "gone": [format_id(gone.id) for gone in plan.gone],
            }
            for plan in planned
        ],
        "merged": 0 if done is None else done.merged,
        "refused": [
            {"keep": format_id(one.keep.id), "gone": format_id(one.gone.id), "message": one.error.message}
            for one in (() if done is None else done.refused)
        ],
        "operation": operation,
        "dry_run": dry_run,
    }


def _named(customer: Customer) -> str:
    return f"{clean(customer.name or MISSING)} ({format_id(customer.id)})"
