"""The text form of the filter language: what a person types after `--where`, parsed into conditions on field names.

Apart from `crm_core.query.bind`, which knows the fields: parsing needs no CRM. Precedence, from weakest: or, and, not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NoReturn, get_args
from typing import Literal as OneOf

import attrs

from crm_core.errors import UsageError
from crm_core.query.ast import Operator
from crm_core.values import strip_marks

MAX_LENGTH: Final = 20_000
MAX_DEPTH: Final = 20
"""SQLite's parser has a stack of 100, of which a level takes up to four."""
MAX_CONDITIONS: Final = 500
"""SQLite parses a chain of `or` as a tree as deep as the chain is long, and allows 1,000."""


@attrs.frozen
class Value:
    """A literal as typed, without its quotes; `at` is where it stands in the text."""

    text: str
    quoted: bool = False
    at: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Comparison:
    """`field operator value`."""

    field: str
    operator: Operator
    value: Value
    at: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Membership:
    """`field in (values)`."""

    field: str
    values: tuple[Value, ...]
    at: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Containment:
    """`field contains value`."""

    field: str
    value: Value
    at: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Nullness:
    """`field is null`."""

    field: str
    at: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Negation:
    """`not part`; also `is not null`, `not in` and `not contains`."""

    part: Condition


@attrs.frozen
class Conjunction:
    """`part and part`, two parts or more."""

    parts: tuple[Condition, ...]


@attrs.frozen
class Disjunction:
    """`part or part`, two parts or more."""

    parts: tuple[Condition, ...]


Condition = Comparison | Membership | Containment | Nullness | Negation | Conjunction | Disjunction


@attrs.frozen
class Filter:
    """A parsed filter: the conditions, and the text they came from, which errors point into."""

    root: Condition
    text: str = attrs.field(default="", eq=False)


def parse(text: str) -> Filter:
    """Parse the text form of a filter.

    Raises:
        UsageError: the text is no filter; the message marks the place and says what was expected there.

    >>> parse('country = DE and not loyalty.points is null').root.parts[0]
    Comparison(field='country', operator='=', value=Value(text='DE', quoted=False, at=10), at=0)
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f"The filter is {len(text):,} characters long; at most {MAX_LENGTH:,} are allowed.")
    return Filter(_Parser(text).parse(), text)


def to_text(condition: Condition) -> str:
    """Write conditions in the text form; parsing it gives the same conditions.

    >>> to_text(parse("a=1 and (b is not null or c in (x, 'y z'))").root)
    'a = 1 and (not b is null or c in (x, "y z"))'
    """
    match condition:
        case Comparison(field, operator, value):
            return f"{field} {operator} {_written(value)}"
        case Membership(field, values):
            return f"{field} in ({', '.join(map(_written, values))})"
        case Containment(field, value):
            return f"{field} contains {_written(value)}"
        case Nullness(field):
            return f"{field} is null"
        case Negation(part):
            return f"not {_grouped(part, Conjunction, Disjunction)}"
        case Conjunction(parts):
            return " and ".join(_grouped(part, Conjunction, Disjunction) for part in parts)
        case Disjunction(parts):
            return " or ".join(_grouped(part, Disjunction) for part in parts)


def fail(text: str, at: int, problem: str, *, hint: str = "") -> NoReturn:
    """Raise the `UsageError` of a filter: the problem, and the place in the text marked below it."""
    start = max(0, at - 50)
    window = "".join(c if c.isprintable() else " " for c in text[start : at + 30])
    before, after = "..." * (start > 0), "..." * (at + 30 < len(text))
    marked = f"  {before}{window}{after}\n  {' ' * (len(before) + at - start)}^"
    raise UsageError(f"{problem} (at character {at + 1} of the filter)\n{marked}", hint=hint)


_OPERATORS: Final[dict[str, Operator]] = {operator: operator for operator in get_args(Operator)}
_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "is", "null", "contains"})
_ELSEWHERE: Final = {"==": "=", "<>": "!=", "&&": "and", "||": "or", "!": "not", "=<": "<=", "=>": ">="}
_PUNCTUATION: Final = re.compile(r"[=<>!&|]+|[(),،]")
_WORD: Final = re.compile(r"""[^\s"'=<>!&|(),،]+""")
_TYPOGRAPHIC: Final = "“”„«»‘"
_EXAMPLE: Final = 'a condition reads: field operator value, such as country = "DE"'

_TokenKind = OneOf["word", "quoted", "sign", "end"]


@attrs.frozen
class _Token:
    kind: _TokenKind
    text: str
    at: int

    @property
    def keyword(self) -> str:
        """The keyword this is, in lower case, else nothing."""
        folded = strip_marks(self.text).lower()
        return folded if self.kind == "word" and folded in _KEYWORDS else ""

    def is_sign(self, text: str) -> bool:
        return self.kind == "sign" and self.text == text

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 40 else self.text[:37] + "..."
        return {"end": "the end", "quoted": f'the text "{shown}"'}.get(self.kind, f"{shown!r}")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        character = text[at]
        if character.isspace():
            at += 1
        elif character in "\"'":
            content, end = _quoted(text, at)
            yield _Token("quoted", content, at)
            at = end
        elif character in _TYPOGRAPHIC:
            fail(text, at, f"{character} is not a quotation mark of this language", hint="use \" or ' instead")
        elif found := _PUNCTUATION.match(text, at) or _WORD.match(text, at):
            sign = character in "=<>!&|(),،"
            yield _Token("sign" if sign else "word", "," if found[0] == "،" else found[0], at)
            at = found.end()
    yield _Token("end", "", len(text))


