"""What every record service keeps: values, pages, parts, references, keys, and what plugins and teams add."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import CRM, Customer, Deal, Money, Sale, Team, User, Write, hookimpl
from crm_core.errors import (
    ConflictError,
    CrmError,
    DuplicateKey,
    InvalidValue,
    NotFound,
    PluginError,
    StillReferenced,
    UndoRefused,
    UsageError,
    Vetoed,
)
from crm_core.events import CustomersChanging, Derived, Veto
from crm_core.records import (
    Extension,
    Interaction,
    Record,
    StageChange,
    extension,
    integer,
    record,
    reference,
    text,
)
from crm_core.values import format_id
from tests.databases import DATABASES, drop_all, new_url
from tests.distributions import installed
from tests.strategies import records_of


@extension("stamps", extends=Customer)
class Stamps(Extension):
    points: int | None = integer("Points", default=None)
    card: str | None = text("Card", default=None, max_length=10)


@record("gadget", unique=[("maker", "code")])
class Gadget(Record):
    maker: str = text("Maker")
    code: str = text("Code")
    customer_id: int | None = reference("customer", "Customer", default=None)


class Additions:
    @hookimpl
    def register_fields(self) -> list[type[Extension]]:
        return [Stamps]

    @hookimpl
    def register_record_types(self) -> list[type[Record]]:
        return [Gadget]


OWN = """
[crm]
currency = "EUR"
zone = "Asia/Tehran"
user = "{user}"
[storage]
url = "sqlite:///crm.db"
[fields.customer.sector]
type = "text"
choices = ["retail", "bank"]
[fields.customer.staff]
type = "integer"
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "crm.toml").write_text(OWN.format(user="ada"), encoding="utf-8")
    return tmp_path


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_added_is_read_back_equal(crm: CRM, data: st.DataObject) -> None:
    for name, without in (("customer", ("owner_id",)), ("deal", ("customer_id", "owner_id", "pipeline", "stage"))):
        drawn = data.draw(records_of(crm.registry.types[name], without=without))
        if isinstance(drawn, Deal) and drawn.amount is not None:
            drawn = drawn.evolve(amount=Money.from_minor(abs(drawn.amount.minor), drawn.amount.currency))
        added = crm.records(name).add(drawn)
        assert added == crm.records(name).get(added.id)


def test_the_system_values_of_a_new_record_are_ours(crm: CRM) -> None:
    added = crm.customers.add(Customer(name="Ada", id=5, version=9, created_tx=7, updated_tx=7))
    assert (True, 1, True) == (added.id > 2**40, added.version, added.created_tx == added.updated_tx > 2**40)
    edited = crm.customers.edit(added.evolve(created_tx=3, updated_tx=4, city="London"))
    assert (added.created_tx, 2) == (edited.created_tx, edited.version)
    assert edited == crm.customers.get(added.id)


