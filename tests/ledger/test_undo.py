"""Undo takes back what nobody touched since, keeps later edits, and says what it left and why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from crm_core import CRM, Customer, Deal, Money, Sale, User
from crm_core.errors import NotFound, UndoRefused, UsageError
from crm_core.ledger.history import History
from crm_core.ledger.reversal import SLICE, Reversal, Step
from crm_core.ledger.undo import UndoReport
from crm_core.records import ContactPoint, ExternalId
from tests.opening import content


def last(crm: CRM) -> int:
    return crm.ledger.resolve("last")


def undo(crm: CRM, operation: int | None = None) -> UndoReport:
    """Undo after a dry run that must have said the same."""
    wanted = operation or last(crm)
    said = crm.ledger.undo(wanted, dry_run=True)
    done = crm.ledger.undo(wanted)
    assert (said.reversed, said.kept, said.refused) == (done.reversed, done.kept, done.refused)
    return done


def test_an_added_record_goes_with_its_parts(crm: CRM) -> None:
    before = content(crm)
    crm.customers.add(Customer(name="Ada", tags=("vip",)), email="ada@example.org", external=("erp", "17"))
    report = undo(crm)
    assert before == content(crm)
    assert {"customer": 1, "customer_tag": 1, "external_id": 1, "contact_point": 1} == dict(report.reversed)


def test_an_operation_may_be_named_as_a_person_names_it(crm: CRM) -> None:
    crm.customers.add(Customer(name="Ada"))
    assert {"customer": 1} == dict(crm.ledger.undo("last").reversed)
    with pytest.raises(NotFound):
        crm.ledger.undo("nowhere")


def test_a_deleted_record_returns_with_its_parts_one_version_on(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", tags=("b", "a")), email="ada@example.org", external=("erp", "17"))
    before = content(crm)
    crm.customers.delete(ada)
    assert "deleted" == crm.external_ids.find().records[0].state
    undo(crm)
    assert before == content(crm)
    returned = crm.customers.get(ada.id)
    assert (ada.version + 1, ada.created_tx, ("b", "a")) == (returned.version, returned.created_tx, returned.tags)


def test_later_edits_stay_and_are_named_and_the_rest_goes_back(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", country="GB", city="London"))
    changed = crm.customers.edit(ada.evolve(name="Ada L.", country="UK", city="Paris"))
    bulk = last(crm)
    crm.customers.edit(changed.evolve(name="Lady Ada"))
    report = undo(crm, bulk)
    now = crm.customers.get(ada.id)
    assert ("Lady Ada", "GB", "London") == (now.name, now.country, now.city)
    assert [("customer", ada.id, "Lady Ada", ("name",))] == [(i.type, i.id, i.label, i.fields) for i in report.kept]


def test_money_goes_back_whole_or_stays_whole(crm: CRM) -> None:
    deal = crm.deals.add(Deal(title="D", amount=Money("50", "USD")))
    changed = crm.deals.edit(deal.evolve(amount=Money("100", "EUR"), next_step="call"))
    bulk = last(crm)
    crm.deals.edit(changed.evolve(amount=Money("200", "EUR")))
    report = undo(crm, bulk)
    now = crm.deals.get(deal.id)
    assert (Money("200", "EUR"), None) == (now.amount, now.next_step)
    assert ("amount",) in [item.fields for item in report.kept]


def test_a_value_put_back_by_hand_counts_as_untouched(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    operation = last(crm)
    crm.customers.edit(crm.customers.edit(ada.evolve(name="Eve")).evolve(name="Ada"))
    assert {"customer": 1} == dict(undo(crm, operation).reversed)


def test_a_created_record_that_is_edited_or_referenced_since_stays(crm: CRM) -> None:
    with crm.operation("import", kind="import"):
        ada, bob, eve, _ = crm.customers.add_many(Customer(name=name) for name in ("Ada", "Bob", "Eve", "Zoe"))
    imported = last(crm)
    crm.customers.edit(ada.evolve(city="London"))
    deal = crm.deals.add(Deal(title="D", customer_id=bob.id))
    crm.contact_points.add(ContactPoint(customer_id=eve.id, kind="email", value="eve@example.org"))
    report = undo(crm, imported)
    assert {"customer": 1} == dict(report.reversed)
    assert {(ada.id, ("city",)), (eve.id, ("1 contact point",))} == {(item.id, item.fields) for item in report.kept}
    assert [(bob.id, "referenced since by 1 deal")] == [(item.id, item.reason) for item in report.refused]
    assert bob.id == crm.deals.get(deal.id).customer_id


def test_a_reference_that_the_operation_itself_set_on_an_older_record_is_no_obstacle(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    with crm.operation("hand over"):
        owner = crm.users.add(User(name="Olga"))
        crm.customers.edit(ada.evolve(owner_id=owner.id))
    report = undo(crm)
    assert {"customer": 1, "user": 1} == dict(report.reversed)
    assert (None, 0) == (crm.customers.get(ada.id).owner_id, crm.users.count())


def test_what_a_staying_record_points_at_stays_with_it(crm: CRM) -> None:
    with crm.operation("import", kind="import"):
        ada = crm.customers.add(Customer(name="Ada"))
        deal = crm.deals.add(Deal(title="D", customer_id=ada.id))
    imported = last(crm)
    crm.deals.edit(deal.evolve(next_step="call"))
    with pytest.raises(UndoRefused, match="deal D: edited since; customer Ada: deal D stays and points at it"):
        crm.ledger.undo(imported)
    assert [] == [one for one in crm.ledger.operations() if one.kind == "undo"]


def test_a_move_goes_back_with_its_sale_and_its_stage_change(crm: CRM) -> None:
    deal = crm.deals.add(Deal(title="D", amount=Money("10", "EUR")))
    before = content(crm)
    crm.deals.move(deal, "won")
    after = content(crm)
    undo(crm)
    assert before == content(crm)
    undo(crm)
    assert after == content(crm)


def test_undo_of_undo_of_undo_says_who_is_undone(crm: CRM) -> None:
    crm.customers.add(Customer(name="Ada"))
    first = last(crm)
    states = []
    for _ in range(3):
        undo(crm)
        operations = sorted(crm.ledger.operations(), key=lambda one: one.id)
        states.append([one.state for one in operations])
    assert [["undone", "done"], ["done", "undone", "done"], ["undone", "done", "undone", "done"]] == states
    with pytest.raises(UndoRefused, match="undone already"):
        crm.ledger.undo(first)


def test_what_was_deleted_and_returned_still_goes_with_the_operation_that_created_it(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    created = last(crm)
    crm.customers.delete(ada)
    undo(crm)
    undo(crm, created)
    assert 0 == crm.customers.count()


def test_a_deleted_record_whose_key_is_taken_meanwhile_is_refused_by_name(crm: CRM) -> None:
    olga = crm.users.add(User(name="Olga", email="o@example.org"))
    crm.users.delete(olga)
    deleted = last(crm)
    crm.users.add(User(name="Olga II", email="o@example.org"))
    with pytest.raises(UndoRefused, match=r"user Olga: key taken: email 'o@example.org'"):
        crm.ledger.undo(deleted)


def test_a_deleted_record_whose_target_is_gone_is_refused_by_name(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    crm.deals.delete(crm.deals.add(Deal(title="D", customer_id=ada.id)))
    deleted = last(crm)
    crm.customers.delete(ada)
    with pytest.raises(UndoRefused, match=r"deal D: its customer_id .* is gone"):
        crm.ledger.undo(deleted)


def test_tags_alone_go_back(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", tags=("a", "b")))
    crm.customers.edit(ada.evolve(tags=("b", "c")))
    undo(crm)
    assert {"a", "b"} == set(crm.customers.get(ada.id).tags)


def test_a_derived_field_neither_holds_a_record_nor_makes_an_image(crm: CRM) -> None:
    crm.customers.add(Customer(name="Ada"), external=("erp", "1"))
    created = last(crm)
    entry = crm.external_ids.find().records[0]
    crm.records(ExternalId).edit(entry.evolve(row_hash="abc"))
    (changes,) = [list(crm.ledger.changes(last(crm)))]
    assert [] == changes
    assert {"customer": 1, "external_id": 1} == dict(undo(crm, created).reversed)


def test_a_restored_record_is_not_taken_for_unchanged_by_the_next_import(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"), external=("erp", "1"))
    entry = crm.external_ids.find().records[0]
    crm.records(ExternalId).edit(entry.evolve(row_hash="abc"))
    crm.customers.edit(ada.evolve(name="Eve"))
    undo(crm)
    assert None is crm.external_ids.find().records[0].row_hash


def test_a_refund_keeps_the_sale_it_refunds(crm: CRM) -> None:
    sale = crm.sales.add(Sale(amount=Money("10", "EUR")))
    added = last(crm)
    crm.sales.refund(sale)
    with pytest.raises(UndoRefused, match="referenced since by 1 sale"):
        crm.ledger.undo(added)


def test_an_operation_of_which_nothing_is_left_is_not_undone(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    added = last(crm)
    crm.customers.delete(ada)
    with pytest.raises(UndoRefused, match="was deleted or changed back since"):
        crm.ledger.undo(added)
    undo(crm)
    undo(crm, added)
    assert 0 == crm.customers.count()


def test_an_undo_that_was_killed_goes_on_where_it_stopped(crm: CRM) -> None:
    crm.customers.add_many(Customer(name=f"C{n}") for n in range(1_500))
    added = last(crm)
    ledger_undo = crm.ledger._undo
    mark = ledger_undo._mark

    def cut_off(*given: object) -> None:
        raise KeyboardInterrupt

    ledger_undo._mark = cut_off  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        crm.ledger.undo(added)
    ledger_undo._mark = mark  # type: ignore[method-assign]
    assert ("incomplete", "done") == tuple(one.state for one in crm.ledger.operations())
    crm.ledger.undo(added)
    assert (0, "undone") == (crm.customers.count(), crm.ledger.get(added).state)
    assert ["done", "undone"] == [one.state for one in crm.ledger.operations()]


def _imported(crm: CRM, customers: int) -> int:
    """Bring customers with a contact point each, as one transaction of an import; return its operation."""
    with crm.operation("import", kind="import"), crm.transaction():
        people = crm.customers.add_many(Customer(name=f"C{n}") for n in range(customers))
        points = (ContactPoint(customer_id=one.id, kind="email", value=f"{one.id}@example.org") for one in people)
        crm.contact_points.add_many(points)
    return last(crm)


def _transactions(crm: CRM, operation: int) -> list[int]:
    """Return how many records each transaction of an operation touched."""
    history = History(crm.storage)
    found = (history.changes(entry) for entry in history.transactions(operation))
    return [sum(len(batch) for batch in batches) for batches in found]


def test_an_import_goes_back_in_slices_and_returns_as_it_was(crm: CRM) -> None:
    operation = _imported(crm, SLICE + 1)
    before = content(crm)
    report = undo(crm, operation)
    assert {"customer": SLICE + 1, "contact_point": SLICE + 1} == report.reversed
    assert report.undo_id is not None
    assert [1, SLICE, 1, SLICE] == _transactions(crm, report.undo_id), "parts first, the last ones first"
    assert (0, 0) == (crm.customers.count(), crm.contact_points.count())
    undo(crm, report.undo_id)
    assert before == content(crm)


def test_what_a_person_wrote_in_one_transaction_goes_back_in_one(crm: CRM) -> None:
    with crm.transaction():
        crm.customers.add_many(Customer(name=f"C{n}") for n in range(SLICE + 1))
    report = undo(crm)
    assert report.undo_id is not None
    assert [SLICE + 1] == _transactions(crm, report.undo_id)


def test_the_undo_of_an_import_that_was_killed_between_slices_goes_on(
    crm: CRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = _imported(crm, SLICE + 1)
    steps = Reversal.steps

    def cut_off(reversal: Reversal) -> Iterator[Step]:
        yield from islice(steps(reversal), 4)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reversal, "steps", cut_off)
        with pytest.raises(KeyboardInterrupt):
            crm.ledger.undo(operation)
    assert (SLICE, 0) == (crm.customers.count(), crm.contact_points.count())
    undo(crm, operation)
    assert (0, "undone") == (crm.customers.count(), crm.ledger.get(operation).state)


def test_an_undo_inside_a_transaction_is_refused(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    added = last(crm)
    with crm.transaction():
        crm.customers.edit(ada.evolve(name="Eve"))
        with pytest.raises(UsageError, match="cannot be a part of a transaction"):
            crm.ledger.undo(added)
    assert "Eve" == crm.customers.get(ada.id).name


def test_a_former_value_that_another_record_holds_now_is_refused_by_name_and_all_else_goes_back(crm: CRM) -> None:
    users = [crm.users.add(User(name=f"U{n}", email=f"u{n}@example.org")) for n in range(3)]
    with crm.operation("new addresses", kind="api") as operation:
        for n, user in enumerate(users):
            crm.users.edit(user.evolve(name=f"N{n}", email=f"n{n}@example.org"))
    taker = crm.users.add(User(name="Taker", email="u1@example.org"))
    dry = crm.ledger.undo(operation.id, dry_run=True)
    assert [(users[1].id, "key taken: email 'u1@example.org'")] == [(item.id, item.reason) for item in dry.refused]
    report = crm.ledger.undo(operation.id)
    assert (dry.reversed, dry.refused, dry.kept) == (report.reversed, report.refused, report.kept)
    found = [crm.users.get(user.id) for user in users]
    assert ["u0@example.org", "n1@example.org", "u2@example.org"] == [user.email for user in found]
    assert ["U0", "U1", "U2"] == [user.name for user in found]
    assert "u1@example.org" == crm.users.get(taker.id).email


def test_values_that_changed_hands_within_one_operation_go_back(crm: CRM) -> None:
    one, two = (crm.users.add(User(name=name, email=f"{name}@example.org")) for name in ("a", "b"))
    with crm.operation("swap", kind="api") as operation:
        one = crm.users.edit(one.evolve(email=None))
        crm.users.edit(two.evolve(email="a@example.org"))
        crm.users.edit(one.evolve(email="b@example.org"))
    crm.ledger.undo(operation.id)
    assert ["a@example.org", "b@example.org"] == [crm.users.get(user.id).email for user in (one, two)]


def test_a_value_that_was_handed_on_within_one_transaction_goes_back_the_same_way(crm: CRM) -> None:
    users = [crm.users.add(User(name=f"U{n}", email=f"u{n}@example.org")) for n in range(4)]
    with crm.transaction():
        for n in reversed(range(4)):
            crm.users.edit(users[n].evolve(email=f"u{n + 1}@example.org"))
    undo(crm)
    assert [f"u{n}@example.org" for n in range(4)] == [crm.users.get(user.id).email for user in users]


def test_values_that_were_swapped_within_one_transaction_stay_and_are_named(crm: CRM) -> None:
    one, two, three = (crm.users.add(User(name=name, email=f"{name}@example.org")) for name in "abc")
    with crm.transaction():
        held = crm.users.edit(one.evolve(email=None))
        crm.users.edit(two.evolve(email="a@example.org"))
        crm.users.edit(held.evolve(email="b@example.org"))
        crm.users.edit(three.evolve(email="d@example.org"))
    report = undo(crm)
    assert ["b@example.org", "a@example.org", "c@example.org"] == [crm.users.get(u.id).email for u in (one, two, three)]
    assert {one.id, two.id} == {item.id for item in report.refused}


def test_what_an_operation_made_and_deleted_again_is_not_counted(crm: CRM) -> None:
    with crm.operation("in and out", kind="api") as operation:
        crm.customers.add(Customer(name="Stays"))
        crm.customers.delete(crm.customers.add(Customer(name="Goes")))
    dry = crm.ledger.undo(operation.id, dry_run=True)
    report = crm.ledger.undo(operation.id)
    assert {"customer": 1} == dry.reversed == report.reversed
    assert 0 == crm.customers.count()
