"""Writes a mapping from a file's own content: what each column seems to be, with a confidence beside each guess.

The mapping can be used as it is. What nobody can know stands in `questions`, and in its first lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.extend import BadRow, Importer, Source, SourceRow
from crm_core.records import RecordType
from crm_transfer.doubtful import only_failed
from crm_transfer.errors import FileFault
from crm_transfer.failed import failure_of
from crm_transfer.filldown import fill
from crm_transfer.guess.asides import find_asides
from crm_transfer.guess.columns import Seen, look_at, with_one_form
from crm_transfer.guess.drafting import Draft, Guess
from crm_transfer.guess.encodings import EncodingGuess, guess_encoding, misread
from crm_transfer.guess.header import HeaderGuess, guess_header
from crm_transfer.guess.keys import KeyGuess, guess_key
from crm_transfer.guess.lines import find_lines
from crm_transfer.guess.nested import find_nested
from crm_transfer.guess.orders import draft_orders
from crm_transfer.guess.outline import Outline, find_outline
from crm_transfer.guess.records import draft_records
from crm_transfer.guess.systems import system_of
from crm_transfer.guess.toml import listed, texts
from crm_transfer.names import Labels
from crm_transfer.opening import importer_for, open_source
from crm_transfer.toml import quoted
from crm_transfer.update import is_export

_SAMPLE: Final = 50_000
"""How many rows are looked at: all of them in most files."""
_LOOKED_AT: Final = 200
_TEXTS: Final = frozenset({"csv", "jsonl"})


@attrs.frozen(kw_only=True)
class Suggestion:
    """A suggested mapping as TOML, and the guesses behind it; `questions` are what a person has to decide."""

    toml: str
    type: str
    seen: int
    total: int
    file: Mapping[str, Any]
    key: KeyGuess
    columns: tuple[Guess, ...]
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]] = attrs.field(factory=dict)
    pipelines: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    questions: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "mapping": self.toml,
            "type": self.type,
            "rows_seen": self.seen,
            "rows": self.total,
            "file": dict(self.file),
            "key": attrs.asdict(self.key),
            "columns": [attrs.asdict(guess) for guess in self.columns],
            "fields": self.fields,
            "pipelines": self.pipelines,
            "questions": list(self.questions),
        }


def suggest_mapping(
    crm: CRM, type_name: str, path: Path, *, encoding: str | None = None, sheet: str | None = None, format_: str = ""
) -> str:
    """Return the TOML of a suggested mapping; see `suggest`."""
    return suggest(crm, type_name, path, encoding=encoding, sheet=sheet, format_=format_).toml


def suggest(
    crm: CRM, type_name: str, path: Path, *, encoding: str | None = None, sheet: str | None = None, format_: str = ""
) -> Suggestion:
    """Suggest a mapping for a file whose rows make records of `type_name`.

    An export of ours gets a mapping that matches rows by id. `encoding` is declared where the file is not UTF-8; else
    it is guessed, and said so.

    A format that knows what its columns mean says so itself; `format_` names it where the file does not show it, and
    `sheet` the sheet of a spreadsheet.

    Raises:
        FileFault: the file as a whole cannot be imported.
        UsageError: there is no such record type.
    """
    kind = crm.registry.named(type_name)
    importer = importer_for(crm, path, format_)
    source, guessed, header = _open(importer, path, {"encoding": encoding, "sheet": sheet})
    if importer.mapping is not None:
        return _brought(kind.name, importer, source, importer.mapping(source.columns))
    found = list(islice(source.rows, _SAMPLE))
    nested = find_nested(source.columns, found)
    outline = Outline() if nested.shared else find_outline(source.columns, found)
    found = list(fill(found, nested.places or outline.places))
    whole = [row for row in found if isinstance(row, SourceRow) or only_failed(row)]
    whole = [row for row in whole if row.number not in outline.others]
    rows = [row.cells for row in whole]
    head, file = _file_lines(importer, source, guessed, encoding, header)
    if is_export(source.columns):
        return _of_export(crm, kind, path, source, head, file)
    seen = len(rows)
    asides = find_asides(source.columns, rows, [row.number for row in whole], is_whole=len(found) == source.total)
    kept = [row for at, row in enumerate(whole) if at not in asides.places]
    rows = [row.cells for row in kept]
    columns = _look(source.columns, rows)
    lines = find_lines(columns, rows) if kind.name == "sale" else None
    rules = [*(nested.filled() if lines is not None else []), *outline.filled(), *asides.lines, *outline.left_out()]
    if nested.shared and lines is None:
        rows = [[row.cells[at] for at in nested.places] for row in kept if row.number not in nested.going_on]
        columns, rules = _look(nested.shared, rows), [*asides.lines, *nested.left_out()]
    of_people = kind.name not in ("sale", "deal", "interaction")
    key = guess_key(columns, rows, of_people=of_people) if lines is None else lines.key
    system, lasts = system_of(path.stem, kind.plural, key, columns)
    if lines is not None:
        draft = draft_orders(crm, lines, columns, system)
    else:
        draft = draft_records(crm, kind, columns, key, system, rows)
    questions = [
        *_encoding_question(guessed),
        *_misread_question(source.columns, rows),
        *_header_question(header),
        *_unread(found),
        *asides.questions,
        *outline.questions(),
        *([nested.question(source.columns)] if nested.shared and lines is None else []),
        *_failed(columns, draft),
        *([key.advice] if key.advice else []),
        *(f"column {quoted(each.name)}: {each.doubt}" for each in columns if each.name in key.columns and each.doubt),
        *draft.questions,
    ]
    return Suggestion(
        toml=_written(path, source, seen, [*head, _system_line(system, lasts), *rules], draft, questions),
        type=kind.name,
        seen=seen,
        total=source.total,
        file=file,
        key=key,
        columns=tuple(draft.guesses),
        fields=draft.fields,
        pipelines=draft.pipelines,
        questions=tuple(questions),
    )


def _brought(type_name: str, importer: Importer, source: Source, text: str) -> Suggestion:
    """Return the mapping that a format brings: it knows what its columns mean, so nothing is guessed."""
    return Suggestion(
        toml=text,
        type=type_name,
        seen=0,
        total=source.total,
        file={"format": importer.name},
        key=KeyGuess((), "high", "the format says it"),
        columns=(),
    )


def _open(
    importer: Importer, path: Path, given: Mapping[str, str | None]
) -> tuple[Source, EncodingGuess | None, HeaderGuess | None]:
    """Open a file below its titles, in the encoding that is given, that it shows, or that is guessed."""
    options = {name: value for name, value in given.items() if value}
    try:
        return _opened(importer, path, options, None)
    except FileFault:
        guessed = None if "encoding" in options or importer.name not in _TEXTS else guess_encoding(path)
        if guessed is None:
            raise
    return _opened(importer, path, {**options, "encoding": guessed.name}, guessed)


def _opened(
    importer: Importer, path: Path, options: Mapping[str, Any], guessed: EncodingGuess | None
) -> tuple[Source, EncodingGuess | None, HeaderGuess | None]:
    header = guess_header(importer.name, path, options)
    said: dict[str, Any] = {}
    if header is not None:
        said = {"header": header.row, "columns": list(header.columns)}
    return open_source(importer, path, {**options, **{k: v for k, v in said.items() if v}}), guessed, header


def _look(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Seen]:
    return with_one_form([look_at(name, [row[at] for row in rows]) for at, name in enumerate(names)])


def _header_question(header: HeaderGuess | None) -> list[str]:
    if header is None:
        return []
    if not header.row:
        return [f"{header.why} ({header.confidence}): name them in [file] columns, and where the columns are used"]
    asked = []
    if header.confidence != "high":
        shown = ", ".join(map(quoted, header.names[:5]))
        asked.append(f"row {header.row} is taken for the names of the columns ({header.confidence}): {shown}; is it?")
    if header.columns:
        plain = {" ".join(name.split()) for name in header.names}
        again = ", ".join(quoted(name) for name in header.columns if name not in plain)
        told = f"columns whose names alone do not tell them apart are now called: {again}; [file] columns names all"
        asked += [told] if again else []
    return asked


def _system_line(system: str, lasts: str) -> str:
    what = (
        f"the name of the source, {lasts}" if lasts else "the name of the source: with the key it tells records apart"
    )
    return f"system = {quoted(system)}  # {what}"


def _unread(found: Sequence[SourceRow | BadRow]) -> list[str]:
    """Tell the rows that cannot be read whatever the mapping says."""
    bad = [row for row in found if isinstance(row, BadRow) and not only_failed(row)]
    if not bad:
        return []
    where = f"row {bad[0].number}" + (f", column {quoted(bad[0].column)}" if bad[0].column else "")
    rows = "row" if len(bad) == 1 else "rows"
    return [f"{len(bad):,} {rows} will be rejected as they stand; the first is {where}: {bad[0].message}"]


def _failed(columns: Sequence[Seen], draft: Draft) -> list[str]:
    """Tell the columns with formulas that have no value: what becomes of their rows, or that they are left out."""
    read = {guess.column for guess in draft.guesses if guess.target}
    told = []
    for seen in columns:
        if not seen.failed:
            continue
        shown = ", ".join(dict.fromkeys(seen.failed))
        bad = failure_of(seen.failed[0])
        way = bad.message if bad is not None and bad.rule == "formula" else f"shows {shown}: a formula failed there"
        if seen.name in read:
            rows = "row" if len(seen.failed) == 1 else "rows"
            said = (
                f"{len(seen.failed):,} {rows} will be rejected, since the cell {way}; "
                f"if it means that nothing is known, say so: null_if = {texts(dict.fromkeys(seen.failed))}"
            )
        elif seen.kind == "empty":
            said = f"it is left out, since its cell {way}"
        else:
            continue
        told.append(f"column {quoted(seen.name)}: {said}")
    return told


def _encoding_question(guessed: EncodingGuess | None) -> list[str]:
    if guessed is None:
        return []
    shown = ", ".join(guessed.examples)
    other = f"; as {guessed.rival} they were {', '.join(guessed.others)}" if guessed.rival else ""
    return [f"the encoding is guessed ({guessed.confidence}: {guessed.name}); are these words right: {shown}{other}"]


def _misread_question(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    found = misread([*columns, *(cell for row in rows[:_LOOKED_AT] for cell in row)])
    if found is None:
        return []
    name, text, meant = found
    return [
        f"the letters are garbled: an earlier program took UTF-8 for {name}, and wrote {text[:40]!r} for "
        f"{meant[:40]!r}; export the file again as UTF-8, else they come in so"
    ]


def _file_lines(
    importer: Importer,
    source: Source,
    guessed: EncodingGuess | None,
    declared: str | None,
    header: HeaderGuess | None,
) -> tuple[list[str], dict[str, Any]]:
    """Return the lines of `[file]`, and the same as data."""
    lines, told = ["[file]", f"format = {quoted(importer.name)}"], dict[str, Any](format=importer.name)
    for option in ("encoding", "delimiter", "sheet"):
        if option in source.options:
            shown = str(source.options[option]).replace("\t", "tab")
            how = source.guesses.get(option, "declared")
            if option == "encoding" and (guessed is not None or declared):
                shown = guessed.name if guessed is not None else str(declared)
            if option == "encoding" and guessed is not None:
                how = f"{guessed.confidence}: guessed, {guessed.why}"
                told["encoding_confidence"] = guessed.confidence
            lines.append(f"{option} = {quoted(shown)}  # {how}")
            told[option] = shown
    if header is not None and header.row:
        lines.append(f"header = {header.row}  # {header.confidence}: {header.why}")
        told |= {"header": header.row, "header_confidence": header.confidence}
    if header is not None and header.columns:
        how = "high: names that differ, by place" if header.row else f"{header.confidence}: {header.why}"
        lines.append(f"columns = {texts(header.columns)}  # {how}")
        told["columns"] = list(header.columns)
    return lines, told


def _written(path: Path, source: Source, seen: int, head: Sequence[str], draft: Draft, questions: Sequence[str]) -> str:
    lines = [f"# Suggested for {path.name} from {seen:,} of {source.total:,} rows. Read it before you use it."]
    lines += [f"# To decide: {_one_line(question)}" for question in questions]
    given = [f"{name} = {value}" for name, value in draft.file.items()]
    at = next((at for at, line in enumerate(head) if not line), len(head))
    lines += ["", *head[:at], *given, *head[at:], ""]
    if draft.computed:
        lines += ["[columns]", *(f"{quoted(name)} = {value}" for name, value in draft.computed.items()), ""]
    lines += draft.tables
    for block in draft.blocks:
        lines += block.lines()
    lines += draft.checks
    for kind, named in draft.fields.items():
        for name, content in named.items():
            lines += [f"[fields.{kind}.{name}]", *(f"{key} = {_toml(value)}" for key, value in content.items()), ""]
    for name, content in draft.pipelines.items():
        lines += [
            f"[pipelines.{name}]  # medium: a pipeline for the stages of the file; check order, kinds, probabilities"
        ]
        lines += [f"label = {_toml(content['label'])}", f"on_won = {_toml(content['on_won'])}", "stages = ["]
        for stage in content["stages"]:
            lines.append("    { " + ", ".join(f"{key} = {_toml(value)}" for key, value in stage.items()) + " },")
        lines += ["]", ""]
    return "\n".join(_one_line(line) for line in lines)


def _toml(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else str(value)


def _one_line(text: str) -> str:
    """Keep a remark on one line: names of columns may hold anything."""
    return "".join(c if c.isprintable() else " " for c in text)


def _of_export(
    crm: CRM, kind: RecordType, path: Path, source: Source, head: list[str], file: dict[str, Any]
) -> Suggestion:
    """Write the mapping of an export of ours: rows are matched by id, and changed cells alone are written."""
    labels = Labels(crm, kind)
    at = set(source.columns)
    lines = [
        f"# Suggested for {path.name}, an export of {kind.plural}. Rows are matched by id; without a mapping:",
        f"#   crm import {kind.plural} {path.name} --update",
        "",
        *head,
        "update = true  # high: it has the columns id and version; changed cells alone are written",
        "",
        "[[record]]",
        f"type = {quoted(kind.name)}",
        'key = "id"  # high: the id that the export wrote',
        "[record.fields]",
    ]
    guesses = []
    for path_, field in kind.fields.items():
        spelt = f"ext.{path_}" if field.extension not in ("", "fields") else path_
        parted = [f"{path_}.amount", f"{spelt}.amount"] if field.declaration.kind == "money" else []
        name = next((name for name in (*parted, path_, spelt) if name in at), None)
        if name is None or field.declaration.derived:
            continue
        lines.append(f"{path_} = {listed([name])}")
        guesses.append(Guess(name, f"{kind.name}.{path_}", "high", "the column of the export"))
    beside = [name for name in source.columns if name in labels]
    if beside:
        lines.append(f"# names beside ids, read with them: {', '.join(beside)}")
    return Suggestion(
        toml="\n".join([*lines, ""]),
        type=kind.name,
        seen=0,
        total=source.total,
        file={**file, "update": True},
        key=KeyGuess(("id",), "high", "the id that the export wrote"),
        columns=tuple(guesses),
    )
