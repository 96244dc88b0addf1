"""Translates the words of a column into those of a field: choices, yes and no, names that exist already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.query.ast import And, Compare, In
from crm_core.records.registry import Field
from crm_core.values import email_key, text_key
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.words import CHOICES, FALSE, TRUE, fold, plain
from crm_transfer.names import label_field
from crm_transfer.nearest import CLOSE, SURE, nearest

_MOST: Final = 2_000
"""How many different values a column may have that is looked up among records."""
_READ: Final = frozenset(["true", "yes", "y", "1", "on", "false", "no", "n", "0", "off"])


@attrs.frozen
class ValueMap:
    """How values translate, those that need it: `sure` unless some were only alike; `unknown` are those left over."""

    values: Mapping[str, str]
    sure: bool = True
    unknown: tuple[str, ...] = ()


def choices_map(field: Field, seen: Seen) -> ValueMap | None:
    """Translate into the choices of a field; None when a value is none of them."""
    choices = field.declaration.choices
    made: dict[str, str] = {}
    sure = True
    for value in seen.distinct[:_MOST]:
        if value.casefold() in choices:
            continue
        found = next((choice for choice in choices if _says(value, choice)), None)
        if found is None:
            close = nearest(value, [text_key(choice) for choice in choices], limit=1, least=SURE)
            found, sure = (choices[close[0][0]], False) if close else (None, sure)
        if found is None:
            return None
        made[value] = found
    return ValueMap(made, sure)


def _says(value: str, choice: str) -> bool:
    words = CHOICES.get(choice, frozenset())
    return plain(value) in words or fold(value) in words


def yes_or_no_map(seen: Seen) -> ValueMap | None:
    """Translate yes and no of any of the languages."""
    if not all(plain(value) in TRUE | FALSE or value in ("0", "1") for value in seen.distinct):
        return None
    return ValueMap(
        {v: "true" if plain(v) in TRUE else "false" for v in seen.distinct if v.strip().casefold() not in _READ}
    )


@attrs.frozen
class Matched:
    """Which values name records that are there: by which field, or as external ids of which system."""

    by: str = ""
    system: str = ""
    known: int = 0
    of: int = 0
    values: ValueMap = ValueMap({})


def match_records(crm: CRM, type_name: str, seen: Seen) -> Matched:
    """Find out whether the values of a column are names, e-mails or external ids of records that exist."""
    values = seen.distinct[:_MOST]
    kind = crm.registry.types[type_name]
    entries = _systems(crm, type_name, values)
    if entries:
        system = max(entries, key=lambda name: len(entries[name]))
        if 10 * len(entries[system]) >= 9 * len(values):
            return Matched(system=system, known=len(entries[system]), of=len(values))
    by = "email" if seen.kind == "email" and "email" in kind.fields else label_field(kind)
    if by not in ("name", "email") or len(seen.distinct) > _MOST:
        return Matched(of=len(values))
    return _by_name(crm, type_name, by, values)


def brought_before(crm: CRM, type_name: str, seen: Seen, system: str) -> bool:
    """Say whether an earlier file of a source brought records that are known by values of a column."""
    return system in _systems(crm, type_name, seen.distinct[:_MOST])


def _systems(crm: CRM, type_name: str, values: Sequence[str]) -> dict[str, dict[str, None]]:
    """Return the sources that know records by these values, and by which of them."""
    entries: dict[str, dict[str, None]] = {}
    where = And((Compare("record_type", "=", type_name), In("external", tuple(values)), Compare("state", "=", "live")))
    for entry in crm.external_ids.find(where, limit=None):
        entries.setdefault(entry.system, {})[entry.external] = None
    return entries


def _by_name(crm: CRM, type_name: str, by: str, values: Sequence[str]) -> Matched:
    field = crm.registry.types[type_name].fields[by]
    column = f"{field.column}_key" if field.declaration.key else field.column
    folded = {value: email_key(value) if by == "email" else text_key(value) for value in values}
    service: Any = crm.records(type_name)
    there = {text_key(getattr(one, by)) for one in service.find(In(column, tuple(folded.values())), limit=None)}
    missing = [value for value, key in folded.items() if key not in there]
    if not missing:
        return Matched(by=by, known=len(values), of=len(values))
    names = [getattr(one, by) for one in service.find(limit=_MOST) if getattr(one, by)]
    keys = [text_key(name) for name in names]
    close = {value: found for value in missing if (found := nearest(value, keys, limit=1, least=CLOSE))}
    made = {value: names[found[0][0]] for value, found in close.items()}
    unknown = tuple(value for value in missing if value not in close)
    known = len(values) - len(missing) + len(made)
    return Matched(by=by, known=known, of=len(values), values=ValueMap(made, not made, unknown))
