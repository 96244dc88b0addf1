"""Who is there twice: reasons, scores, groups, and what must not be proposed."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from crm_contacts import DistinctPair
from crm_contacts.matching import Found, Pair, Reason, find_groups, grouped
from crm_contacts.names import name_form
from crm_contacts.rules import rules_of
from crm_core import CRM, ContactPoint, Customer, Relation
from crm_core.errors import UsageError
from crm_core.values import format_id


def found(crm: CRM, min_score: int = 60, **policies: Any) -> Found:
    return find_groups(crm, rules_of({"contacts": policies}), min_score)


def rules_and_scores(crm: CRM, min_score: int = 60, **policies: Any) -> list[tuple[int, list[str]]]:
    groups = found(crm, min_score, **policies).groups
    return [(group.score, [reason.rule for reason in pair.reasons]) for group in groups for pair in group.pairs]


def add(crm: CRM, name: str | None, /, email: str | None = None, phone: str | None = None, **fields: Any) -> Customer:
    return crm.customers.add(Customer(name=name, **fields), email=email, phone=phone)


def test_one_address_or_number_however_it_is_written_makes_a_pair(crm: CRM) -> None:
    one = add(crm, "Ada Lovelace", "Ada@Example.org", "0170 1234567", country="DE")
    other = add(crm, None, "ada@example.ORG", "+49 170 1234567")
    (group,) = found(crm).groups
    assert (one.id, other.id) == group.members
    assert [Reason("email", "ada@example.org", 90), Reason("phone", "+491701234567", 80)] == list(
        group.pairs[0].reasons
    )


def test_a_shared_number_of_two_who_are_called_otherwise_is_a_household(crm: CRM) -> None:
    add(crm, "Ada Lovelace", phone="+49 170 1234567")
    add(crm, "Grigor Petrosyan", phone="+49 170 1234567")
    assert ((), {40: 1}) == (found(crm).groups, found(crm).below)
    assert [(48, ["phone"])] == rules_and_scores(crm, 40)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Mina Hosseini", "Nima Hosseini"), ("سارا احمدی", "رضا احمدی"), ("Ada Lovelace", "Eve Lovelace")],
)
def test_a_family_that_shares_phone_mailbox_and_city_is_never_merged_by_rule(crm: CRM, one: str, other: str) -> None:
    for name in (one, other):
        add(crm, name, "family@example.org", "+49 170 1234567", city="Tehran")
    ((score, _),) = rules_and_scores(crm)
    assert 60 <= score < rules_of({}).merge_score


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada Lovelace", "Ada King Lovelace"),
        ("A. Lovelace", "Ada Lovelace"),
        ("Sara Ahmadi", "Sarah Ahmady"),
        ("سارا احمدی", "Sara Ahmadi"),
        ("Անի Պետրոսյան", "Ani Petrosyan"),
    ],
)
def test_one_person_whose_name_is_written_otherwise_is_found_by_phone_and_mailbox(
    crm: CRM, one: str, other: str
) -> None:
    for name in (one, other):
        add(crm, name, "ada@example.org", "+49 170 1234567")
    ((score, _),) = rules_and_scores(crm)
    assert score >= rules_of({}).merge_score


def test_an_address_that_several_people_read_says_little_of_them_and_much_of_an_organisation(crm: CRM) -> None:
    for kind in ("person", "organisation"):
        for name in (None, "Ada"):
            add(crm, name, f"info@{kind}.example.org", kind=kind)
    assert [(90, ["email"])] == rules_and_scores(crm)
    assert [90, 54] == [score for score, _ in rules_and_scores(crm, 50)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada Lovelace", "Dr. Lovelace, Ada"),
        ("Ada Lovelace", "Ada Lovelase"),
        ("علي كاظمي", "آقای علی کاظمی"),
        ("علی\u200cرضا کاظمی", "علیرضا کاظمی"),
        ("Արամ Խաչատրյան", "Պրն Արամ Խաչատրյան"),
        ("Jürgen Müller", "Jurgen Muller"),
    ],
)
def test_a_name_alike_in_one_city_makes_a_pair(crm: CRM, one: str, other: str) -> None:
    add(crm, one, city="Yerevan")
    add(crm, other, city="yerevan ")
    add(crm, other, city="Berlin")
    ((score, rules),) = rules_and_scores(crm)
    assert ["name"] == rules
    assert 64 <= score <= 75


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller G.m.b.H.", "Müller"),
        ("Ararat Trade LLC", "«Ararat Trade» Ltd."),
        ("شرکت آرمان سازان (سهامی خاص)", "آرمان سازان"),
        ("«Արարատ» ՍՊԸ", "Արարատ"),
        ("ООО Ромашка", "Ромашка"),
    ],
)
def test_legal_forms_do_not_tell_organisations_apart(one: str, other: str) -> None:
    assert name_form(one, organisation=True) == name_form(other, organisation=True)


def test_a_name_of_legal_forms_alone_stays() -> None:
    assert "limited company" == name_form("Limited Company", organisation=True)


def test_colleagues_are_compared_and_people_are_not_with_organisations(crm: CRM) -> None:
    firm = add(crm, "Ada Lovelace", city="London", kind="organisation")
    for name in ("Ada Lovelace", "Ada Lovelac", "Eve Curie"):
        crm.relations.add(Relation(customer_id=add(crm, name).id, other_id=firm.id, kind="works for"))
    assert [(71, ["name"])] == rules_and_scores(crm)


def test_different_birthdays_speak_against_one_person(crm: CRM) -> None:
    add(crm, "Ada Lovelace", city="London", birth_date=date(1815, 12, 10))
    add(crm, "Ada Lovelace", city="London", birth_date=date(1990, 1, 1))
    assert [(45, ["name"])] == rules_and_scores(crm, 40)


def test_the_same_name_alone_is_shown_to_who_asks_for_low_scores(crm: CRM) -> None:
    add(crm, "Ada Lovelace", city="London")
    add(crm, "Ada Lovelace")
    assert [] == rules_and_scores(crm, 41)
    assert [(40, ["same_name"])] == rules_and_scores(crm, 40)


def test_external_keys_count_when_they_are_nobody_elses_by_chance(crm: CRM) -> None:
    for system, key in (("shop", "1001"), ("erp", "1001"), ("shop", "DE-12345678"), ("erp", "de-12345678")):
        crm.customers.add(Customer(), external=(system, key))
    assert [(95, ["external"])] == rules_and_scores(crm)
    assert 2 == len(rules_and_scores(crm, same_ids=["shop", "erp"], keys=[]))


def test_a_field_may_tell_customers_apart(crm: CRM) -> None:
    for sector in ("VAT 1", "vat 1", "VAT 2"):
        crm.customers.add(Customer(industry=sector))
    assert [(95, ["external"])] == rules_and_scores(crm, keys=["industry"])
    with pytest.raises(UsageError, match="tells no customers apart"):
        found(crm, keys=["owner_id"])


def test_weights_are_the_teams_to_choose(crm: CRM) -> None:
    add(crm, None, "ada@example.org")
    add(crm, None, "ada@example.org")
    assert [] == rules_and_scores(crm, weights={"email": 30})
    assert [(70, ["email"])] == rules_and_scores(crm, weights={"email": 70})


def test_what_too_many_share_is_named_and_not_used(crm: CRM) -> None:
    customers = crm.customers.add_many(Customer(name=f"{n}") for n in range(51))
    points = [ContactPoint(customer_id=one.id, kind="email", value="no-reply@example.org") for one in customers]
    crm.contact_points.add_many(points)
    answer = found(crm)
    assert ((), (("email", "no-reply@example.org", 51),)) == (answer.groups, answer.crowds)


def test_two_who_were_judged_distinct_are_not_put_together(crm: CRM) -> None:
    a, b, c = (add(crm, None, "ada@example.org", city=city) for city in "XYZ")
    assert (a.id, b.id, c.id) == found(crm).groups[0].members
    crm.records(DistinctPair).add(DistinctPair(customer_id=c.id, other_id=a.id))
    answer = found(crm)
    assert (1, [(a.id, b.id)]) == (answer.judged, [group.members for group in answer.groups])


def test_a_judgement_follows_a_merge_and_goes_with_a_customer(crm: CRM) -> None:
    a, b, c = (add(crm, name) for name in ("A", "B", "C"))
    judged = crm.records(DistinctPair).add(DistinctPair(customer_id=a.id, other_id=b.id))
    crm.customers.merge(c, b)
    assert c.id == crm.records(DistinctPair).get(judged.id).other_id
    crm.customers.delete(c.id)
    assert 0 == crm.records(DistinctPair).count()


def test_a_group_scores_as_its_weakest_tie() -> None:
    pairs = [Pair(1, 2, 98, ()), Pair(2, 3, 70, ()), Pair(1, 3, 60, ()), Pair(8, 9, 80, ())]
    assert [((8, 9), 80), ((1, 2, 3), 70)] == [(group.members, group.score) for group in grouped(pairs)]


def test_merged_customers_are_no_duplicates_of_what_they_became(crm: CRM) -> None:
    one, other = add(crm, "Ada", "ada@example.org"), add(crm, "Ada", "ada@example.org")
    crm.customers.merge(one, other)
    assert () == found(crm, 1).groups
    assert other.id == one.id or crm.resolve("customer", format_id(other.id)) == one.id
