"""Bad input: every file of the corpus with its exact outcome, for a person and in `--json`.

A case is a table of `corpus/*.toml`. Its key names it; `file` lies in `corpus/files`, `mapping` in `corpus/mappings`,
with the lines of `form` added to its `[file]`; `before` is imported before it. Then either `fault`, which refuses the
file as a whole, or the counts of rows (read, created, updated, unchanged, rejected), what is told of the file and of
each rejected row, what is stored afterwards, the rejected rows as the reject file holds them, and `fix`: the texts that
somebody corrects in that file before it is imported again (none where it can be taken as it is), which makes `fixed`
rows, all of them if not said.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import sqlite3
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_core import CRM
from crm_core.cli.main import main
from crm_core.errors import NotFound, UndoRefused
from crm_transfer.importing import import_file
from crm_transfer.mapping import load_mapping, parse_mapping
from tests.databases import DATABASES, new_url

HERE = Path(__file__).parent / "corpus"
NAMES = HERE / "mappings" / "names.toml"
ERROR_COLUMNS = ["error_row", "error_column", "error_rule", "error_message"]
MARK = re.compile(r" \[as rejected: [0-9a-f]{12}\]$")
MARKED = {"duplicate", "columns", "header", "quotes", "nul", "json"}
COUNTS = ("read", "created", "updated", "unchanged", "rejected")
ERROR = ("row", "column", "value", "rule", "message")


@attrs.frozen
class Said:
    """What one run of `crm` said."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


def cases() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(HERE.glob("*.toml")):
        if path.name != "crm.toml":
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
            assert not found.keys() & tables.keys(), f"{path.name} repeats the name of a case"
            found |= tables
    return found


CASES = cases()


@pytest.fixture(scope="session")
def empty_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose database is made: each case begins with a copy of it."""
    folder = tmp_path_factory.mktemp("corpus") / "ws"
    folder.mkdir()
    shutil.copy(HERE / "crm.toml", folder)
    with CRM.open(folder):
        pass
    return folder


@pytest.fixture
def folder(tmp_path: Path, empty_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(empty_workspace, tmp_path / "ws")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def crm(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> Said:
        capsys.readouterr()
        code = main(["-w", "ws", *arguments])
        found = capsys.readouterr()
        assert "Traceback" not in found.out + found.err
        return Said(code, found.out, found.err)

    return call


def database(folder: Path) -> str:
    """Return a hash of all that the database holds, the ledger included."""
    with sqlite3.connect(folder / "ws" / "crm.db") as connection:
        told = "\n".join(connection.iterdump())
    connection.close()
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def prepare(folder: Path, case: dict[str, Any], crm: Call) -> list[str]:
    """Lay the file and the mapping of a case in the folder, import what was `before`; return the import's arguments."""
    shutil.copy(HERE / "files" / case["file"], folder)
    if "before" in case:
        assert 0 == crm("import", "customers", str(HERE / "files" / case["before"]), "--map", str(NAMES)).code
    mapping = mapping_of(case)
    (folder / "m.toml").write_text(mapping, encoding="utf-8")
    makes = re.search(r'^type = "(\w+)"', mapping, re.M)
    assert makes is not None
    return ["import", f"{makes[1]}s", case["file"], "--map", "m.toml"]


def mapping_of(case: dict[str, Any]) -> str:
    mapping = (HERE / "mappings" / f"{case.get('mapping', 'names')}.toml").read_text(encoding="utf-8")
    return mapping.replace("[file]\n", f"[file]\n{case.get('form', '')}\n", 1)


def report_of(said: Said) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(said.out)
    for counts in [report, *report["types"].values(), *report["files"]]:
        assert counts["read"] == sum(counts[status] for status in COUNTS[1:])
    return report


def outcome(report: dict[str, Any]) -> dict[str, Any]:
    """Return what a dry run must say as the real one does."""
    own = ("operation", "dry_run", "rejects_file", "files")
    files = [{key: value for key, value in file.items() if key != "rejects_file"} for file in report["files"]]
    return {**{key: value for key, value in report.items() if key not in own}, "files": files}


