"""All that is known of one customer (the 360 view), and of one deal, gathered from every service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_core.cli.records import label, labels, show_record, show_records
from crm_core.console import Column, emit, heading, moment, money, pairs, plural, say, table
from crm_core.errors import CrmError
from crm_core.events import ProfileWanted
from crm_core.records import Customer, Deal, Interaction, Record
from crm_core.records.json import record_json
from crm_core.values import format_id, local_midnight

if TYPE_CHECKING:
    from crm_core.crm import CRM

_MOST = 1_000
"""Rows of one kind that a profile reads at most."""
_DIVIDED: Final = 20_000
"""Customers up to which a profile divides all of them, to say in which segments this one is."""


@attrs.frozen(kw_only=True)
class Event:
    """One line of the timeline: when, what kind of thing, in words, and the record it is."""

    at: datetime | date
    kind: str
    text: str
    id: int

    def instant(self, crm: CRM) -> datetime:
        """Return the instant to sort by; a day without a time counts from its midnight."""
        return self.at if isinstance(self.at, datetime) else local_midnight(self.at, crm.zone)


@attrs.frozen(kw_only=True)
class Profile:
    """What was gathered of a customer; `undated` are interactions of which nobody knows when they were."""

    customer: Customer
    contact_points: Sequence[Record]
    people: Sequence[Mapping[str, Any]]
    deals: Sequence[Deal]
    sales: Sequence[Any]
    timeline: Sequence[Event]
    undated: Sequence[Interaction]
    segments: Mapping[str, str] | None
    sections: Mapping[str, Sequence[Mapping[str, Any]]]


def show_profile(crm: CRM, customer: Customer, events: int, *, segments: bool | None = None) -> None:
    """Print the 360 view with the newest `events` of the timeline; `segments` as in `gather`."""
    found = gather(crm, customer, segments=segments)
    emit(_profile_json(crm, found, events), lambda: _print_profile(crm, found, events))


def gather(crm: CRM, customer: Customer, *, segments: bool | None = None) -> Profile:
    """Gather what is known of a customer.

    Args:
        crm: where to look.
        customer: whom it is about.
        segments: whether to divide all customers for it; None: where there are few enough that nobody waits.
    """
    mine = f'customer_id = "{format_id(customer.id)}"'
    deals = crm.deals.find(mine, sort="-opened_at", limit=_MOST).records
    sales = crm.sales.find(mine, sort="-sold_at", limit=_MOST).records
    return Profile(
        customer=customer,
        contact_points=crm.contact_points.find(mine, limit=_MOST).records,
        people=_people(crm, customer),
        deals=deals,
        sales=sales,
        timeline=_timeline(crm, mine, deals, sales),
        undated=crm.interactions.find(f"{mine} and occurred_at is null", limit=_MOST).records,
        segments=_segments(crm, customer) if _is_wanted(crm, segments) else None,
        sections=_sections(crm, customer),
    )


def show_deal(crm: CRM, deal: Deal) -> None:
    """Print a deal, its way through the stages, its sales and who took part."""
    mine = f'deal_id = "{format_id(deal.id)}"'
    related: dict[str, Sequence[Record]] = {
        name: crm.records(name).find(mine, limit=_MOST).records
        for name in ("stage_change", "deal_change", "participant", "sale", "interaction")
    }
    kind = crm.registry.named("deal")
    data = record_json(kind, deal)
    for name, records in related.items():
        other = crm.registry.named(name)
        data[other.plural] = [record_json(other, record) for record in records]

    def show() -> None:
        show_record(crm, kind, deal)
        for name, records in related.items():
            other = crm.registry.named(name)
            if records:
                heading(f"{other.declaration.label}s: {len(records):,}".replace("ys:", "ies:"))
                fields = [f for f in other.fields.values() if f.path != "deal_id" and _any_value(f, records)]
                show_records(crm, fields, records)

    emit(data, show)


def _any_value(field: Any, records: Iterable[Record]) -> bool:
    return any(field.of(record) not in (None, ()) for record in records)


def _people(crm: CRM, customer: Customer) -> list[dict[str, Any]]:
    me = format_id(customer.id)
    found = crm.relations.find(f'customer_id = "{me}" or other_id = "{me}"', limit=_MOST).records
    names = labels(crm, "customer", [one for r in found for one in (r.customer_id, r.other_id)])
    people = []
    for relation in found:
        forward = relation.customer_id == customer.id
        other = relation.other_id if forward else relation.customer_id
        people.append(
            {
                "id": format_id(other),
                "name": names.get(other, format_id(other)),
                "kind": relation.kind,
                "direction": "to" if forward else "from",
                "title": relation.title,
                "until": None if relation.until_on is None else relation.until_on.isoformat(),
            }
        )
    return people


def _timeline(crm: CRM, mine: str, deals: Sequence[Deal], sales: Sequence[Any]) -> list[Event]:
    events = [
        Event(
            at=one.occurred_at,
            kind=one.kind,
            text=_said(one),
            id=one.id,
        )
        for one in crm.interactions.find(mine, sort="-occurred_at", limit=_MOST).records
        if one.occurred_at is not None
    ]
    titles = {deal.id: deal.title for deal in deals}
    if titles:
        listed = ", ".join(f'"{format_id(one)}"' for one in titles)
        changes: Sequence[Any] = (
            crm.records("stage_change").find(f"deal_id in ({listed})", sort="-at", limit=_MOST).records
        )
        events += [
            Event(at=one.at, kind="stage", text=f"{titles[one.deal_id]}: {_passage(one)}", id=one.deal_id)
            for one in changes
        ]
    for sale in sales:
        if sale.sold_at is not None:
            voided = " (voided)" if sale.voided_at is not None else ""
            events.append(Event(at=sale.sold_at, kind=sale.kind, text=money(sale.amount) + voided, id=sale.id))
    return sorted(events, key=lambda event: (event.instant(crm), event.id), reverse=True)


def _said(one: Interaction) -> str:
    return " ".join(filter(None, [_arrow(one.direction), one.topic and f"[{one.topic}]", one.subject or one.body]))


def _passage(change: Any) -> str:
    return f"{change.from_stage} → {change.to_stage}" if change.from_stage else f"opened in {change.to_stage}"


def _arrow(direction: str) -> str:
    return {"in": "←", "out": "→"}.get(direction, "·")


def _is_wanted(crm: CRM, segments: bool | None) -> bool:
    return crm.customers.count() <= _DIVIDED if segments is None else segments


def _segments(crm: CRM, customer: Customer) -> dict[str, str]:
    found = {}
    for segment in crm.segments.all():
        try:
            result = crm.segments.run(segment.name)
        except CrmError as error:
            found[segment.name] = f"not known: {error.message}"
            continue
        found[segment.name] = next((m.label for m in result.members if m.id == customer.id), "in no group")
    return found


def _sections(crm: CRM, customer: Customer) -> dict[str, Sequence[Mapping[str, Any]]]:
    wanted = ProfileWanted(crm=crm, customer=customer)
    built = {}
    for collected in crm.host.collect("register_profile_sections"):
        rows = collected.item.build(wanted)
        if rows:
            built[collected.item.title] = rows
    return built


def _print_profile(crm: CRM, found: Profile, events: int) -> None:
    customer = found.customer
    say(label(customer), style="bold")
    show_record(crm, crm.registry.named("customer"), customer)
    if customer.next_step:
        when = f" on {customer.next_step_on}" if customer.next_step_on else ""
        say(f"\nNext step{when}: {customer.next_step}")
    if found.contact_points:
        heading("Contact points")
        pairs((one.kind, one.value + (" (primary)" if one.primary else "")) for one in _contacts(found.contact_points))
    if found.people:
        heading("People")
        rows = [[_relation(one), one["name"], one["title"] or "", one["until"] or ""] for one in found.people]
        table(["relation", Column("who", fit="wrap"), "title", "until"], rows)
    _print_trade(crm, found)
    if found.segments is None:
        say("\nSegments: not looked up; --segments divides all customers to tell")
    elif found.segments:
        heading("Segments")
        pairs(found.segments.items())
    for title, section in found.sections.items():
        heading(title)
        columns = list(dict.fromkeys(name for row in section for name in row))
        table(columns, [[str(row.get(name, "")) for name in columns] for row in section])
    if found.undated:
        heading(f"Without a date: {plural(len(found.undated), 'interaction')}")
        table(
            ["when", "what", Column("", fit="wrap")],
            [["no date", one.kind, _said(one)] for one in found.undated[:events]],
        )
        if len(found.undated) > events:
            say(f"{len(found.undated) - events:,} more: --timeline {len(found.undated)}")
    heading(f"Timeline: {plural(len(found.timeline), 'event')}")
    shown = found.timeline[:events]
    table(
        ["when", "what", Column("", fit="wrap")],
        [[moment(event.at, crm.zone), event.kind, event.text] for event in shown],
    )
    if len(found.timeline) > len(shown):
        say(f"{len(found.timeline) - len(shown):,} older: --timeline {len(found.timeline)}")


def _print_trade(crm: CRM, found: Profile) -> None:
    if found.deals:
        heading(f"Deals: {_counted(found.deals)}")
        kind = crm.registry.named("deal")
        show_records(
            crm, [kind.field(path) for path in ("title", "stage", "amount", "opened_at", "closed_at")], found.deals[:10]
        )
    if found.sales:
        heading(f"Sales: {_totals(found.sales)}")
        kind = crm.registry.named("sale")
        show_records(crm, [kind.field(path) for path in ("sold_at", "kind", "amount", "voided_at")], found.sales[:10])


def _contacts(points: Sequence[Any]) -> list[Any]:
    return sorted(points, key=lambda one: (not one.primary, one.kind, one.value))


def _relation(person: Mapping[str, Any]) -> str:
    return f"{person['kind']} →" if person["direction"] == "to" else f"← {person['kind']}"


def _counted(deals: Sequence[Deal]) -> str:
    counts = {status: sum(deal.status == status for deal in deals) for status in ("open", "won", "lost")}
    return ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)


def _totals(sales: Sequence[Any]) -> str:
    """Sum what was sold less what was refunded, a currency apart from the other; unknown amounts are counted."""
    totals: dict[str, Any] = {}
    unknown = 0
    for sale in sales:
        if sale.voided_at is not None:
            continue
        if sale.amount is None:
            unknown += 1
            continue
        amount = sale.amount if sale.kind == "sale" else -sale.amount
        held = totals.get(amount.currency)
        totals[amount.currency] = amount if held is None else held + amount
    said = [str(total) for total in totals.values()] + ([f"{unknown:,} of unknown amount"] if unknown else [])
    return " + ".join(said) or "none counts"


def _profile_json(crm: CRM, found: Profile, events: int) -> dict[str, Any]:
    def listed(type_name: str, records: Sequence[Record]) -> list[dict[str, Any]]:
        kind = crm.registry.named(type_name)
        return [record_json(kind, record) for record in records]

    def iso(at: datetime | date) -> str:
        return at.astimezone(crm.zone).isoformat() if isinstance(at, datetime) else at.isoformat()

    return {
        **record_json(crm.registry.named("customer"), found.customer),
        "contact_points": listed("contact_point", found.contact_points),
        "people": list(found.people),
        "deals": listed("deal", found.deals),
        "sales": listed("sale", found.sales),
        "timeline": [
            {"at": iso(one.at), "kind": one.kind, "text": one.text, "id": format_id(one.id)}
            for one in found.timeline[:events]
        ],
        "undated": listed("interaction", found.undated[:events]),
        "segments": None if found.segments is None else dict(found.segments),
        "sections": {title: [dict(row) for row in rows] for title, rows in found.sections.items()},
    }
