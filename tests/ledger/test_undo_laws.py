"""Laws of undo: undoing all, newest first, restores what was, and undoing those undos restores what came."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import CRM, Customer, Deal, Money, User
from crm_core.errors import CrmError
from crm_core.records import ContactPoint, Relation
from tests.opening import content

STEPS = (
    "add customer",
    "add customers",
    "add user",
    "add deal",
    "relate",
    "add contact point",
    "edit customer",
    "edit many",
    "edit deal",
    "move",
    "hand over",
    "delete customer",
    "delete deal",
    "refund",
    "undo newest",
)
Draw = tuple[str, int, int]


def step(crm: CRM, name: str, which: int, other: int) -> None:
    """Do one thing to some record; what the rules refuse changes nothing."""
    customers = crm.customers.find(limit=None).records
    deals = crm.deals.find(limit=None).records
    users = crm.users.find(limit=None).records

    def some(records: tuple[object, ...], number: int) -> object:
        return records[number % len(records)]

    match name:
        case "add customer":
            crm.customers.add(Customer(name=f"C{which}", tags=(f"t{other}",)), external=("erp", f"{which}"))
        case "add customers":
            crm.customers.add_many(Customer(name=f"M{n}", country="DE") for n in range(which % 4))
        case "add user":
            crm.users.add(User(name=f"U{which}", email=f"u{which}@example.org"))
        case "add deal":
            owner = users[other % len(users)].id if users else None
            customer = customers[which % len(customers)].id if customers else None
            stage = ("new", "won", "lost", None)[other % 4]
            crm.deals.add(
                Deal(title=f"D{which}", customer_id=customer, owner_id=owner, stage=stage, amount=Money(other, "EUR"))
            )
        case "relate" if customers:
            one, two = customers[which % len(customers)], customers[other % len(customers)]
            crm.relations.add(Relation(customer_id=one.id, other_id=two.id, kind="household"))
        case "add contact point" if customers:
            owner_id = customers[which % len(customers)].id
            crm.contact_points.add(ContactPoint(customer_id=owner_id, kind="email", value=f"e{other}@example.org"))
        case "edit customer" if customers:
            one = customers[which % len(customers)]
            crm.customers.edit(one.evolve(name=f"E{other}", tags=(f"t{other}", f"t{which}"), city=f"{which}"))
        case "edit many" if customers:
            crm.customers.edit_many(one.evolve(country=f"X{which}") for one in customers)
        case "edit deal" if deals:
            deal = deals[which % len(deals)]
            crm.deals.edit(deal.evolve(amount=Money(which, ("EUR", "USD")[other % 2]), next_step=f"{other}"))
        case "move" if deals:
            crm.deals.move(deals[which % len(deals)], ("new", "proposal", "won", "lost")[other % 4])
        case "hand over" if deals:
            with crm.operation("hand over"):
                owner = crm.users.add(User(name=f"H{which}"))
                crm.deals.edit(deals[other % len(deals)].evolve(owner_id=owner.id))
        case "delete customer" if customers:
            crm.customers.delete(customers[which % len(customers)])
        case "delete deal" if deals:
            crm.deals.delete(deals[which % len(deals)])
        case "refund":
            sales = crm.sales.find("amount > 0", limit=None).records
            if sales:
                crm.sales.refund(sales[which % len(sales)])
        case "undo newest" | "undo any":
            operations = crm.ledger.operations(limit=1 if name == "undo newest" else 50)
            if operations:
                crm.ledger.undo(operations[which % len(operations)].id)


def draws(steps: tuple[str, ...]) -> st.SearchStrategy[list[Draw]]:
    return st.lists(st.tuples(st.sampled_from(steps), st.integers(0, 5), st.integers(0, 5)), max_size=14)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(before=draws((*STEPS, "undo any")), steps=draws(STEPS))
def test_undoing_everything_newest_first_restores_what_was_and_undoing_that_what_came(
    before: list[Draw], steps: list[Draw]
) -> None:
    with CRM.open("memory:") as crm:
        _do(crm, before)
        old, known = content(crm), {one.id for one in crm.ledger.operations(limit=500)}
        _do(crm, steps)
        new = content(crm)
        fresh = [one for one in crm.ledger.operations(limit=500) if one.id not in known]
        undone = [crm.ledger.undo(one.id) for one in fresh if crm.ledger.get(one.id).state == "done"]
        assert [((), ())] * len(undone) == [(report.kept, report.refused) for report in undone]
        assert old == content(crm)
        for report in reversed(undone):
            if report.undo_id is not None:
                crm.ledger.undo(report.undo_id)
        assert new == content(crm)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(steps=draws((*STEPS, "undo any")), which=st.integers(0, 30))
def test_a_dry_run_says_what_the_real_one_does_and_writes_nothing(steps: list[Draw], which: int) -> None:
    with CRM.open("memory:") as crm:
        _do(crm, steps)
        operations = crm.ledger.operations(limit=500)
        if not operations:
            return
        operation = operations[which % len(operations)].id
        before, head = content(crm), crm.ledger.history.head()
        try:
            said = crm.ledger.undo(operation, dry_run=True)
        except CrmError:
            return
        assert (before, head) == (content(crm), crm.ledger.history.head())
        try:
            done = crm.ledger.undo(operation)
        except CrmError:
            assert not said.reversed
            return
        assert (said.reversed, said.kept, said.refused) == (done.reversed, done.kept, done.refused)


def _do(crm: CRM, steps: list[Draw]) -> None:
    for name, which, other in steps:
        try:
            step(crm, name, which, other)
        except CrmError:
            continue
