"""Every field's value survives being stored; what no storage could keep is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from enum import StrEnum
from functools import partial
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from crm_core.errors import InvalidValue
from crm_core.records import KERNEL_RECORDS, FieldDeclaration, Record, RecordType, build_registry
from crm_core.records.codec import Codec, codec_for
from crm_core.records.declare import Kind, record, text
from crm_core.records.schema import Row
from crm_core.values import Money
from tests.strategies import ZONES, days, moments, records_of, values_of, zones

REGISTRY = build_registry(zone=ZoneInfo("Asia/Tehran"), records=[(cls, "crm-core") for cls in KERNEL_RECORDS])


class Odd(StrEnum):
    CUSTOMER = "customer"


NAIVE = datetime.fromisoformat("2026-01-01T12:00")
ODD = [
    None, True, 0, -1, 2**63, 1.5, "", " ", "a\0b", "\ud800", "گل", "x" * 300, Odd.CUSTOMER,
    date.min, date.max, NAIVE, datetime(1, 1, 2, 23, 59, 59, 999_999, UTC), datetime(1, 1, 3, tzinfo=UTC),
    datetime(9999, 12, 29, 23, 59, 59, 999_999, UTC), datetime(9999, 12, 30, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, timezone(timedelta(hours=-5))), Money("-0.01", "EUR"), Decimal("1.5"),
]  # fmt: skip
"""Values of which many are no value of a field, or a subclass of its values, or at its ends."""
KINDS: list[Kind] = ["text", "integer", "boolean", "decimal", "day", "money", "reference"]


def codec(kind: Kind, *, zone: str = "UTC", **declared: object) -> Codec:
    declaration = FieldDeclaration(name="f", kind=kind, **declared)  # type: ignore[arg-type]
    return codec_for(declaration, path="f", prefix="f", owner="test", zone=ZoneInfo(zone))


@pytest.mark.parametrize("kind", REGISTRY.types.values(), ids=lambda kind: kind.name)
@given(data=st.data())
def test_a_record_read_back_equals_the_one_stored(kind: RecordType, data: st.DataObject) -> None:
    record = data.draw(records_of(kind)).evolve(id=7, version=3, created_tx=5, updated_tx=6)
    assert record == kind.decode(kind.encode(record), getattr(record, "tags", ()))


@pytest.mark.parametrize("kind", REGISTRY.types.values(), ids=lambda kind: kind.name)
@given(data=st.data())
def test_a_record_made_of_some_values_equals_the_one_of_its_class(kind: RecordType, data: st.DataObject) -> None:
    record = data.draw(records_of(kind))
    required = {one.name for one in attrs.fields(kind.cls) if one.default is attrs.NOTHING}
    others = data.draw(st.sets(st.sampled_from([one.name for one in attrs.fields(kind.cls)])))
    values = {name: getattr(record, name) for name in required | others}
    assert kind.cls(**values) == kind.rows.made(values)


def test_a_new_record_receives_its_system_values_itself_and_keeps_all_others() -> None:
    @record("booking")
    class Booking(Record):
        """A record whose field is called as the function once was that sets the others."""

        slot: str | None = text("Slot", default=None)

    kind = build_registry(zone=ZoneInfo("UTC"), records=[(Booking, "test")]).types["booking"]
    made = kind.rows.made({"slot": "noon"})
    assert made is kind.rows.stamp(made, 7, 1, 5, 6)
    assert Booking(id=7, version=1, created_tx=5, updated_tx=6, slot="noon") == made
    assert (7, 1, 5, 6, "noon") == kind.encode(made)


@pytest.mark.parametrize("kind", REGISTRY.types.values(), ids=lambda kind: kind.name)
@settings(max_examples=5, phases=[Phase.generate])
@given(data=st.data())
def test_the_row_of_a_record_has_what_the_codec_of_each_field_gives(kind: RecordType, data: st.DataObject) -> None:
    record = data.draw(records_of(kind)).evolve(id=7, version=3, created_tx=5, updated_tx=6)
    for changed in [record, *(record.evolve(**{name: value}) for name in kind.fields for value in ODD)]:
        assert _said(partial(_by_codecs, kind, changed)) == _said(partial(kind.encode, changed))


def _by_codecs(kind: RecordType, record: Record) -> Row:
    cells = [cell for field in kind.fields.values() for cell in field.codec.encode(field.of(record))]
    return (record.id, record.version, record.created_tx, record.updated_tx, *cells)


def _said(call: Callable[[], Row]) -> list[tuple[type, object]] | str:
    """Return the cells with their types, or the words of the refusal."""
    try:
        return [(type(cell), cell) for cell in call()]
    except InvalidValue as error:
        return f"{error.field} {error.rule} {error.message}"


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_value_shown_as_text_is_parsed_to_itself(kind: Kind, data: st.DataObject) -> None:
    made = codec(kind, scale=3)
    value = data.draw(values_of(FieldDeclaration(name="f", kind=kind, scale=3, nullable=False)))
    shown = made.show(value)
    typed = f"{shown['amount']} {shown['currency']}" if isinstance(shown, dict) else str(shown)
    assert value == made.parse(typed)


@given(zone=zones(), value=moments())
def test_a_moment_keeps_its_instant_and_its_precision(zone: ZoneInfo, value: datetime | date) -> None:
    made = codec("moment", zone=zone.key)
    assert value == made.decode(made.encode(value))
    assert value == made.parse(made.show(value))


@pytest.mark.parametrize("zone", ZONES)
@given(day=days())
def test_a_day_is_the_same_day_where_its_midnight_was_skipped_or_came_twice(zone: str, day: date) -> None:
    made = codec("moment", zone=zone)
    assert day == made.decode(made.encode(day))


def test_a_day_that_a_zone_skipped_is_refused() -> None:
    with pytest.raises(InvalidValue, match="Pacific/Apia skipped") as caught:
        codec("moment", zone="Pacific/Apia").encode(date(2011, 12, 30))
    assert ("f", "date") == (caught.value.field, caught.value.rule)


def test_a_typed_time_that_the_clocks_skipped_is_refused_and_one_that_came_twice_is_the_first() -> None:
    berlin = codec("moment", zone="Europe/Berlin")
    with pytest.raises(InvalidValue, match="skipped"):
        berlin.parse("2026-03-29T02:30")
    assert datetime(2026, 10, 25, 0, 30, tzinfo=UTC) == berlin.parse("2026-10-25T02:30")


@pytest.mark.parametrize(
    ("kind", "typed", "expected"),
    [
        ("integer", "۱۲۳", 123),
        ("integer", " -7 ", -7),
        ("boolean", "Yes", True),
        ("boolean", "۰", False),
        ("day", "۲۰۲۶-۱۱-۳۰", date(2026, 11, 30)),
        ("decimal", "۱٫۵", Decimal("1.5")),
        ("tags", "vip, نان ,,vip", ("vip", "نان")),
    ],
)
def test_what_people_type_is_read_in_any_script(kind: Kind, typed: str, expected: object) -> None:
    assert expected == codec(kind, scale=2).parse(typed)


@pytest.mark.parametrize(
    ("kind", "value", "rule"),
    [
        ("text", "a\0b", "no_nul"),
        ("text", "\ud800", "unicode"),
        ("text", 7, "type"),
        ("text", "x" * 11, "max_length"),
        ("moment", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "range"),
        ("moment", datetime(9999, 12, 31, tzinfo=UTC), "range"),
        ("integer", 2**63, "range"),
        ("integer", -(2**63) - 1, "range"),
        ("integer", True, "type"),
        ("integer", 1.0, "type"),
        ("boolean", 1, "type"),
        ("decimal", Decimal("0.001"), "scale"),
        ("decimal", Decimal("1.0000000000000000000000000000000000000000000001"), "scale"),
        ("decimal", Decimal("NaN"), "finite"),
        ("decimal", Decimal("Infinity"), "finite"),
        ("decimal", Decimal("1e999999"), "range"),
        ("decimal", 0.5, "type"),
        ("day", datetime(2026, 1, 1, tzinfo=UTC), "type"),
        ("moment", datetime(2026, 1, 1), "time_zone"),  # noqa: DTZ001
        ("moment", "2026-01-01", "type"),
        ("money", Decimal(5), "type"),
        ("reference", 0, "reference"),
        ("reference", -1, "reference"),
        ("reference", "x", "type"),
    ],
)
def test_what_no_storage_keeps_is_refused_by_rule(kind: Kind, value: object, rule: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        codec(kind, max_length=10, scale=2).encode(value)
    assert ("f", rule) == (caught.value.field, caught.value.rule)


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        ("integer", "²"),
        ("integer", "1_000"),
        ("integer", "9" * 5000),
        ("integer", ""),
        ("decimal", "NaN"),
        ("decimal", "1_0"),
        ("decimal", "x"),
        ("boolean", "maybe"),
        ("day", "31/02/2026"),
        ("day", "2026-02-31"),
        ("moment", "yesterday at noon"),
        ("money", "12"),
        ("money", "12 XYZ"),
        ("money", "1,12 EUR"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_field_and_the_text(kind: Kind, typed: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        codec(kind, scale=2).parse(typed)
    assert ("f", typed) == (caught.value.field, caught.value.value)


def test_the_callers_decimal_context_changes_nothing() -> None:
    made = codec("decimal", scale=4)
    value = Decimal("123456789012345.6789")
    with localcontext() as context:
        context.prec = 5
        assert value == made.decode(made.encode(value))
        assert "123456789012345.6789" == made.show(value)


@pytest.mark.parametrize("blank", ["", "   ", "\u00a0", None])
def test_a_required_text_is_not_blank(blank: str | None) -> None:
    with pytest.raises(InvalidValue, match="a value is required"):
        codec("text", required=True, nullable=False).encode(blank)