def fault_of(said: Said) -> dict[str, Any]:
    assert "" == said.out
    *_, last = said.err.splitlines()
    error: dict[str, Any] = json.loads(last)["error"]
    return error


def told_of(field: Any, record: Any, names: dict[int, Any]) -> Any:
    value = field.of(record)
    return names[value] if value is not None and field.declaration.references else field.codec.show(value)


def stored(opened: CRM) -> dict[str, list[dict[str, Any]]]:
    """Return what the records say, in the order in which they were made; a reference is told by a name."""
    found: dict[str, list[dict[str, Any]]] = {}
    names: dict[int, Any] = {}
    for name, kind in opened.registry.types.items():
        if kind.declaration.internal:
            continue
        records = sorted(opened.records(name).iterate(), key=lambda record: record.id)
        names |= {record.id: getattr(record, "name", None) for record in records}
        told = [{path: told_of(field, record, names) for path, field in kind.fields.items()} for record in records]
        if told:
            found[name] = [{path: value for path, value in each.items() if value not in (None, [])} for each in told]
    return found


def rejects_of(report: dict[str, Any]) -> tuple[list[Any], list[list[str]]]:
    """Return the rows of the reject file as its own form says, and beside them what it says is wrong with each."""
    if report["rejects_file"] is None:
        return [], []
    path = Path(report["rejects_file"])
    if path.suffix == ".jsonl":
        objects = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        wrong = [[found.pop(name, "") for name in ERROR_COLUMNS] for found in objects]
        return [json.dumps(found) for found in objects], wrong
    told = " ".join(report["files"][0]["notes"])
    marks = ((": semicolon", ";"), (": tab", "\t"), ("spaces", "\t"), (": bar", "|"))
    declared = re.search(r"encoding: (\S+) \(declared\)", told)
    text = path.read_bytes().decode(declared[1] if declared else "utf-8-sig")
    delimiter = next((sign for word, sign in marks if word in told), ",")
    header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    assert ERROR_COLUMNS == header[-4:]
    return [row[:-4] for row in rows], [row[-4:] for row in rows]


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "fault" in case])
def test_a_file_that_is_refused_says_why_and_writes_nothing(name: str, folder: Path, crm: Call) -> None:
    case = CASES[name]
    arguments = prepare(folder, case, crm)
    before, there = database(folder), sorted(folder.iterdir())
    fault = case["fault"]
    place = {} if "type" in fault else {"file": case["file"], "row": None, "column": "", "value": ""}
    expected = {"type": "FileFault", "exit_code": case.get("exit", 1), **place, **fault}
    for more in (["--dry-run"], []):
        said = crm(*arguments, *more, "--json")
        assert (expected["exit_code"], expected) == (said.code, fault_of(said))
        told = crm(*arguments, *more)
        assert (expected["exit_code"], "") == (told.code, told.out)
        assert f"error: {expected['message']}\nhint: {expected['hint']}\n" == told.err
    assert (before, there) == (database(folder), sorted(folder.iterdir()))


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "fault" not in case])
def test_the_rows_of_a_file_are_taken_or_refused_by_name(name: str, folder: Path, crm: Call) -> None:
    case = CASES[name]
    arguments = prepare(folder, case, crm)
    before, there = database(folder), sorted(folder.iterdir())
    code = 3 if case["counts"][-1] else 0

    said = crm(*arguments, "--dry-run", "--json")
    dry = report_of(said)
    assert (code, "", None) == (said.code, said.err, dry["rejects_file"])
    assert case["counts"] == [dry[status] for status in COUNTS]
    errors = [dict(zip(("file", *ERROR), (case["file"], *error), strict=True)) for error in case.get("errors", [])]
    assert errors == dry["errors"]
    assert case["notes"] == dry["files"][0]["notes"]

    told = crm(*arguments, "--dry-run")
    assert (code, "") == (told.code, told.err)
    for error in errors:
        column = f", column {error['column']!r}" if error["column"] else ""
        value = f": {error['value']!r}" if error["value"] else ":"
        line = f"rejected: {case['file']}, row {error['row']}{column}{value} {error['message']} [{error['rule']}]"
        assert line in told.out.splitlines()
    assert (before, there) == (database(folder), sorted(folder.iterdir()))

    real = report_of(crm(*arguments, "--json"))
    assert outcome(dry) == outcome(real)
    with CRM.open(folder / "ws") as opened:
        assert case.get("stored", {}) == stored(opened)
    rejects, wrong = rejects_of(real)
    assert case.get("rejects", []) == rejects
    marks = [(found[2], mark) for found in wrong for mark in MARK.findall(found[3])]
    assert [found[2] for found in wrong if found[2] in MARKED] == [rule for rule, _ in marks]
    wrong = [[*found[:3], MARK.sub("", found[3])] for found in wrong]
    assert [[str(e["row"]), e["column"], e["rule"], e["message"]] for e in errors] == wrong

    again = report_of(crm(*arguments, "--json"))
    assert (0, 0, case["counts"][-1]) == (again["created"], again["updated"], again["rejected"])


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "errors" in case])
def test_a_corrected_reject_file_is_imported_with_the_same_mapping(name: str, folder: Path, crm: Call) -> None:
    case = CASES[name]
    arguments = prepare(folder, case, crm)
    path = Path(report_of(crm(*arguments, "--json"))["rejects_file"])
    text = path.read_bytes()
    for wrong, right in case["fix"]:
        encoding = case.get("rejects_encoding", "utf-8")
        assert wrong.encode(encoding) in text
        text = text.replace(wrong.encode(encoding), right.encode(encoding))
    path.write_bytes(text)
    arguments[2] = str(path)
    said = crm(*arguments, "--json")
    report = report_of(said)
    assert (0, 0, []) == (said.code, report["rejected"], report["errors"])
    assert case.get("fixed", case["counts"][-1]) == report["created"] == report["read"]


