"""Text keys: what matches, what does not, and that folding is stable."""

from __future__ import annotations

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crm_core.values import ascii_digits, email_key, keys, phone_key, strip_marks, text_key

# Characters whose folding interacts: accents after joiners, sharp s, dotted I, yeh with hamza, spacing accents.
AWKWARD = st.text(
    st.one_of(
        st.sampled_from("aiIİı\u0307\u0323\u0328ßſΐǰيىكئ\u0654\u0301\u200c\u200d\u0640´²½①۱९ \u3000\u1e9eﬁﻻΣς"),
        st.characters(),
    )
)


@given(AWKWARD)
@example("a\u200c\u0301")  # without its joiner the letter takes the accent
@example("α\u0345\u0323\u0301")
@example("ı\u0307\u0307\u0301")
@example("i\u0307\u0323")
def test_folding_twice_changes_nothing(text: str) -> None:
    assert text_key(text) == text_key(text_key(text))


@given(st.text(st.characters(codec="ascii")))
def test_the_ascii_path_agrees_with_the_general_one(text: str) -> None:
    # The sharp s sends the same text down the general path.
    assert text_key(text + "xß").removesuffix("ss") == text_key(text + "x")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("علي كاظمي", "علی کاظمی"),
        ("موسى", "موسی"),
        ("می\u200cخواهم", "میخواهم"),
        ("محـــمد", "محمد"),
        ("\u202bسارا\u202c\u200f", "سارا"),
        ("\ufeffAda", "ada"),
        ("شعبه ۱۲", "شعبه 12"),
        ("فرع ١٢", "فرع 12"),
        ("ԱՐՄԵՆ", "արմեն"),
        ("İstanbul", "istanbul"),
        ("I\u0307stanbul", "ISTANBUL"),
        ("Kılıç", "KILIÇ"),
        ("kılıç", "kilic\u0327"),
        ("Straße", "STRASSE"),
        ("Ａｄａ", "ada"),
        ("Jose\u0301", "JOSÉ"),
        ("Ada\u00a0 \tLovelace\n", "ada lovelace"),
    ],
)
def test_spellings_of_one_name_match(one: str, other: str) -> None:
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("café", "cafe"), ("Ada Lovelace", "AdaLovelace"), ("مدرسة", "مدرسه"), ("a😀", "a😁")]
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert text_key(one) != text_key(other)


def test_what_is_looked_for_before_folding_is_just_what_folding_changes() -> None:
    every, table = map(chr, range(sys.maxunicode + 1)), keys._Table(keys._FOLDED)
    changed = [character for character in every if character.translate(table) != character]
    assert changed == [one for one in map(chr, range(sys.maxunicode + 1)) if keys._TO_FOLD.search(one)]
    assert {"\u200c", "\u0640", "\u064a", "\u06f1"} < set(changed)


def test_a_name_of_invisible_characters_is_empty() -> None:
    assert text_key(" \u200b\u200e\u2066 ") == ""


def test_a_long_text_folds_like_a_short_one() -> None:
    assert text_key("Straße " * 100) == " ".join(["strasse"] * 100)


def test_digits_of_any_script_become_ascii() -> None:
    assert ascii_digits("۱۲ ٣٤ ५६ ７𝟖") == "12 34 56 78"


def test_the_arabic_separators_become_the_ascii_ones() -> None:
    assert ascii_digits("۱٬۲۳۴٫۵") == "1,234.5"


@pytest.mark.parametrize("text", ["²", "①", "½", "Ⅷ", "三"])
def test_what_only_looks_like_a_digit_is_none(text: str) -> None:
    assert ascii_digits(text) == text


def test_marks_are_dropped_and_letters_stay() -> None:
    assert strip_marks("\u200eA\u200c\u061cب\u2069") == "Aب"


def test_an_email_matches_whatever_its_case() -> None:
    assert email_key("\u200eADA@Example.org ") == "ada@example.org"


@pytest.mark.parametrize(
    "address", ["ada@xn--bcher-kva.example", "ADA@XN--BCHER-KVA.example", "ada@Bu\u0308cher.example"]
)
def test_an_international_domain_has_one_key(address: str) -> None:
    assert email_key(address) == email_key("ada@bücher.example") == email_key(email_key(address))


def test_what_is_no_idna_stays_as_it_is() -> None:
    assert email_key("ada@xn--\u06f1.example") == "ada@xn--1.example"


@pytest.mark.parametrize(
    ("number", "key"),
    [
        ("+98 912 345 6789", "+989123456789"),
        ("0098-912-345-6789", "+989123456789"),
        ("\u202a+98 (912) 345\u20116789\u202c", "+989123456789"),
        ("＋９８ ９１２ ３４５ ６７８９", "+989123456789"),
        ("(+98) 9123456789", "+989123456789"),
        ("۰۹۱۲ ۳۴۵ ۶۷۸۹", "09123456789"),
        ("٠٩١٢٣٤٥٦٧٨٩", "09123456789"),
        ("0301/123.456", "0301123456"),
        ("+1 555 0100 x12", "+15550100x12"),
        ("+1 555 0100 Ext. 12", "+15550100x12"),
        ("112", "112"),
        ("0098 912 3456789", "+989123456789"),
        ("030 / 1234567", "0301234567"),
        ("+49 - 30 - 1234567", "+49301234567"),
        ("+123456789012345", "+123456789012345"),
    ],
)
def test_a_phone_number_keeps_its_digits_and_plus(number: str, key: str) -> None:
    assert phone_key(number) == key


@pytest.mark.parametrize(
    "number",
    ["", "12", "001", "n/a", "4.41E+11", "0912 3456789, 0912 9876543", "09²123", "+98+912345", "0912 or 0913",
     "555 1234 / 555 1235", "5551234 5551235", "555 1234 - 555 1235", "030 1234\n030 1235", "021 555 1234 021 555 1235",
     "+1234567890123456"],
)  # fmt: skip
def test_what_is_not_one_phone_number_has_no_key(number: str) -> None:
    assert phone_key(number) is None


@given(st.text(st.sampled_from("+0123456789۰۹ ()-./x\u200e")))
def test_a_phone_key_is_its_own_key(number: str) -> None:
    key = phone_key(number)
    assert key is None or phone_key(key) == key
