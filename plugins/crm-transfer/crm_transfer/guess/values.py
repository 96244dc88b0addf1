"""Translates the words of a column into those of a field: choices, yes and no, stages, names that exist already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.extend import Pipeline
from crm_core.query.ast import And, Compare, In
from crm_core.records.registry import Field
from crm_core.values import email_key, text_key
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.words import CHOICES, FALSE, STAGES, TRUE, plain
from crm_transfer.names import label_field
from crm_transfer.nearest import CLOSE, SURE, nearest

_MOST: Final = 2_000
"""How many different values a column may have that is looked up among records."""
_STAGES: Final = 25
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
        found = next((choice for choice in choices if plain(value) in CHOICES.get(choice, ())), None)
        if found is None:
            close = nearest(value, [text_key(choice) for choice in choices], limit=1, least=SURE)
            found, sure = (choices[close[0][0]], False) if close else (None, sure)
        if found is None:
            return None
        made[value] = found
    return ValueMap(made, sure)


def yes_or_no_map(seen: Seen) -> ValueMap | None:
    """Translate yes and no of any of the languages."""
    if not all(plain(value) in TRUE | FALSE or value in ("0", "1") for value in seen.distinct):
        return None
    return ValueMap(
        {v: "true" if plain(v) in TRUE else "false" for v in seen.distinct if v.strip().casefold() not in _READ}
    )


def stage_map(pipelines: Mapping[str, Pipeline], seen: Seen) -> tuple[Pipeline, ValueMap] | None:
    """Find the pipeline whose stages the values are, the default one first; None when there is none."""
    for pipeline in pipelines.values():
        names = {name.casefold(): stage.name for stage in pipeline.stages for name in (stage.name, stage.label) if name}
        keys = [text_key(name) for name in names]
        made: dict[str, str] = {}
        for value in seen.distinct:
            if value.casefold() in names:
                continue
            close = nearest(value, keys, limit=1, least=SURE)
            if not close:
                break
            made[value] = [*names.values()][close[0][0]]
        else:
            return pipeline, ValueMap(made, not made)
    return None


def proposed_stages(seen: Seen) -> list[dict[str, str]] | None:
    """Propose the stages of a pipeline in order, kinds guessed from their words; None where they are too many."""
    if not 0 < len(seen.distinct) <= _STAGES or seen.longest > 50:
        return None
    ranked = []
    for at, value in enumerate(seen.distinct):
        words = plain(value)
        group = next((g for g in ("won", "lost", "0", "1", "2", "3") if words in STAGES[g]), None)
        group = group or next((g for g in ("won", "lost", "3", "2", "1", "0") if _has_word(value, g)), "1.5")
        rank = {"won": 8.0, "lost": 9.0}.get(group) or float(group)
        ranked.append((rank, at, value, group if group in ("won", "lost") else "open"))
    ranked.sort()
    still_open = [one for one in ranked if one[3] == "open"]
    made = []
    for rank, at, value, kind in ranked:
        place = (still_open.index((rank, at, value, kind)) + 1) / (len(still_open) + 1) if kind == "open" else 0
        probability = "1" if kind == "won" else "0" if kind == "lost" else f"{place:.2f}"
        made.append({"name": value, "kind": kind, "probability": probability})
    return made


def _has_word(value: str, group: str) -> bool:
    return any(plain(word) in STAGES[group] for word in value.split())


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
    entries: dict[str, dict[str, None]] = {}
    where = And((Compare("record_type", "=", type_name), In("external", tuple(values)), Compare("state", "=", "live")))
    for entry in crm.external_ids.find(where, limit=None):
        entries.setdefault(entry.system, {})[entry.external] = None
    if entries:
        system = max(entries, key=lambda name: len(entries[name]))
        if 10 * len(entries[system]) >= 9 * len(values):
            return Matched(system=system, known=len(entries[system]), of=len(values))
    by = "email" if seen.kind == "email" and "email" in kind.fields else label_field(kind)
    if by not in ("name", "email") or len(seen.distinct) > _MOST:
        return Matched(of=len(values))
    return _by_name(crm, type_name, by, values)


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