def _quoted(text: str, start: int) -> tuple[str, int]:
    """Read quoted text: a doubled quotation mark or one after a backslash stands for itself."""
    mark, content, at = text[start], [], start + 1
    while at < len(text):
        character = text[at]
        pair = text[at : at + 2]
        if pair in {mark * 2, "\\\\", '\\"', "\\'"}:
            content.append(pair[1])
            at += 2
        elif character == mark:
            return "".join(content), at + 1
        else:
            content.append(character)
            at += 1
    fail(text, start, "This quotation mark has no partner", hint=f"close the text with {mark}")


class _Parser:
    """Recursive descent over the tokens, one method per level of precedence."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.position = 0
        self.depth = 0
        self.conditions = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.next
        self.position += token.kind != "end"
        return token

    def parse(self) -> Condition:
        if len(self.tokens) == 1:
            raise UsageError("The filter is empty.", hint=_EXAMPLE)
        root = self.disjunction()
        if self.next.kind != "end":
            self.unexpected("'and', 'or' or the end", hint=self.advice_after_condition())
        return root

    def disjunction(self) -> Condition:
        parts = [self.conjunction()]
        while self.next.keyword == "or":
            self.take()
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else Disjunction(tuple(parts))

    def conjunction(self) -> Condition:
        parts = [self.negation()]
        while self.next.keyword == "and":
            self.take()
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else Conjunction(tuple(parts))

    def negation(self) -> Condition:
        if self.next.keyword == "not":
            self.deeper()
            part = self.negation()
            self.depth -= 1
            return Negation(part)
        if self.next.is_sign("("):
            opening = self.deeper()
            inside = self.disjunction()
            if not self.next.is_sign(")"):
                hint = (
                    self.advice_after_condition() or f"the bracket opened at character {opening.at + 1} is not closed"
                )
                self.unexpected("'and', 'or' or ')'", hint=hint)
            self.take()
            self.depth -= 1
            return inside
        return self.condition()

    def deeper(self) -> _Token:
        token = self.take()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            hint = "write it with fewer brackets and 'not'"
            fail(self.text, token.at, f"The filter is nested more than {MAX_DEPTH} levels deep", hint=hint)
        return token

    def condition(self) -> Condition:
        token = self.next
        if token.kind != "word" or token.keyword:
            quoted_field = "a field's name is written without quotation marks" if token.kind == "quoted" else ""
            self.unexpected("a field's name", hint=quoted_field or self.advice_on_sign() or _EXAMPLE)
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            hint = "use field in (...) for many values of one field"
            fail(self.text, token.at, f"The filter has more than {MAX_CONDITIONS} conditions", hint=hint)
        self.take()
        return self.test_of(strip_marks(token.text), token.at)

    def test_of(self, field: str, at: int) -> Condition:
        token = self.next
        if token.kind == "sign" and token.text in _OPERATORS:
            self.take()
            return Comparison(field, _OPERATORS[token.text], self.value(), at)
        match token.keyword:
            case "contains":
                self.take()
                return Containment(field, self.value(), at)
            case "in":
                self.take()
                return Membership(field, self.values(), at)
            case "is":
                self.take()
                return self.nullness(field, at)
            case "not":
                self.take()
                if self.next.keyword not in {"in", "contains"}:
                    self.unexpected("'in' or 'contains'", hint=f"to negate the condition, write: not {field} = ...")
                return Negation(self.test_of(field, at))
        return self.unexpected("an operator: = != < <= > >= in contains is", hint=self.advice_on_sign() or _EXAMPLE)

    def nullness(self, field: str, at: int) -> Condition:
        negated = self.next.keyword == "not"
        if negated:
            self.take()
        if self.next.keyword != "null":
            self.unexpected("'null'" if negated else "'null' or 'not null'", hint=f"to compare, write: {field} = ...")
        self.take()
        return Negation(Nullness(field, at)) if negated else Nullness(field, at)

    def values(self) -> tuple[Value, ...]:
        if not self.next.is_sign("("):
            self.unexpected("'('", hint='a list of values reads: country in ("DE", "AT")')
        self.take()
        found = [self.value()]
        while self.next.is_sign(","):
            self.take()
            found.append(self.value())
        if not self.next.is_sign(")"):
            self.unexpected("',' or ')'", hint="put a value of several words in quotation marks")
        self.take()
        return tuple(found)

    def value(self) -> Value:
        """Take a value; a keyword is one here too, because IN, IS and OR are India, Iceland and Oregon."""
        token = self.next
        if token.keyword == "null":
            self.unexpected("a value", hint='write "is null" for an unknown value, "null" in quotes for the word')
        if token.kind not in {"word", "quoted"}:
            self.unexpected(
                "a value", hint=self.advice_on_sign() or 'a text, a number or a day: "DE", 12.5, 2026-11-30'
            )
        self.take()
        return Value(token.text, token.kind == "quoted", token.at)

    def advice_on_sign(self) -> str:
        instead = _ELSEWHERE.get(self.next.text, "") if self.next.kind == "sign" else ""
        if not instead and self.next.kind == "sign" and self.next.text[0] in "&|!":
            return "put a value with such a sign in quotation marks"
        return instead and f"write {instead} for {self.next.text}"

    def advice_after_condition(self) -> str:
        if self.next.kind in {"word", "quoted"}:
            return "put a value of several words in quotation marks"
        return self.advice_on_sign()

    def unexpected(self, expected: str, *, hint: str = "") -> NoReturn:
        fail(self.text, self.next.at, f"Expected {expected}, found {self.next}", hint=hint)


def _written(value: Value) -> str:
    if not value.quoted:
        return value.text
    return '"' + value.text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _grouped(part: Condition, *kinds: type) -> str:
    return f"({to_text(part)})" if isinstance(part, kinds) else to_text(part)
