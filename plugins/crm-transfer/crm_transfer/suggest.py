"""Writes a mapping from a file's own content: what each column seems to be, with a confidence beside each guess.

The mapping can be used as it is. What nobody can know stands in `questions`, and in its first lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.extend import Importer, Source, SourceRow
from crm_core.records import RecordType
from crm_transfer.errors import FileFault
from crm_transfer.guess.columns import look_at, with_one_form
from crm_transfer.guess.encodings import EncodingGuess, guess_encoding
from crm_transfer.guess.keys import KeyGuess, guess_key
from crm_transfer.guess.records import Draft, Guess, draft_records
from crm_transfer.guess.toml import listed
from crm_transfer.names import Labels
from crm_transfer.opening import importer_for, open_source
from crm_transfer.toml import quoted
from crm_transfer.update import is_export

_SAMPLE: Final = 50_000
"""How many rows are looked at: all of them in most files."""
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
    source, guessed = _open(importer, path, {"encoding": encoding, "sheet": sheet})
    if importer.mapping is not None:
        return _brought(kind.name, importer, source, importer.mapping(source.columns))
    rows = [row.cells for row in islice((r for r in source.rows if isinstance(r, SourceRow)), _SAMPLE)]
    head, file = _file_lines(importer, source, guessed, encoding)
    if is_export(source.columns):
        return _of_export(crm, kind, path, source, head, file)
    columns = with_one_form([look_at(name, [row[at] for row in rows]) for at, name in enumerate(source.columns)])
    key = guess_key(columns, rows)
    draft = draft_records(crm, kind, columns, key, _system(path), len(rows))
    questions = [*_encoding_question(guessed), *([key.advice] if key.advice else []), *draft.questions]
    return Suggestion(
        toml=_written(path, source, len(rows), head, draft, questions),
        type=kind.name,
        seen=len(rows),
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


def _open(importer: Importer, path: Path, given: Mapping[str, str | None]) -> tuple[Source, EncodingGuess | None]:
    options = {name: value for name, value in given.items() if value}
    try:
        return open_source(importer, path, options), None
    except FileFault:
        guessed = None if "encoding" in options or importer.name not in _TEXTS else guess_encoding(path)
        if guessed is None:
            raise
    return open_source(importer, path, {**options, "encoding": guessed.name}), guessed


def _encoding_question(guessed: EncodingGuess | None) -> list[str]:
    if guessed is None:
        return []
    shown = ", ".join(guessed.examples)
    return [f"the encoding is guessed ({guessed.confidence}: {guessed.name}); are these words right: {shown}"]


def _file_lines(
    importer: Importer, source: Source, guessed: EncodingGuess | None, declared: str | None
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
    return lines, told


def _written(path: Path, source: Source, seen: int, head: Sequence[str], draft: Draft, questions: Sequence[str]) -> str:
    lines = [f"# Suggested for {path.name} from {seen:,} of {source.total:,} rows. Read it before you use it."]
    lines += [f"# To decide: {_one_line(question)}" for question in questions]
    lines += ["", *head]
    lines += [f"system = {quoted(_system(path))}  # the name of the source: with the key it tells records apart", ""]
    for block in draft.blocks:
        lines += block.lines()
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


def _system(path: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", path.name.split(".")[0].lower()).strip("-") or "import"


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
