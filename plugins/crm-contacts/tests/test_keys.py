"""Phone numbers and e-mail addresses in one form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crm_contacts.countries import region_of
from crm_contacts.keys import chosen_key
from crm_contacts.rules import rules_of
from crm_core import CRM, Customer
from crm_core.errors import SettingsError
from crm_core.events import ContactKeyWanted
from crm_core.settings import write_settings
from crm_core.testing import PluginContract
from crm_core.values import email_key, phone_key


class TestPlugin(PluginContract):
    package = "crm_contacts"


def key(kind: str, value: str, country: str | None = None, **policies: Any) -> str | None:
    plain = email_key(value) if kind == "email" else phone_key(value)
    wanted = ContactKeyWanted(
        kind=kind, value=value, key=str(plain), country=country, policies={"contacts": policies} if policies else {}
    )
    return chosen_key(wanted)


@pytest.mark.parametrize(
    ("value", "country", "expected"),
    [
        ("0170 1234567", "DE", "+491701234567"),
        ("0170/123 45-67", "Germany", "+491701234567"),
        ("+49 (0)170 1234567", None, "+491701234567"),
        ("۰۰۴۹ ۱۷۰ ۱۲۳۴۵۶۷", "IR", "+491701234567"),
        ("٠٩١٢ ٣٤٥ ٦٧٨٩", "ایران", "+989123456789"),
        ("98 912 345 6789", "IR", "+989123456789"),
        ("010 500 000", "Հայաստան", "+37410500000"),
        ("021 5550 1000 x12", "IR", "+982155501000x12"),
        ("021 5550 1000 داخلی 12", "IR", "+982155501000x12"),
        ("0039 06 698 12345", "DE", "+390669812345"),
        ("110", "DE", None),
        ("0170 1234567", "AM", None),
        ("0170 1234567", None, None),
        ("0170 1234567", "Freedonia", None),
    ],
)
def test_a_number_has_the_form_of_e164_where_its_country_is_known(
    value: str, country: str | None, expected: str | None
) -> None:
    assert expected == key("phone", value, country)


def test_the_country_of_the_settings_stands_in_for_an_unknown_one_only() -> None:
    home = {"country": "DE"}
    wanted = [
        ContactKeyWanted(kind="phone", value="", key="01701234567", country=country, policies={"contacts": home})
        for country in (None, "AM")
    ]
    assert ["+491701234567", None] == [chosen_key(one) for one in wanted]


def test_an_id_that_viber_tells_is_no_number_whose_letters_stand_for_digits() -> None:
    asked = [
        ContactKeyWanted(kind="viber", value=each, key=each, country="IR", policies={})
        for each in ("09123456789a=", "09123456789")
    ]
    assert [None, "+989123456789"] == [chosen_key(each) for each in asked]


def test_whatsapp_writes_international_numbers_without_a_plus() -> None:
    assert ["+989123456789", None] == [key(kind, "989123456789") for kind in ("whatsapp", "phone")]


def test_what_only_a_provider_does_is_done_by_rule_only() -> None:
    assert key("email", "A.da+x@Gmail.com") is None
    assert "a.da@gmail.com" == key("email", "A.da+x@Gmail.com", email=["plus"])
    assert "ada@gmail.com" == key("email", "A.da+x@Googlemail.com", email=["gmail"])
    assert "a.da+x@bücher.example" == key("email", "A.da+x@xn--bcher-kva.example", email=["gmail"])


def test_other_kinds_are_left_to_the_kernel() -> None:
    assert key("telegram", "ada") is None


@pytest.mark.parametrize(
    ("country", "region"),
    [("DE", "DE"), ("deu", "DE"), ("Deutschland", "DE"), ("Vereinigte Staaten", "US"), ("??", None)],
)
def test_a_country_is_known_by_code_and_by_name(country: str, region: str | None) -> None:
    assert region == region_of(country)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"country": "Freedonia"}, "country is 'Freedonia'; expected a country by its code or name"),
        ({"email": ["outlook"]}, "email is"),
        ({"min_score": 101}, "min_score is 101; expected a whole number from 0 to 100"),
        ({"weights": {"fax": 1}}, "weights] has no key 'fax'"),
        ({"weight": 3}, "has no key 'weight'"),
    ],
)
def test_a_setting_that_is_not_understood_says_what_was_expected(table: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        rules_of({"contacts": table})
    assert told in str(caught.value)
    assert caught.value.hint


def test_old_contact_points_are_found_by_any_spelling_once_they_are_normalised(tmp_path: Path) -> None:
    write_settings(tmp_path, storage_url="sqlite:///crm.db", currency="EUR")
    settings = (tmp_path / "crm.toml").read_text("utf-8")
    (tmp_path / "crm.toml").write_text(settings + '\n[plugins]\ndisabled = ["contacts"]\n', "utf-8")
    with CRM.open(tmp_path) as crm:
        ada = crm.customers.add(Customer(name="Ada"), phone="۰۹۱۲ ۳۴۵ ۶۷۸۹")
        assert [] == crm.customers.reached_at("phone", "+98 912 345 6789")
    (tmp_path / "crm.toml").write_text(settings + '\n[policies.contacts]\ncountry = "IR"\n', "utf-8")
    with CRM.open(tmp_path) as crm:
        assert [ada.id] == crm.customers.reached_at("phone", "0912 345 6789"), "before, by its old key"
        assert {"phone": 1} == crm.contact_points.normalise().changed
        spellings = ["+98 912 345 6789", "00989123456789", "٠٩١٢٣٤٥٦٧٨٩"]
        assert [[ada.id]] * 3 == [crm.customers.reached_at("phone", one) for one in spellings]
        assert [ada.id] == [one.id for one in crm.customers.search("0912 345 67")]
        crm.ledger.undo(crm.ledger.resolve("last"))
        assert ["09123456789"] == [point.key for point in crm.customers.contact_points(ada.id)]
