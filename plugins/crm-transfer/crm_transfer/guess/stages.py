"""Drafts how the stages of deals are read: by a pipeline that is there, or by pipelines proposed for the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from crm_core.extend import Pipeline
from crm_core.values import text_key
from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Sheet
from crm_transfer.guess.spelling import ascii_name
from crm_transfer.guess.toml import column_of, inline, source, texts
from crm_transfer.guess.values import ValueMap
from crm_transfer.guess.words import (
    IS_CLOSED,
    IS_WON,
    LOST_ON,
    TRUE,
    WON_ON,
    StageGuess,
    called,
    is_called,
    plain,
    stage_called,
    tokens,
)
from crm_transfer.nearest import SURE, nearest
from crm_transfer.toml import quoted

_STAGES: Final = 25
_PIPELINES: Final = 10
_LONGEST: Final = 50


def stages(sheet: Sheet, seen: Seen) -> dict[str, Any] | None:
    """Say how a column of stages is read, None where it cannot be one."""
    found = stage_map(sheet.crm.pipelines, seen) if seen.values else None
    if found is not None:
        pipeline, values = found
        if pipeline.name != next(iter(sheet.crm.pipelines)):
            sheet.put("pipeline", f"{{ const = {quoted(pipeline.name)} }}", "high: it has these stages")
        return {"values": values}
    if not 0 < len(seen.distinct) <= _STAGES or seen.longest > _LONGEST or sheet.crm.settings.directory is None:
        return None
    over = _over(sheet, seen)
    named = _pipelines(sheet, seen, over)
    doubtful = [value for value in seen.distinct if not stage_called(value).sure]
    unclear = f"; no word says of these whether they are open, won or lost: {', '.join(map(repr, doubtful))}"
    listed = " and ".join(f"[pipelines.{name}]" for name in named)
    _checked(sheet, seen)
    sheet.ask(seen, f"the order and kinds of the stages of {listed}{unclear if doubtful else ''}")
    return {key: value for key, value in over.items() if key == "value"}


def _checked(sheet: Sheet, seen: Seen) -> None:
    """Ask about stages of which a column beside them says something else than their words."""
    for words, kinds, what in ((IS_WON, ("won",), "won"), (IS_CLOSED, ("won", "lost"), "closed")):
        named = (other for other in sheet.left if other.kind == "boolean" and is_called(other.name, words, "deal"))
        other = next(named, None)
        for stage, said in sheet.pairs(seen, other) if other is not None else ():
            is_so = stage_called(stage).kind in kinds
            if other is not None and said and (plain(said) in TRUE) is not is_so:
                taken = what if is_so else f"not {what}"
                sheet.ask(other, f"it says {said!r} of deals in the stage {stage!r}, which is taken for {taken}")


def _pipelines(sheet: Sheet, seen: Seen, over: Mapping[str, Any]) -> list[str]:
    """Propose the pipelines of a file, one of each value of a column of pipelines; return their names."""
    column = next(
        (s for s in sheet.left if called(s.name, "pipeline", "deal") is not None and not s.empty and s.values), None
    )
    if column is None or column is seen or len(column.distinct) > _PIPELINES:
        name = _propose(sheet, sheet.system, [*seen.distinct, *over.get("closed", ())])
        sheet.put("pipeline", f"{{ const = {quoted(name)} }}", "medium: the pipeline proposed below")
        return [name]
    pairs = sheet.pairs(column, seen)
    names = {
        each: _propose(sheet, each, [*(stage for of, stage in pairs if of == each and stage in seen.distinct),
                                     *over.get("closed", ())])
        for each in column.distinct
    }  # fmt: skip
    sheet.put("pipeline", source(column.name, map=inline(names)), "medium: the pipelines proposed below")
    sheet.done(column, "deal.pipeline", "medium", "the pipelines of the file", names)
    return list(names.values())


def _propose(sheet: Sheet, label: str, names: Sequence[str]) -> str:
    name = ascii_name(label) or "imported"
    while name in sheet.crm.pipelines or name in sheet.out.pipelines:
        name += "_2"
    sheet.out.pipelines[name] = {"label": label, "on_won": "sale", "stages": proposed_stages(names)}
    return name


def _over(sheet: Sheet, seen: Seen) -> dict[str, Any]:
    """Read won and lost from a column beside the stages, where the stages themselves are all open."""
    kinds = {value: stage_called(value) for value in seen.distinct}
    if any(guess.kind != "open" for guess in kinds.values()):
        return {}
    for other in sheet.left:
        if other is seen or called(other.name, "stage", "deal") is None or len(other.distinct) > _STAGES:
            continue
        said = {value: guess for value in other.distinct if (guess := stage_called(value)).kind != "open"}
        if not said or not set(said).isdisjoint(seen.distinct):
            continue
        chosen = ", ".join(
            f"{{ when = {{ column = {quoted(other.name)}, is = {text} }}, then = {{ const = {text} }} }}"
            for text in map(quoted, said)
        )
        why = "it says which deals are won or lost"
        sheet.done(other, "deal.stage", "medium", why)
        sheet.ask(other, f"{why}: these stand in the stages {', '.join(map(quoted, said))}")
        return {"value": f"{{ choose = [{chosen}], else = {quoted(seen.name)} }}", "closed": tuple(said)}
    return {}


def closing(sheet: Sheet) -> None:
    """Read when a deal was closed from two columns, one of deals won and one of deals lost."""
    dates = [seen for seen in sheet.left if seen.kind == "date"]
    won = next((seen for seen in dates if is_called(seen.name, WON_ON, "deal")), None)
    lost = next((seen for seen in dates if is_called(seen.name, LOST_ON, "deal")), None)
    others = [seen for seen in dates if seen not in (won, lost) and called(seen.name, "closed_at", "deal") is not None]
    if "closed_at" in sheet.taken or others or lost is None:
        return
    given = [won, lost] if won is not None else [lost]
    if len({seen.format for seen in given}) > 1:
        sheet.ask(lost, "it says when deals were closed, too, and its dates are written in another way")
        return
    why = "whichever is filled"
    value = f"{{ first = {texts(seen.name for seen in given)} }}"
    form = quoted(lost.format) if lost.format else ""
    sheet.put("closed_at", source(lost.name, value=value, format=form), f"high: {why}")
    if won is not None and (both := sum(all(pair) for pair in sheet.pairs(won, lost))):
        sheet.ask(lost, f"{both:,} rows have {quoted(won.name)} as well, which counts")
    for seen in given:
        sheet.done(seen, "deal.closed_at", "high", why)


def expected_closing(sheet: Sheet) -> None:
    """Take the closing day of deals in open stages for the expected one, as Salesforce has both in one column."""
    found = {path: source for path, source, _ in sheet.main.fields}
    if "expected_close_on" in found or "closed_at" not in found or "stage" not in found:
        return
    day, stage = column_of(found["closed_at"]), column_of(found["stage"])
    if not day or not stage:
        return
    kinds = {each.name: each.kind for pipeline in sheet.crm.pipelines.values() for each in pipeline.stages}
    kinds |= {each["name"]: each["kind"] for made in sheet.out.pipelines.values() for each in made["stages"]}
    words = next((guess.values for guess in sheet.out.guesses if guess.column == stage), {})
    at, beside = sheet.place_of(stage), sheet.place_of(day)
    rows = [(row[at].strip(), bool(row[beside].strip())) for row in sheet.rows]
    still_open = {name: None for name, _ in rows if kinds.get(words.get(name, name)) == "open"}
    count = sum(name in still_open and is_given for name, is_given in rows)
    if not count:
        return
    read = found["closed_at"] if found["closed_at"].startswith("{") else f"{{ column = {found['closed_at']} }}"
    for path, condition in (("closed_at", "not"), ("expected_close_on", "is")):
        when = f"{{ column = {quoted(stage)}, {condition} = {texts(still_open)} }}"
        said = f"{read[:-1].rstrip()}, when = {when} }}"
        remark = f"medium: {'where the stage is a closed one' if condition == 'not' else 'where the deal is open'}"
        if path in found:
            place = next(index for index, field in enumerate(sheet.main.fields) if field[0] == path)
            sheet.main.fields[place] = (path, said, remark)
        else:
            sheet.put(path, said, remark)
    rows_told = "1 deal" if count == 1 else f"{count:,} deals"
    sheet.out.questions.append(
        f"column {quoted(day)}: of {rows_told} in open stages it is taken for the day on which they are expected to "
        "close"
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


def proposed_stages(names: Sequence[str]) -> list[dict[str, str]]:
    """Propose the stages of a pipeline in order, their kinds guessed from their words.

    >>> [(each["name"], each["kind"]) for each in proposed_stages(["Lost", "Offer", "New", "Won"])]
    [('New', 'open'), ('Offer', 'open'), ('Won', 'won'), ('Lost', 'lost')]
    """
    said = {value: stage_called(value) for value in names}
    if any(guess.kind == "won" and guess.sure for guess in said.values()):  # "closed" beside "won" is over, not won
        over = {value: StageGuess("lost", 9.0, sure=False) for value, guess in said.items() if _is_over(guess)}
        said |= over
    numbered = _numbered(names)
    ranked = sorted(
        (numbered.get(value, guess.rank) if guess.kind == "open" else guess.rank * 1_000, at, value, guess.kind)
        for at, (value, guess) in enumerate(said.items())
    )
    count = sum(kind == "open" for *_, kind in ranked)
    made, place = [], 0
    for _, _, value, kind in ranked:
        place += kind == "open"
        probability = {"won": "1", "lost": "0"}.get(kind) or f"{place / (count + 1):.2f}"
        made.append({"name": value, "kind": kind, "probability": probability})
    return made


def _is_over(guess: StageGuess) -> bool:
    return guess.kind == "won" and not guess.sure


def _numbered(values: Sequence[str]) -> Mapping[str, float]:
    """Return the numbers with which the names of stages begin ("2. Offer"), where most of them do."""
    found = {value: float(first) for value in values if (first := next(iter(tokens(value)), "")).isdecimal()}
    return found if 2 * len(found) > len(values) and len(set(found.values())) == len(found) else {}