def test_a_record_is_got_by_the_id_people_see(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    assert ada == crm.customers.get(format_id(ada.id)) == crm.customers.get(format_id(ada.id).lower())
    with pytest.raises(NotFound, match="no customer 0000000000001"):
        crm.customers.get("0000000000001")
    crm.customers.delete(format_id(ada.id))
    assert 0 == crm.customers.count()


@pytest.mark.parametrize("given", ["some text", "آدا", "", True, None, 1.5])
def test_what_is_no_id_is_named_with_what_was_expected(crm: CRM, given: Any) -> None:
    with pytest.raises(
        UsageError, match=rf"{re.escape(repr(given))} is no id of a customer; expected .* 13 char"
    ) as told:
        crm.customers.get(given)
    with pytest.raises(UsageError, match="is no id of a customer"):
        crm.customers.delete(given)
    assert "crm.resolve('customer'" in told.value.hint


def test_a_page_is_indexed_like_a_list(crm: CRM) -> None:
    ada, bob, eve = crm.customers.add_many(Customer(name=name) for name in ("Ada", "Bob", "Eve"))
    page = crm.customers.find(sort="name")
    assert (3, ada, eve, (ada, bob)) == (len(page), page[0], page[-1], page[:2])
    assert bob == crm.customers.search("bob")[0]
    with pytest.raises(IndexError):
        page[3]


def test_an_edit_that_changes_nothing_writes_nothing(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", tags=("a", "b")))
    head = crm.ledger.history.head()
    assert ada == crm.customers.edit(ada.evolve(tags=("b", "a")))
    assert head == crm.ledger.history.head()


def test_pages_follow_each_other_without_gap_or_repeat(crm: CRM) -> None:
    crm.customers.add_many(Customer(name=f"C{n:03}", country="DE" if n % 3 else None) for n in range(57))
    found: list[str | None] = []
    after: str | None = None
    while True:
        page = crm.customers.find(sort="-country,name", after=after, limit=10)
        found += [one.name for one in page]
        after = page.next
        if after is None:
            break
    everything = [one.name for one in crm.customers.find(sort="-country,name", limit=None)]
    assert (57, everything) == (len(found), found)
    assert [one.id for one in crm.customers.iterate(batch=7)] == sorted(one.id for one in crm.customers.iterate())
    with pytest.raises(UsageError, match="a page of 0 records"):
        crm.customers.find(limit=0)


def forged(*values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("sort", "values"),
    [
        ("name", ("\ud800", 1)),
        ("name", ("a\0", 1)),
        ("name", (5, 1)),
        ("name", ("a", True)),
        ("name", ("a", 2**63)),
        ("name", ("a", None)),
        ("-first_contact_at", ("x", 1)),
        ("-first_contact_at", (True, 1)),
        ("-first_contact_at", (2**70, 1)),
        ("", (2**63,)),
        ("", ("a",)),
    ],
)
def test_a_cursor_that_no_page_printed_is_refused_before_the_database_sees_it(
    crm: CRM, sort: str, values: tuple[object, ...]
) -> None:
    crm.customers.add(Customer(name="Ada"))
    with pytest.raises(UsageError, match="is no cursor of this list"):
        crm.customers.find(sort=sort, after=forged(*values))
    with pytest.raises(UsageError, match="is no cursor"):
        crm.customers.search("ada", after=forged(*values[:1], *values))


@pytest.mark.parametrize("tags", ["vip", ("a\0",), ("x" * 101,), (" ",), (5,), None])
def test_tags_are_checked_like_any_text(crm: CRM, tags: object) -> None:
    with pytest.raises(InvalidValue) as caught:
        crm.customers.add(Customer(name="Ada", tags=tags))  # type: ignore[arg-type]
    assert ("tags", 0) == (caught.value.field, crm.customers.count())


def test_tags_keep_their_order_and_are_there_once(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", tags=("b", "a", "b")))
    assert ("b", "a") == ada.tags == crm.customers.get(ada.id).tags
    changed = crm.customers.edit(ada.evolve(tags=("c", "a")))
    assert ("a", "c") == changed.tags == crm.customers.get(ada.id).tags
    assert () == crm.customers.edit(changed.evolve(tags=())).tags


def test_a_delete_is_refused_while_others_point_at_the_record_and_counts_them(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"), email="ada@example.org")
    crm.deals.add(Deal(title="D", customer_id=ada.id))
    with pytest.raises(StillReferenced, match=r"is still referenced by 1 deal$"):
        crm.customers.delete(ada)
    crm.deals.add(Deal(title="E", customer_id=ada.id))
    crm.sales.add(Sale(customer_id=ada.id))
    with pytest.raises(StillReferenced, match=r"is still referenced by 2 deals and 1 sale$"):
        crm.customers.delete(ada.id)
    with pytest.raises(UsageError, match="never stored"):
        crm.customers.delete(Customer(name="Nobody"))


def test_a_record_may_point_at_another_of_its_type_and_not_at_itself(crm: CRM) -> None:
    boss = crm.users.add(User(name="Boss"))
    worker = crm.users.add(User(name="Worker", manager_id=boss.id))
    with pytest.raises(InvalidValue, match="nobody manages themselves"):
        crm.users.edit(boss.evolve(manager_id=boss.id))
    with pytest.raises(StillReferenced, match="1 user"):
        crm.users.delete(boss)
    crm.users.delete(worker)
    crm.users.delete(boss)


def test_unique_values_are_one_in_the_storage_and_in_a_chunk(crm: CRM) -> None:
    olga = crm.users.add(User(name="Olga", email="O@example.org"))
    with pytest.raises(DuplicateKey, match=r"email 'o@example.org' is taken by user"):
        crm.users.add(User(name="Other", email=" o@EXAMPLE.org "))
    crm.users.edit(olga.evolve(name="Olga II"))
    outcome = crm.users.write_many([Write(record=User(name=n, email=f"{n[0]}@x.org")) for n in ("ab", "ac", "b")])
    assert [(1, "DuplicateKey")] == [(one.index, one.rule) for one in outcome.refused]
    assert ["ab", None, "b"] == [one and one.name for one in outcome.records]


def test_an_external_id_names_one_record_for_good(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"), external=("erp", "17"))
    with pytest.raises(DuplicateKey, match="the external id erp:17 is taken by customer"):
        crm.customers.add(Customer(name="Bob"), external=("erp", "17"))
    crm.customers.delete(ada)
    with pytest.raises(DuplicateKey, match=r"erp:17 names customer .*, which was deleted"):
        crm.customers.add(Customer(name="Bob"), external=("erp", "17"))
    with pytest.raises(InvalidValue):
        crm.customers.add(Customer(name="Bob"), external=("erp", "a\0"))
    assert 0 == crm.customers.count()


def test_a_chunk_names_what_it_refuses_and_stores_the_rest(crm: CRM) -> None:
    ada, bob = crm.customers.add(Customer(name="Ada")), crm.customers.add(Customer(name="Bob"))
    crm.customers.edit(bob.evolve(city="Bonn"))
    outcome = crm.customers.write_many(
        [
            Write(record=Customer(name="New"), external=("erp", "1")),
            Write(record=Customer(name="Same name"), external=("erp", "1")),
            Write(record=ada.evolve(city="London"), before=ada),
            Write(record=ada.evolve(city="Paris"), before=ada),
            Write(record=bob.evolve(city="Berlin"), before=bob),
            Write(record=Customer(name="x", owner_id=77)),
            Write(record=Customer(kind="robot")),
        ]
    )
    assert [1, 3, 4, 5, 6] == [one.index for one in outcome.refused]
    kinds = [DuplicateKey, ConflictError, ConflictError, InvalidValue, InvalidValue]
    assert kinds == [type(one.error) for one in outcome.refused]
    assert [("owner_id", "reference"), ("kind", "choices")] == [(one.field, one.rule) for one in outcome.refused[3:]]
    assert (True, False, True, False, False, False, False) == outcome.changed
    assert {"London", "Bonn", None} == {one.city for one in crm.customers.find()}


def test_a_bulk_write_stops_at_the_first_refused_and_undo_takes_back_the_chunks_before(crm: CRM) -> None:
    def customers() -> Iterable[Customer]:
        yield from (Customer(name=f"C{n}") for n in range(1_500))
        yield Customer(kind="robot")

    with pytest.raises(InvalidValue, match="kind: 'robot'"):
        crm.customers.add_many(customers())
    assert (1_000, "incomplete") == (crm.customers.count(), crm.ledger.operations()[0].state)
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert 0 == crm.customers.count()


@pytest.mark.parametrize("wrong", ["", " ", "a\0", "\ud800", "x" * 401, "1", 17])
def test_of_many_external_ids_the_one_that_breaks_a_rule_is_refused(crm: CRM, wrong: Any) -> None:
    crm.teams.add(Team(name="Z"), external=("erp", "0"))  # from here on the system is known
    writes = [Write(record=Team(name=f"{at}"), external=("erp", key)) for at, key in enumerate(["1", wrong, "ج"])]
    outcome = crm.teams.write_many(writes)
    assert [1] == [refusal.index for refusal in outcome.refused]
    assert ["1", "ج"] == sorted(crm.external_ids.find_many("team", "erp", ["1", "ج"]))


def test_many_are_added_with_external_ids_and_edited_in_chunks(crm: CRM) -> None:
    added = crm.teams.add_many([Team(name="A"), Team(name="B")], externals=[("erp", "1"), ("erp", "2")])
    found = crm.external_ids.find_many("team", "erp", ["1", "2", "3"])
    assert {"1": added[0].id, "2": added[1].id} == {name: entry.record_id for name, entry in found.items()}
    edited = crm.teams.edit_many(team.evolve(name=team.name * 2) for team in added)
    assert [("AA", 2), ("BB", 2)] == [(team.name, team.version) for team in edited]
    with pytest.raises(UsageError, match="fewer external ids than records"):
        crm.teams.add_many([Team(name="C"), Team(name="D")], externals=[("erp", "3")])


def test_append_only_records_are_never_edited(crm: CRM) -> None:
    crm.deals.add(Deal(title="D"))
    (change,) = crm.records(StageChange).find()
    with pytest.raises(UsageError, match="a stage_change is written once and never edited"):
        crm.records(StageChange).edit(change.evolve(to_stage="won"))


def test_an_address_has_one_key_however_it_is_written_and_two_customers_may_share_it(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"), email=" Ada@Example.org", phone="۰۹۱۲ ۳۴۵ ۶۷۸۹")
    assert [("email", "ada@example.org"), ("phone", "09123456789")] == [
        (point.kind, point.key) for point in crm.customers.contact_points(ada.id)
    ]
    eve = crm.customers.add(Customer(name="Eve"), email="ada@example.ORG")
    assert {ada.id, eve.id} == set(crm.customers.reached_at("email", "ADA@example.org"))
    for bad in ("no address", "two@x.org, y@x.org", "@x.org"):
        with pytest.raises(InvalidValue):
            crm.customers.add(Customer(name="Bad"), email=bad)
    assert 2 == crm.customers.count()


def test_an_answer_marks_what_it_answers(crm: CRM) -> None:
    asked = crm.interactions.add(Interaction(kind="message", needs_answer=True, topic="request"))
    reply = crm.interactions.answer(asked, Interaction(kind="message", direction="out"))
    now = crm.interactions.get(asked.id)
    assert (asked.id, False, reply.occurred_at) == (reply.in_reply_to_id, now.needs_answer, now.answered_at)
    with pytest.raises(InvalidValue, match="topic: 'nonsense' is not one of"):
        crm.interactions.add(Interaction(topic="nonsense"))


# What plugins add


def test_a_plugins_fields_and_records_are_like_the_kernels(new: str) -> None:
    with CRM.open(new, plugins=[Additions()]) as crm:
        ada = crm.customers.add(Customer(name="Ada").with_ext(Stamps(points=7)))
        assert (7, None) == (ada.ext(Stamps).points, crm.customers.get(ada.id).ext(Stamps).card)
        assert [ada] == list(crm.customers.find("stamps.points = 7"))
        gadget = crm.records(Gadget).add(Gadget(maker="M", code="1", customer_id=ada.id))
        assert gadget == crm.records("gadgets").get(gadget.id)
        with pytest.raises(StillReferenced, match="1 gadget"):
            crm.customers.delete(ada)
        with pytest.raises(DuplicateKey, match="maker 'M', code '1' is taken"):
            crm.records(Gadget).add(Gadget(maker="M", code="1"))
        emptied = crm.customers.edit(ada.with_ext(Stamps()))
        assert ({}, emptied) == (dict(emptied.extensions), crm.customers.get(ada.id))
        with pytest.raises(InvalidValue) as caught:
            crm.customers.edit(emptied.with_ext(Stamps(card="x" * 11)))
        assert "stamps.card" == caught.value.field


@pytest.mark.database("sqlite")
def test_what_a_detached_plugin_stored_survives_edits_deletes_and_undo(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/team.db"
    with CRM.open(url, plugins=[Additions()]) as crm:
        ada = crm.customers.add(Customer(name="Ada", tags=("vip",)).with_ext(Stamps(points=7)))
    with CRM.open(url) as crm:
        with pytest.raises(InvalidValue, match=r"stamps.points: customer has no such field"):
            crm.customers.add(Customer(name="Bob").with_ext(Stamps(points=7)))
        edited = crm.customers.edit(crm.customers.get(ada.id).evolve(city="London"))
        crm.customers.delete(edited)
        crm.ledger.undo(crm.ledger.resolve("last"))
    with CRM.open(url, plugins=[Additions()]) as crm:
        again = crm.customers.get(ada.id)
        assert (7, "London", ("vip",)) == (again.ext(Stamps).points, again.city, again.tags)
        crm.customers.edit(again.with_ext(Stamps(points=9)))
        changed = crm.ledger.resolve("last")
    with CRM.open(url) as crm:
        crm.ledger.undo(changed)
    with CRM.open(url, plugins=[Additions()]) as crm:
        assert 7 == crm.customers.get(ada.id).ext(Stamps).points


@record("badge")
class Badge(Record):
    customer_id: int = reference("customer", "Customer", part_of=True)


class Badges:
    @hookimpl
    def register_record_types(self) -> list[type[Record]]:
        return [Badge]


@pytest.mark.parametrize("storage", [*DATABASES, pytest.param("jsonl", id="jsonl")])
def test_nobody_goes_whom_records_of_a_detached_plugin_point_at(storage: str, tmp_path: Path) -> None:
    with installed([Path(__file__).parents[2] / "examples" / "crm-storage-jsonl"], tmp_path / "site"):
        url = f"jsonl:///{tmp_path}/data" if storage == "jsonl" else new_url(storage, tmp_path)
        with CRM.open(url, plugins=[Badges()]) as crm:
            ada = crm.customers.add(Customer(name="Ada"))
            crm.records(Badge).add(Badge(customer_id=ada.id))
        with CRM.open(url) as crm:
            with pytest.raises(StillReferenced, match="1 in badges, which a plugin that is not at work stored"):
                crm.customers.delete(ada)
            first = min(crm.ledger.operations(), key=lambda entry: entry.id)
            with pytest.raises(UndoRefused, match="1 in badges, which a plugin that is not at work stored"):
                crm.ledger.undo(first.id)
            assert ada == crm.customers.get(ada.id)
        with CRM.open(url, plugins=[Badges()]) as crm:
            crm.customers.delete(ada)  # with its badge
            assert 0 == crm.records(Badge).count()
    drop_all()


class Judge:
    @hookimpl
    def before_customers_change(self, event: CustomersChanging) -> list[Veto]:
        return [
            Veto(index, "name", "no Eves here")
            for index, change in enumerate(event.changes)
            if change.record.name == "Eve"
        ]


def test_a_veto_names_plugin_field_and_reason_and_others_are_written(new: str) -> None:
    with CRM.open(new, plugins=[Judge()]) as crm:
        with pytest.raises(Vetoed, match=r"the customer was refused by .*: name: no Eves here") as caught:
            crm.customers.add(Customer(name="Eve"))
        assert [("name", "no Eves here")] == [reason[1:] for reason in caught.value.reasons]
        outcome = crm.customers.write_many([Write(record=Customer(name=name)) for name in ("Ada", "Eve", "Bob")])
        assert [1] == [one.index for one in outcome.refused]
        assert {"Ada", "Bob"} == {one.name for one in crm.customers.find()}


class Scorer(Additions):
    @hookimpl
    def prepare_customers(self, event: CustomersChanging) -> list[Derived]:
        return [Derived(n, Stamps(points=len(c.record.name or ""))) for n, c in enumerate(event.changes)]


class Broken(Additions):
    @hookimpl
    def prepare_customers(self, event: CustomersChanging) -> list[Derived]:
        raise ZeroDivisionError("oops")


def test_a_plugin_prepares_its_own_fields_in_the_same_write(new: str) -> None:
    with CRM.open(new, plugins=[Scorer()]) as crm:
        ada = crm.customers.add(Customer(name="Ada"))
        assert 3 == ada.ext(Stamps).points == crm.customers.get(ada.id).ext(Stamps).points


def test_a_plugin_that_fails_to_prepare_refuses_the_rows_by_name(new: str) -> None:
    with CRM.open(new, plugins=[Broken()]) as crm:
        with pytest.raises(PluginError, match="ZeroDivisionError"):
            crm.customers.add(Customer(name="Ada"))
        outcome = crm.customers.write_many([Write(record=Customer(name="Ada"))])
        assert [PluginError] == [type(one.error) for one in outcome.refused]
        assert 0 == crm.customers.count()


# What the team adds


@pytest.mark.database("sqlite")
def test_the_teams_own_fields_are_stored_checked_and_asked_for(workspace: Path) -> None:
    with CRM.open(workspace) as crm:
        ada = crm.customers.add(Customer(name="Ada").with_fields(sector="bank", staff=12))
        assert {"sector": "bank", "staff": 12} == dict(crm.customers.get(ada.id).fields)
        assert [ada] == list(crm.customers.find('sector = "bank" and staff > 10'))
        for values, path in (({"sector": "farm"}, "fields.sector"), ({"sektor": "bank"}, "fields.sektor")):
            with pytest.raises(InvalidValue) as caught:
                crm.customers.add(Customer(name="Bad").with_fields(**values))
            assert path == caught.value.field
        assert {"staff": 12} == dict(crm.customers.edit(ada.with_fields(sector=None)).fields)


@pytest.mark.database("sqlite")
def test_a_value_that_a_narrower_declaration_no_longer_allows_can_be_corrected(workspace: Path) -> None:
    with CRM.open(workspace) as crm:
        ada = crm.customers.add(Customer(name="Ada").with_fields(sector="bank"))
    narrower = (workspace / "crm.toml").read_text().replace('["retail", "bank"]', '["retail"]')
    (workspace / "crm.toml").write_text(narrower, encoding="utf-8")
    with CRM.open(workspace) as crm:
        stored = crm.customers.get(ada.id)
        assert "bank" == stored.fields["sector"]
        assert "retail" == crm.customers.edit(stored.with_fields(sector="retail")).fields["sector"]


@pytest.mark.database("sqlite")
def test_a_workspace_is_extended_while_it_is_open(workspace: Path) -> None:
    with CRM.open(workspace) as crm:
        ada = crm.customers.add(Customer(name="Ada"))
        added = crm.extend_workspace(
            fields={"customer": {"rank": {"type": "integer"}}},
            pipelines={"renewals": {"stages": [{"name": "due"}, {"name": "renewed", "kind": "won"}]}},
        )
        assert 2 == len(added)
        assert 3 == crm.customers.edit(crm.customers.get(ada.id).with_fields(rank=3)).fields["rank"]
        assert "due" == crm.deals.add(Deal(title="D", pipeline="renewals")).stage
        with crm.transaction(), pytest.raises(UsageError, match="inside a transaction"):
            crm.extend_workspace(fields={"customer": {"more": {"type": "integer"}}})


@pytest.mark.database("sqlite")
def test_who_is_at_work_is_found_and_nobody_is_needed_before_there_are_users(workspace: Path) -> None:
    with CRM.open(workspace) as crm:
        assert None is crm.user_id
        ada = crm.users.add(User(name="Ada", email="ada@example.org"))
        crm.deals.add(Deal(title="D"))
        assert [ada.id, None] == [one.user_id for one in crm.ledger.operations()]
        assert [ada.id] == [one.actor_id for one in crm.records(StageChange).find()]
    with CRM.open(workspace, user="ada@example.org") as crm:
        assert ada.id == crm.user_id
    with CRM.open(workspace) as crm:
        crm.users.edit(ada.evolve(name="Lovelace", email=None))
    with CRM.open(workspace) as crm:  # of crm.toml, which names nobody any more
        crm.customers.add(Customer(name="Eve"))
        assert (None, "ada") == (next(iter(crm.ledger.operations())).user_id, crm.unknown_user)
    with CRM.open(workspace, user="nobody") as crm, pytest.raises(NotFound, match="no user matches 'nobody'"):
        crm.customers.add(Customer(name="Eve"))


def test_every_error_is_one_of_ours(crm: CRM) -> None:
    with pytest.raises(CrmError):
        crm.customers.get(-1)
    with pytest.raises(CrmError):
        crm.records("nothing")
    with pytest.raises(CrmError):
        crm.customers.edit(Customer(name="never stored"))
    assert Money("1", "EUR") == crm.sales.add(Sale(amount=Money("1", "EUR"))).amount
