from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import UsageError
from crm_core.query.text import (
    Comparison,
    Conjunction,
    Containment,
    Disjunction,
    Filter,
    Membership,
    Negation,
    Nullness,
    Value,
    parse,
    to_text,
)

_names = st.sampled_from(["country", "loyalty.points", "fields.in", "نام", "owner_id", "x"])
_words = st.from_regex(r"[A-Za-z0-9.:@+_\-/۰-۹آ-ی]+", fullmatch=True).filter(lambda word: word.lower() != "null")
_values = st.builds(Value, _words) | st.builds(Value, st.text(), st.just(True))
_leaves = st.one_of(
    st.builds(Comparison, _names, st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), _values),
    st.builds(Membership, _names, st.lists(_values, min_size=1, max_size=3).map(tuple)),
    st.builds(Containment, _names, _values),
    st.builds(Nullness, _names),
)


def _deeper(inner: st.SearchStrategy) -> st.SearchStrategy:
    parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(Negation, inner) | st.builds(Conjunction, parts) | st.builds(Disjunction, parts)


@given(st.recursive(_leaves, _deeper, max_leaves=12))
def test_what_is_printed_parses_to_the_same_tree(tree) -> None:
    assert Filter(tree) == parse(to_text(tree))


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_random_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse(text) == parse(to_text(parse(text).root))


@given(st.lists(st.sampled_from([*"()=<>!,\"'&|\\،", "a", "12", "and", "or", "not", "in", "is", "null", "contains"])))
def test_random_tokens_are_parsed_or_refused(tokens: list[str]) -> None:
    text = " ".join(tokens)
    with contextlib.suppress(UsageError):
        assert parse(text) == parse(to_text(parse(text).root))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a=1 or b=2 and c=3", "a = 1 or (b = 2 and c = 3)"),
        ("not a=1 and b=2", "(not a = 1) and b = 2"),
        ("a is not null", "not a is null"),
        ("a NOT IN (1, 2)", "not a in (1, 2)"),
        ("a not contains x", "not a contains x"),
        ("a in (x، y)", "a in (x, y)"),
        ("country in (IN, IS, OR, NOT)", "country in (IN,IS,OR,NOT)"),
        ('"a" = 1'.replace('"', ""), "a=1"),
        ("a = 'it''s'", 'a = "it\'s"'),
        ('a = "say ""hi"""', r'a = "say \"hi\""'),
        (r"a = 'back\\slash \n'", r"a = 'back\slash \n'"),
        ("\u200fa\u200f = 1", "a = 1"),
    ],
)
def test_two_ways_to_write_one_filter(text: str, same: str) -> None:
    assert parse(same) == parse(text)


@pytest.mark.parametrize(
    ("text", "at", "problem", "hint"),
    [
        ("country = ", 11, "Expected a value, found the end", "a text, a number or a day"),
        ("country == DE", 9, "Expected an operator", "write = for =="),
        ("country = United States", 18, "Expected 'and', 'or' or the end, found 'States'", "quotation marks"),
        ("country = null", 11, "Expected a value, found 'null'", "is null"),
        ("(a = 1", 7, "Expected 'and', 'or' or ')', found the end", "character 1 is not closed"),
        ("a = 1)", 6, "Expected 'and', 'or' or the end, found ')'", ""),
        ("a = 'x", 5, "has no partner", "close the text with '"),
        ("a = “x”", 5, "“ is not a quotation mark", "use"),
        ('"a" = 1', 1, "Expected a field's name", "without quotation marks"),
        ("a = 1 && b = 2", 7, "found '&&'", "write and for &&"),
        ("a in DE", 6, "Expected '('", 'in ("DE", "AT")'),
        ("a is 3", 6, "Expected 'null' or 'not null'", "a = ..."),
        ("and", 1, "Expected a field's name, found 'and'", "a condition reads"),
    ],
)
def test_an_error_marks_the_place_and_says_what_was_expected(text: str, at: int, problem: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert problem in caught.value.message
    assert f"(at character {at} of the filter)" in caught.value.message
    assert " " * (at + 1) + "^" == caught.value.message.splitlines()[-1]
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["(" * 10_000, "not " * 4_000 + "a = 1", "(" * 21 + "a = 1" + ")" * 21])
def test_deep_nesting_is_refused_in_words(text: str) -> None:
    with pytest.raises(UsageError, match="nested more than 20 levels deep"):
        parse(text)


def test_twenty_levels_are_read() -> None:
    assert parse("a = 1") == parse("(" * 20 + "a = 1" + ")" * 20)


def test_too_long_or_too_many_conditions_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="20,000 are allowed"):
        parse("a" * 20_001)
    with pytest.raises(UsageError, match="more than 500 conditions"):
        parse(" or ".join(["a=1"] * 501))


def test_an_empty_filter_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="empty"):
        parse("  ")
