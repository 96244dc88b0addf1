"""What a search asks for and how well texts answer it, in plain Python: the model of every storage's index."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import UsageError
from crm_core.query.search import BEGINS, EXACT, INSIDE, WORDS, best_text, question_of, rank_of
from crm_core.values import text_key


def rank(typed: str, *texts: str) -> int | None:
    """Return the rank of a record with these texts, of which the first is its name."""
    return rank_of(question_of(typed), texts[0], texts)


@pytest.mark.parametrize(
    ("typed", "texts", "expected"),
    [
        ("Ada  LOVELACE", ("ada lovelace",), EXACT),
        ("ada@example.org", ("ada lovelace", "ada@example.org"), EXACT),
        ("Ada Lov", ("ada lovelace",), BEGINS),
        ("lov", ("ada lovelace",), WORDS),
        ("lovelace ada", ("ada lovelace",), WORDS),
        ("example ada", ("ada lovelace", "a@example.org"), INSIDE),
        ("da", ("ada lovelace",), None),
        ("l", ("ada lovelace",), WORDS),
        ("a", ("ada lovelace",), BEGINS),
        ("ove", ("ada lovelace",), INSIDE),
        ("ada brown", ("ada lovelace",), None),
        ("علي\u200cرضا كاظمي", ("علیرضا کاظمی",), EXACT),
        ("كاظ", ("علیرضا کاظمی",), WORDS),
        ("ԱՐԱՄ", ("արամ խաչատրյան",), BEGINS),
        ("王", ("王伟",), BEGINS),
        ("伟", ("王伟",), None),
    ],
)
def test_ranks(typed: str, texts: tuple[str, ...], expected: int | None) -> None:
    assert expected == rank(typed, *texts)


@pytest.mark.parametrize(
    "typed",
    [
        "+49 170 1234567",
        "0049 (170) 123-45-67",
        "0170 1234567",
        "0170-123",
        "170 123",
        "۰۱۷۰ ۱۲۳۴۵۶۷",
        "1234567",
        "+4917",
    ],
)
def test_an_international_number_is_found_in_any_spelling(typed: str) -> None:
    assert rank(typed, "ada", "+491701234567") is not None


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("+49 170 1234567", "01701234567"),
        ("+98 912 345 6789", "09123456789"),
        ("+374 91 123456", "091123456"),
        ("+7 912 345-67-89", "89123456789"),
        ("+1 212 555 0123", "2125550123"),
        ("8 912 345 67 89", "+79123456789"),
    ],
)
def test_a_number_is_found_as_its_country_writes_it(typed: str, key: str) -> None:
    assert rank(typed, "ada", key) is not None


def test_a_number_is_not_found_by_that_of_another_country_or_subscriber() -> None:
    assert rank("+49 170 1234567", "ada", "+981701234567") is None
    assert rank("+49 170 1234567", "ada", "01711234567") is None
    assert rank("0170 1234567", "ada", "+491701234568") is None


def test_figures_are_words_as_well() -> None:
    assert rank("4711", "4711 gmbh") == BEGINS
    assert rank("room 12 34", "34 room 12") == WORDS
    assert rank("route 66 0170", "route 66", "+491701234567") == INSIDE


def test_an_international_domain_is_found_in_both_its_forms() -> None:
    assert rank("ada@xn--bcher-kva.example", "ada", "ada@bücher.example") == EXACT
    assert rank("bücher", "ada", "ada@bücher.example") == INSIDE


@pytest.mark.parametrize("typed", ["", "  ", "\u200c", "\0", "x" * 401])
def test_what_says_nothing_or_too_much_is_refused(typed: str) -> None:
    with pytest.raises(UsageError):
        question_of(typed)


def test_the_text_that_shows_why_has_the_most_of_the_question() -> None:
    texts = ["ada lovelace", "+491701234567", "lov@example.org"]
    assert 0 == best_text(question_of("ada lov"), texts)
    assert 1 == best_text(question_of("0170 123"), texts)
    assert 2 == best_text(question_of("example"), texts)
    assert 2 == best_text(question_of("lov@example.org"), texts)


_keys = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
    .map(text_key)
    .filter(bool)
)


@given(_keys)
def test_every_text_is_found_by_itself(key: str) -> None:
    assert rank(key, key) == EXACT


@given(_keys, st.data())
def test_every_text_is_found_by_any_three_characters_of_a_word_and_by_the_beginning_of_one(
    key: str, data: st.DataObject
) -> None:
    word = data.draw(st.sampled_from(key.split(" ")))
    at = data.draw(st.integers(0, max(0, len(word) - 3)))
    for part in (word[at : at + 3], word[:2], word[:1]):
        typed = text_key(part)
        if typed == part and (len(part) == 3 or word.startswith(part)):
            assert rank(part, key) is not None
