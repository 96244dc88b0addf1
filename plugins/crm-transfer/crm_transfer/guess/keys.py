"""Chooses the columns that tell the rows of a file apart, and says how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import attrs

from crm_transfer.guess.columns import Seen
from crm_transfer.guess.words import (
    ACCOUNTS,
    BUYER,
    CODES,
    CUSTOMER,
    POSTAL,
    REMARKS,
    ROW_NUMBERS,
    called,
    is_called,
    names_key,
    names_phone,
    tokens,
)

_NEARLY: Final = Fraction(9, 10)
_NO_KEYS: Final = frozenset({"date", "time", "decimal", "boolean"})


@attrs.frozen
class KeyGuess:
    """The columns of the key, how sure that is, why, and other columns that would do; `advice` where none does well."""

    columns: tuple[str, ...]
    confidence: str
    why: str
    others: tuple[str, ...] = ()
    advice: str = ""


def guess_key(columns: Sequence[Seen], rows: Sequence[Sequence[str]], *, of_people: bool = True) -> KeyGuess:
    """Choose a column that is unique and never empty; else one that nearly is, else several together.

    What is not `of_people`, a payment say, is told apart by nobody's address or name; and nothing is by a bank account
    or by remarks.
    """
    fit = [seen for seen in columns if _may_tell_apart(seen, of_people=of_people)]
    unique = [seen for seen in fit if seen.is_key and seen.kind not in _NO_KEYS]
    named = [seen for seen in unique if names_key(seen.name) or seen.kind == "email"]
    named.sort(key=lambda seen: (is_called(seen.name, ROW_NUMBERS), seen.kind == "email"))
    rest = [seen for seen in unique if seen not in named]
    ranked = [
        *named,
        *sorted(rest, key=_doubtfulness),
    ]
    if ranked:
        others = tuple(seen.name for seen in ranked[1:])
        best = ranked[0].name
        if named and is_called(best, ROW_NUMBERS):
            advice = f"{best!r} numbers the rows: is a row's number the same in the next export? else name another key"
            return KeyGuess((best,), "medium", "every row has one, but does it stay?", others, advice)
        if named:
            return KeyGuess((best,), "high", "every row has a value of its own", others)
        why = "every row has a value of its own, but is it one that stays?"
        return KeyGuess((best,), "medium", why, others)
    return _nearly(fit, rows) or _together(columns, rows)


def _may_tell_apart(seen: Seen, *, of_people: bool) -> bool:
    """Say whether a column may be a key at all: what it holds is of one record alone, and by no chance."""
    if (
        not ACCOUNTS.isdisjoint(tokens(seen.name))
        or _is_remark(seen)
        or called(seen.name, "sold_at", "sale") is not None
    ):
        return False
    is_somebody = seen.kind == "email" or (is_called(seen.name, CUSTOMER | BUYER) and not names_key(seen.name))
    return of_people or not is_somebody


def _is_remark(seen: Seen) -> bool:
    """Say whether a column is one of texts that somebody wrote, by its name, and where that is vague by its cells."""
    is_wordy = called(seen.name, "body") is not None and any(len(value.split()) > 1 for value in seen.distinct)
    return is_wordy or is_called(seen.name, REMARKS)


def _doubtfulness(seen: Seen) -> tuple[bool, bool, bool]:
    """Rank columns that nothing calls a key: codes first, what people share or change last."""
    is_code = bool(seen.note) or is_called(seen.name, CODES)
    return not POSTAL.isdisjoint(tokens(seen.name)), not is_code, names_phone(seen.name)


def _nearly(columns: Sequence[Seen], rows: Sequence[Sequence[str]]) -> KeyGuess | None:
    nearly = [s for s in columns if s.kind not in _NO_KEYS and s.tells_apart and s.tells_apart >= _NEARLY * len(rows)]
    if not nearly:
        return None
    by_name = [seen for seen in nearly if names_key(seen.name)]
    best = max(by_name or nearly, key=lambda seen: seen.tells_apart)
    rest = len(rows) - best.tells_apart
    return KeyGuess(
        (best.name,),
        "low",
        f"{rest:,} of {len(rows):,} rows have none or a repeated one, and will be rejected",
        tuple(seen.name for seen in nearly if seen is not best),
        f"no column is unique and never empty; correct {best.name!r} in the file, or name another key",
    )


def _together(columns: Sequence[Seen], rows: Sequence[Sequence[str]]) -> KeyGuess:
    short = [at for at, seen in enumerate(columns) if seen.is_short] or list(range(len(columns)))
    full = sorted((at for at in short if not columns[at].empty), key=lambda at: _is_remark(columns[at])) or short
    for count in range(2, len(full) + 1):
        chosen = full[:count]
        if len({tuple(row[at] for at in chosen) for row in rows}) == len(rows):
            advice = "no column alone tells the rows apart; a column with a number of its own would be a better key"
            names = tuple(columns[at].name for at in chosen)
            return KeyGuess(names, "low", "only together are they different in every row", (), advice)
    return KeyGuess(
        tuple(columns[at].name for at in full),
        "low",
        "NO column tells rows apart; equal rows will be rejected",
        (),
        "NO column tells rows apart: add a column with a number of its own to the file, or export it with its key",
    )
