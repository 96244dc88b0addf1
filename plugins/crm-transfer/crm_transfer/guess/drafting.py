"""What is drafted of a mapping while its columns are looked at one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from crm_core import CRM
from crm_core.records import RecordType
from crm_transfer.currencies import unit_named
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.keys import KeyGuess
from crm_transfer.guess.toml import Block, listed, texts
from crm_transfer.guess.words import CURRENCY, NOTHING_IN_TEXTS, is_called
from crm_transfer.toml import quoted


@attrs.frozen
class Guess:
    """What a column was taken for: `target` is the field (`customer.name`), empty where it is only mentioned."""

    column: str
    target: str
    confidence: str
    why: str
    values: dict[str, str] = attrs.field(factory=dict)


@attrs.define
class Draft:
    """The records, computed columns, what they need of the workspace, each column's guess, what is to be decided.

    `file` are further keys of `[file]`; `tables` stand before the records (rules, groups), `checks` behind them.
    """

    blocks: list[Block] = attrs.field(factory=list)
    file: dict[str, str] = attrs.field(factory=dict)
    tables: list[str] = attrs.field(factory=list)
    checks: list[str] = attrs.field(factory=list)
    computed: dict[str, str] = attrs.field(factory=dict)
    fields: dict[str, dict[str, dict[str, Any]]] = attrs.field(factory=dict)
    pipelines: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    guesses: list[Guess] = attrs.field(factory=list)
    questions: list[str] = attrs.field(factory=list)


class Sheet:
    """The columns that are left of a file, and the records drafted so far: `main`, those before it and behind it."""

    def __init__(
        self,
        crm: CRM,
        kind: RecordType,
        columns: Sequence[Seen],
        key: KeyGuess,
        system: str,
        rows: Sequence[Sequence[str]],
    ) -> None:
        """Begin with all columns left."""
        self.crm, self.kind, self.key, self.system, self.rows = crm, kind, key, system, rows
        self._places = {seen.name: at for at, seen in enumerate(columns)}
        self.left = list(columns)
        self.taken: set[str] = set()
        self.grouped = False
        self.persons: tuple[str, ...] = ()
        self.out = Draft()
        others = f"; others that would do: {', '.join(map(quoted, key.others))}" if key.others else ""
        self.main = Block(kind.name, [f"key = {listed(key.columns)}  # {key.confidence}: {key.why}{others}"])
        self.before: list[Block] = []
        self.after: list[Block] = []
        self.currency = next(
            (s for s in columns if is_called(s.name, CURRENCY, kind.name) and _are_currencies(s)), None
        )

    def part(self, kind: RecordType, columns: Sequence[Seen], key: KeyGuess) -> Sheet:
        """Return a sheet of some of the columns left, whose rows make records of another type; the draft is shared."""
        made = Sheet(self.crm, kind, columns, key, self.system, self.rows)
        made._places, made.out, made.currency = self._places, self.out, self.currency
        self.left = [seen for seen in self.left if seen not in columns]
        return made

    @property
    def mine(self) -> str:
        """The columns of the key, as they stand inside a list."""
        return ", ".join(map(quoted, self.key.columns))

    def pairs(self, one: Seen, other: Seen) -> list[tuple[str, str]]:
        """Return what two columns say in the same row, each pair once, in the order in which they come."""
        at, beside = self._places[one.name], self._places[other.name]
        return list(dict.fromkeys((row[at].strip(), row[beside].strip()) for row in self.rows))

    def place_of(self, name: str) -> int:
        """Return the place of a column by its name, counted from 0."""
        return self._places[name]

    def place(self, seen: Seen) -> int:
        """Return the place of a column, counted from 1."""
        return self._places[seen.name] + 1

    def compute(self, name: str, value: str) -> str:
        """Add a computed column; return its name, which is that of no other."""
        while name in self._places or name in self.out.computed:
            name += " *"
        self.out.computed[name] = value
        return name

    def put(self, path: str, source: str, remark: str) -> None:
        """Add a field to the record of the row."""
        self.main.fields.append((path, source, remark))
        self.taken.add(path)

    def done(self, seen: Seen, target: str, confidence: str, why: str, values: Mapping[str, str] | None = None) -> None:
        """Say what a column was taken for; it is left no more."""
        self.out.guesses.append(Guess(seen.name, target, confidence, why, dict(values or {})))
        self.left.remove(seen)

    def ask(self, seen: Seen, question: str) -> None:
        """Ask something of a column that a person has to decide."""
        self.out.questions.append(f"column {quoted(seen.name)}: {question}")

    def nothing(self, seen: Seen) -> str:
        """Return the remark on texts that are taken for nothing, and ask where they are words of some meaning."""
        if not seen.nulls:
            return ""
        told = f"{', '.join(map(repr, seen.nulls))} taken for nothing"
        if any(value.casefold() not in NOTHING_IN_TEXTS for value in seen.nulls):
            self.ask(seen, told)
        return f"; {told}"


def given(seen: Seen) -> str:
    """Return the condition of rows in which a column says something."""
    if seen.nulls:
        return f"when = {{ column = {quoted(seen.name)}, not = {texts(['', *seen.nulls])} }}"
    return f"when = {{ column = {quoted(seen.name)}, given = true }}"


def _are_currencies(seen: Seen) -> bool:
    return bool(seen.values) and all(unit_named(value) is not None for value in seen.distinct)