@pytest.mark.parametrize("server", DATABASES[1:])
def test_a_server_takes_and_refuses_the_same_rows(server: str, tmp_path: Path) -> None:
    """All cases in one database, each taken back before the next one: making its tables takes longer than they do."""
    url = new_url(server, tmp_path)  # not one of another test: the workspace declares fields
    settings = (HERE / "crm.toml").read_text(encoding="utf-8").replace("sqlite:///crm.db", url)
    (tmp_path / "crm.toml").write_text(settings, encoding="utf-8")
    with CRM.open(tmp_path) as opened:
        for name, case in CASES.items():
            if "fault" not in case:
                folder = tmp_path / name
                folder.mkdir()
                assert_same_rows(opened, case, Path(shutil.copy(HERE / "files" / case["file"], folder)))


def assert_same_rows(opened: CRM, case: dict[str, Any], path: Path) -> None:
    operations = []
    if "before" in case:
        operations.append(import_file(opened, HERE / "files" / case["before"], load_mapping(NAMES)).operation)
    report = import_file(opened, path, parse_mapping(mapping_of(case)), rejects=path.parent)
    told = report.to_json()
    assert case["counts"] == [told[status] for status in COUNTS], case["file"]
    errors = [dict(zip(("file", *ERROR), (case["file"], *error), strict=True)) for error in case.get("errors", [])]
    assert errors == told["errors"]
    assert case.get("stored", {}) == stored(opened)
    for operation in [report.operation, *operations]:
        if operation is not None and opened.ledger.get(operation).state != "undone":
            with suppress(NotFound, UndoRefused):  # it wrote nothing
                opened.ledger.undo(operation)
    assert {} == stored(opened)


def test_every_file_of_the_corpus_has_a_case() -> None:
    files = {path.name for path in (HERE / "files").iterdir()}
    mappings = {path.stem for path in (HERE / "mappings").iterdir()}
    assert files == {case[each] for case in CASES.values() for each in ("file", "before") if each in case}
    assert mappings == {case.get("mapping", "names") for case in CASES.values()}
