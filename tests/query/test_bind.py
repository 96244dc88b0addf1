from __future__ import annotations

import contextlib
import datetime as dt

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import NotFound, UsageError
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Or, SortKey
from crm_core.query.bind import bind, bind_sort
from crm_core.query.guard import check_select
from crm_core.query.memory import run_in_memory
from crm_core.query.predicate import predicate
from crm_core.query.sql import to_clause
from crm_core.query.tables import Tables
from crm_core.query.text import parse
from crm_core.records.registry import RecordType
from crm_core.values import format_id, id_time, local_midnight, new_id, to_micros
from tests.query.samples import CUSTOMER, DEAL, REGISTRY, TEHRAN, ScanOnly

TABLES = Tables(REGISTRY)
ADA = 7_000_000_000_000
DAY = dt.date(2026, 1, 1)


def _resolve(kind: str, text: str) -> int:
    if (kind, text) in {("user", "Ada"), ("customer", "crm:42")}:
        return ADA
    raise NotFound(f"no {kind} {text!r}")


def _bound(text: str, kind: RecordType = DEAL, currency: str | None = None) -> Expression:
    return bind(parse(text), kind, registry=REGISTRY, resolve=_resolve, currency=currency)


def _midnight(day: dt.date) -> int:
    return to_micros(local_midnight(day, TEHRAN))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("country = DE", Compare("country", "=", "DE")),
        ("country != DE", Not(Compare("country", "=", "DE"))),
        ("country in (DE, IN, DE)", In("country", ("DE", "IN"))),
        ('city contains "Be"', Contains("city", "Be")),
        ("country is not null", Not(IsNull("country"))),
        ("kind = Person", Compare("kind", "=", "person")),
        ("name = ' علي  رضا '", Compare("name_key", "=", "علی رضا")),
        ("name contains Ada", Contains("name_key", "ada")),
        ("name < M", Compare("name_key", "<", "m")),
        ("name is null", IsNull("name")),
        ("loyalty.points >= ۱۲", Compare("loyalty__points", ">=", 12)),
        ("not loyalty.points is null", Not(IsNull("loyalty__points"))),
        ("sector = x", Compare("fields__sector", "=", "x")),
        ("fields.sector = x", Compare("fields__sector", "=", "x")),
        ("شهر = يزد", Compare("fields__شهر_key", "=", "یزد")),
        ("rate > 1.25", Compare("fields__rate", ">", 125)),
        ("birth_date < 1970-01-11", Compare("birth_date", "<", 10)),
        ("owner = Ada", Compare("owner_id", "=", ADA)),
        (f"owner_id = {format_id(3)}", Compare("owner_id", "=", 3)),
        ("owner in (Ada)", In("owner_id", (ADA,))),
        (f"id = {format_id(5)}", Compare("id", "=", 5)),
        ('id = "crm:42"', Compare("id", "=", ADA)),
        ("version > ۲", Compare("version", ">", 2)),
        ('tags contains " VIP "', Exists("customer_tags", "customer_id", Compare("tag_key", "=", "vip"))),
        ("tags != vip", Not(Exists("customer_tags", "customer_id", Compare("tag_key", "=", "vip")))),
        ("tags is null", Not(Exists("customer_tags", "customer_id"))),
    ],
)
def test_a_customer_filter_becomes_columns_and_primitives(text: str, expected: Expression) -> None:
    assert expected == _bound(text, CUSTOMER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('amount = "12.50 EUR"', And((Compare("amount_currency", "=", "EUR"), Compare("amount", "=", 1250)))),
        ("amount > '۱۲ JPY'", And((Compare("amount_currency", "=", "JPY"), Compare("amount", ">", 12)))),
        ("amount <= 12", And((Compare("amount_currency", "=", "EUR"), Compare("amount", "<=", 1200)))),
        ("amount != 12", Not(And((Compare("amount_currency", "=", "EUR"), Compare("amount", "=", 1200))))),
        ("amount is null", IsNull("amount")),
    ],
)
def test_money_is_compared_within_one_currency(text: str, expected: Expression) -> None:
    assert expected == _bound(text, currency="EUR")


def test_amounts_in_a_list_are_alternatives() -> None:
    found = _bound('amount in (1, "1 JPY")', currency="EUR")
    assert isinstance(found, Or)
    assert 2 == len(found.parts)


def test_a_bare_amount_without_a_currency_is_refused() -> None:
    with pytest.raises(UsageError, match="currency of 12 is not known") as caught:
        _bound("amount > 12")
    assert 'amount > "12.50 EUR"' in caught.value.hint


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("<", Compare("opened_at", "<", _midnight(DAY))),
        ("<=", Compare("opened_at", "<", _midnight(DAY + dt.timedelta(1)))),
        (">", Compare("opened_at", ">=", _midnight(DAY + dt.timedelta(1)))),
        (">=", Compare("opened_at", ">=", _midnight(DAY))),
    ],
)
def test_a_moment_is_compared_with_the_whole_local_day(operator: str, expected: Expression) -> None:
    assert expected == _bound(f"opened_at {operator} 2026-01-01")
    within = And(
        (Compare("opened_at", ">=", _midnight(DAY)), Compare("opened_at", "<", _midnight(DAY + dt.timedelta(1))))
    )
    assert within == _bound("opened_at = ۲۰۲۶-۰۱-۰۱")


def test_a_moment_is_compared_with_an_instant_exactly() -> None:
    instant = to_micros(dt.datetime(2026, 1, 1, 10, tzinfo=TEHRAN))
    assert Compare("opened_at", "=", instant) == _bound("opened_at = 2026-01-01T10:00")
    assert Compare("opened_at", "<", instant + 1) == _bound("opened_at <= 2026-01-01T10:00:00+03:30")


@given(st.integers(1, 2**42 - 1), st.integers(-2, 2))
def test_created_at_is_read_from_the_id(milliseconds: int, apart: int) -> None:
    id_ = milliseconds << 21
    made = id_time(id_)
    asked = made + dt.timedelta(milliseconds=apart)
    for operator, holds in (("<", made < asked), ("<=", made <= asked), (">", made > asked), (">=", made >= asked)):
        bound = _bound(f"created_at {operator} {asked.isoformat()}")
        assert isinstance(bound, Compare)
        assert bound.operator in {"<", ">="}
        assert holds is (id_ < bound.value if bound.operator == "<" else id_ >= bound.value)


def test_what_was_made_now_was_created_today() -> None:
    id_ = new_id()
    bound = _bound(f"created_at = {id_time(id_).astimezone(TEHRAN).date()}")
    assert isinstance(bound, And)
    low, high = bound.parts
    assert isinstance(low, Compare)
    assert isinstance(high, Compare)
    assert low.value <= id_ < high.value


@pytest.mark.parametrize(
    ("text", "at", "problem", "hint"),
    [
        ("contry = DE", 1, "customers have no field 'contry'", "did you mean country"),
        ("country = DE and owner.team = x", 18, "no field 'owner.team'", "fields: id"),
        ("kind = persn", 8, "kind is never 'persn'", "did you mean person?"),
        ("loyalty.points = many", 18, "'many' is not a whole number", ""),
        ("loyalty.points = 99999999999999999999", 18, "beyond 64 bits", ""),
        ("rate = 1.234", 8, "finer than 2 digits", ""),
        ("birth_date = 2026-02-30", 14, "not a day; write it as 2026-11-30", ""),
        ("first_contact_at = soon", 20, "not a day", ""),
        ("first_contact_at <= 9999-12-31", 21, "is the last day there is", "earlier"),
        ("created_at > never", 14, "'never' is not a day", ""),
        ("loyalty.points contains 3", 1, "is no text", "use ="),
        ("id contains 3", 1, "is no text", "use ="),
        ("owner < Ada", 1, "owner has no order", "use = or !="),
        ("tags > a", 1, "tags has no order", "use = or !="),
        ("version = x", 11, "'x' is not a whole number", ""),
        ("city = 'a\0b'", 8, "a character that no text has", ""),
        ("city contains '\ud800'", 15, "a character that no text has", ""),
    ],
)
def test_an_error_names_the_place_the_mistake_and_what_to_do(text: str, at: int, problem: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        _bound(text, CUSTOMER)
    assert problem in caught.value.message
    assert f"(at character {at} of the filter)" in caught.value.message
    assert hint in caught.value.hint


@given(st.sampled_from([*CUSTOMER.fields, "id", "version", "created_at"]), st.text(min_size=1))
def test_any_value_is_bound_to_what_every_storage_accepts_or_refused_in_words(name: str, value: str) -> None:
    quoted = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    for operator in ("=", "<", "contains"):
        with contextlib.suppress(UsageError, NotFound):
            bound = _bound(f"{name} {operator} {quoted}", CUSTOMER, "EUR")
            assert [] == check_select(sa.select(TABLES.customers.c.id).where(to_clause(bound, TABLES.customers)))


def test_a_sort_order_names_fields_and_directions() -> None:
    assert (SortKey("amount", descending=True), SortKey("title_key")) == bind_sort("-amount, title", DEAL)
    assert (SortKey("owner_id"), SortKey("id", descending=True)) == bind_sort("owner، -created_at", DEAL)
    assert (SortKey("stage"),) == bind_sort("+stage,stage", DEAL)
    assert () == bind_sort("", DEAL)


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("amont", "deals cannot be sorted by 'amont'", "did you mean amount"),
        ("amount desc", "deals cannot be sorted by 'amount desc'", "-name"),
    ],
)
def test_a_wrong_sort_order_is_refused_in_words(text: str, problem: str, hint: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        bind_sort(text, DEAL)
    assert hint in caught.value.hint


def test_tags_have_no_order() -> None:
    with pytest.raises(UsageError, match="any number of tags"):
        bind_sort("tags", CUSTOMER)


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"country = x {'and' if level % 2 else 'or'} (" for level in range(20)) + "country = x" + ")" * 20,
        " or ".join(["country = x and city = y"] * 250),
        f"country in ({', '.join(map(str, range(3000)))})",
    ],
)
def test_the_largest_filters_run(text: str) -> None:
    bound = _bound(text, CUSTOMER)
    storage = ScanOnly({"customers": (CUSTOMER.table.column_names, [])})
    assert [] == run_in_memory(sa.select(TABLES.customers.c.id).where(to_clause(bound, TABLES.customers)), storage)
    test = predicate(bound, CUSTOMER.table.column_names, storage.tables.__getitem__)
    assert not test((None,) * len(CUSTOMER.table.columns))
