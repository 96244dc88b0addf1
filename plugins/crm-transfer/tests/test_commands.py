from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM
from crm_core.cli.main import main
from crm_core.settings import write_settings
from crm_core.values import format_id
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.run import Run
from crm_transfer.suggest import suggest_mapping

MAPPING = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
city = "city"
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_settings(tmp_path / "ws", storage_url="sqlite:///crm.db", currency="EUR")
    (tmp_path / "m.toml").write_text(MAPPING, encoding="utf-8")
    (tmp_path / "p.csv").write_text("no,name,city\n1,Ada,London\n2,سارا,تهران\n,Nobody,\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def crm(*arguments: str) -> int:
    return main(["-w", "ws", *arguments])


def test_an_import_reports_in_json_and_ends_with_3_when_rows_were_rejected(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 3 == crm("import", "customers", "p.csv", "--map", "m.toml", "--json")
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    expected = {"read": 3, "created": 2, "updated": 0, "unchanged": 0, "rejected": 1}
    assert expected == {key: report[key] for key in expected}
    assert expected == report["types"]["customer"]
    assert ["file", "row", "column", "value", "rule", "message"] == list(report["errors"][0])
    assert Path(report["rejects_file"]).is_file()
    assert 13 == len(report["operation"])


def test_an_import_tells_a_person_what_happened_and_how_to_take_it_back(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    told = capsys.readouterr().out
    assert "p.csv: 3 rows read = 2 created, 0 updated, 0 unchanged, 1 rejected" in told
    assert "rejected: p.csv, row 4, column 'no': is empty, so the customer has no key" in told
    assert "crm ledger undo " in told


def test_a_dry_run_says_that_nothing_was_written(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 3 == crm("import", "customers", "p.csv", "--map", "m.toml", "--dry-run")
    assert "nothing was written" in capsys.readouterr().out
    assert 0 == crm("export", "customers", "--columns", "name")
    assert "name\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["customers", "p.csv"], 2, "--suggest"),
        (["customers", "--map", "m.toml"], 2, "name the record type and the file"),
        (["deals", "p.csv", "--map", "m.toml"], 2, "makes no deals"),
        (["customers", "none.csv", "--map", "m.toml"], 1, "there is no such file"),
        (["customers", "p.csv", "--map", "none.toml"], 2, "cannot be read"),
        (["--plan", "m.toml"], 2, "'record' is not known"),
        (["--resume", "NOSUCHOPERATN"], 1, "no operation"),
        (["customers", "p.csv", "--map", "m.toml", "--plan", "x.toml"], 2, "one of them"),
    ],
)
def test_bad_use_gets_good_words(
    workspace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    assert code == crm("import", *arguments)
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_an_export_streams_to_a_file_in_the_format_of_its_name(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    assert 0 == crm("export", "customers", "--where", 'name = "Ada"', "-o", "out.jsonl")
    lines = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [("t:1", "Ada", "London", None)] == [(x["external_id"], x["name"], x["city"], x["owner_id"]) for x in lines]
    assert 2 == crm("export", "customers", "--columns", "shoe_size")
    assert 2 == crm("export", "customers", "--format", "pdf")


def test_with_json_an_export_is_one_array_on_standard_output(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    capsys.readouterr()
    assert 0 == crm("export", "customers", "--sort", "name", "--json")
    records = json.loads(capsys.readouterr().out)
    assert [("Ada", "London"), ("سارا", "تهران")] == [(record["name"], record["city"]) for record in records]
    assert 0 == crm("export", "customers", "--where", 'name = "Nobody"', "--json")
    assert [] == json.loads(capsys.readouterr().out)
    assert 0 == crm("export", "customers", "--sort", "name", "--json", "--format", "jsonl")
    assert records == [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_with_json_an_export_to_a_file_prints_a_summary(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    capsys.readouterr()
    assert 0 == crm("export", "customers", "--columns", "name", "-o", "out.csv", "--json")
    assert {"type": "customers", "file": "out.csv", "written": 2} == json.loads(capsys.readouterr().out)
    assert Path("out.csv").read_text(encoding="utf-8").startswith("name")


@pytest.mark.parametrize("dry_run", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("folder", "told"), [("رد", "there is no such folder"), ("p.csv", "is no folder"), ("p.csv/x", "no such folder")]
)
def test_a_folder_for_rejects_that_is_not_there_is_told_before_the_first_write(
    workspace: Path, capsys: pytest.CaptureFixture[str], folder: str, told: str, dry_run: list[str]
) -> None:
    crm("customers", "add", "Before")
    Path("field.toml").write_text(MAPPING + '[fields.customer.size]\ntype = "integer"\n', encoding="utf-8")
    crm("export", "customers", "-o", "out.csv")
    Path("plan.toml").write_text('[[file]]\nfile = "p.csv"\nmap = "m.toml"\n', encoding="utf-8")
    before, settings = sorted(workspace.rglob("*")), Path("ws/crm.toml").read_text(encoding="utf-8")
    capsys.readouterr()
    for given in (
        ["customers", "p.csv", "--map", "field.toml"],
        ["customers", "out.csv", "--update"],
        ["--plan", "plan.toml"],
    ):
        assert 1 == crm("import", *given, "--rejects", folder, *dry_run)
        said = capsys.readouterr()
        assert "" == said.out
        assert f"--rejects {folder}: " in said.err
        assert f"{told}; nothing was imported" in said.err
    assert (before, settings) == (sorted(workspace.rglob("*")), Path("ws/crm.toml").read_text(encoding="utf-8"))
    assert 0 == crm("export", "customers", "--columns", "name")
    assert "name\nBefore\n" == capsys.readouterr().out


SHEETS = {
    "customers": "Customer No;Full name;Country;E-mail;Phone;Created;Shoe size\n"
    "007;Ada Lovelace;GB;ada@example.org;+44 20 1234567;31/12/2024;38\n"
    "008;سارا کاظمی;IR;sara@example.org;+98 21 1234567;01/02/2025;40\n",
    "deals": 'id,title,value,close date,stage\n1,Licence,"1,200.50",2026-01-31,won\n2,Support,300,,new\n',
    "sales": "date\ttotal\n2026-01-31\t12.50\n2026-01-31\t12.50\n",
    "interactions": "time,text\n2026-01-31 10:00,Hello\n2026-02-01 11:30,Bye\n",
}


@pytest.mark.parametrize("type_name", list(SHEETS))
def test_a_suggested_mapping_can_be_used_as_it_is(tmp_path: Path, type_name: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(SHEETS[type_name], encoding="utf-8")
    with CRM.open("memory:") as opened:
        text = suggest_mapping(opened, type_name, path)
        report = import_file(opened, path, parse_mapping(text))
        rejected = 1 if type_name == "sales" else 0  # two equal rows, and nothing to tell them apart
        assert (2 - rejected, rejected) == (report.counts.created, report.counts.rejected), text
        if type_name == "customers":
            ada = next(opened.customers.iterate('name = "Ada Lovelace"'))
            assert ("GB", "2024-12-31") == (ada.country, str(ada.first_contact_at))
            assert 4 == opened.contact_points.count()
            assert "# fields.shoe_size" in text
        if type_name == "deals":
            assert {"1,200.50 EUR", "300.00 EUR"} == {str(deal.amount) for deal in opened.deals.iterate()}


def test_a_file_in_another_encoding_gets_a_guess_or_the_one_that_is_named(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["007;Müller & Söhne;8 (495) 123-45-67;1.234,50", "008;Weiß;8 (495) 123-45-68;2,00"]
    sheet = "\n".join(["Kundennr;Firma;Telefon;Umsatz", *rows, ""])
    (workspace / "k.csv").write_text(sheet, encoding="windows-1252")
    assert 0 == crm("import", "--suggest", "customers", "k.csv")
    guessed = capsys.readouterr()
    assert 'encoding = "windows-1252"  # ' in guessed.out
    assert "the encoding is guessed" in guessed.err
    assert 0 == crm("import", "--suggest", "customers", "k.csv", "--encoding", "windows-1252")
    (workspace / "k.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert 0 == crm("import", "customers", "k.csv", "--map", "k.toml")
    with CRM.open(workspace / "ws") as opened:
        assert {"Müller & Söhne", "Weiß"} == {customer.name for customer in opened.customers.iterate()}
        assert 2 == opened.contact_points.count()


def test_a_column_that_nearly_tells_rows_apart_is_a_better_key_than_whole_rows(tmp_path: Path) -> None:
    rows = "".join(f'Name {n},n{n}@example.org,"two\nlines"\n' for n in range(20))
    path = tmp_path / "sheet.csv"
    path.write_text(f"Name,Email,Notes\n{rows}Name 3,n3@example.org,ok\n", encoding="utf-8")
    with CRM.open("memory:") as opened:
        report = import_file(opened, path, parse_mapping(suggest_mapping(opened, "customers", path)))
        assert (20, 1) == (report.counts.created, report.counts.rejected)
        assert ("duplicate", "n3@example.org") == (report.errors[0].rule, report.errors[0].value)


def test_a_column_of_short_texts_stands_for_a_name_that_none_is_called(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("id,wer\n1,Ada\n2,Grace\n", encoding="utf-8")
    with CRM.open("memory:") as opened:
        assert 'name = "wer"  # low' in suggest_mapping(opened, "customers", path)


@pytest.mark.database("sqlite")
@pytest.mark.skipif(os.name == "nt", reason="NOT RUN: no SIGINT for another process on this system")
def test_ctrl_c_leaves_an_import_that_can_be_finished(workspace: Path) -> None:
    lines = "".join(f"{n},Name {n},Rome\n" for n in range(60_000))
    (workspace / "big.csv").write_text("no,name,city\n" + lines, encoding="utf-8")
    command = [sys.executable, "-m", "crm_core", "-w", "ws", "import", "customers", "big.csv", "--map", "m.toml"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with CRM.open(workspace / "ws") as opened:
        for _ in range(600):
            if opened.customers.count() or running.poll() is not None:
                break
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
        assert 130 == running.returncode, told
        assert "crm import --resume " in told
        assert "Traceback" not in told
        assert 0 < opened.customers.count() < 60_000
        cut_off = opened.ledger.operations(limit=1)[0]
        assert "incomplete" == cut_off.state
    assert 0 == crm("import", "--resume", "last")
    with CRM.open(workspace / "ws") as opened:
        assert 60_000 == opened.customers.count()


@pytest.mark.database("sqlite")
def test_what_was_stopped_before_its_first_write_says_so(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "_chunks", stop)
        assert 130 == crm("import", "customers", "p.csv", "--map", "m.toml")
    told = capsys.readouterr().err
    assert "import p.csv was stopped before its first write: nothing was written" in told
    assert "undo" not in told
    assert 3 == crm("import", "customers", "p.csv", "--map", "m.toml")
    assert 0 == crm("ledger", "undo", "last")


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("update", [False, True])
def test_an_import_that_was_undone_is_not_gone_on_with_and_the_way_out_is_told(
    workspace: Path, capsys: pytest.CaptureFixture[str], update: bool
) -> None:
    given = "p.csv", "--map", "m.toml"
    crm("import", "customers", *given)
    if update:
        crm("export", "customers", "-o", "out.csv")
        text = Path("out.csv").read_text(encoding="utf-8").replace("London", "Bath")
        Path("out.csv").write_text(text, encoding="utf-8")
        assert 0 == crm("import", "customers", "out.csv", "--update")
    with CRM.open(workspace / "ws") as opened:
        operation = format_id(opened.ledger.operations(limit=1)[0].id)
    assert 2 == crm("import", "--resume", operation)
    assert "it is import, done" in capsys.readouterr().err
    assert 0 == crm("ledger", "undo", operation)
    capsys.readouterr()
    assert 2 == crm("import", "--resume", operation, "--json")
    told = json.loads(capsys.readouterr().err)
    assert "it is import, undone" in json.dumps(told)
    assert "import its file again" in json.dumps(told)
    with CRM.open(workspace / "ws") as opened:
        assert "undone" == opened.ledger.get(opened.ledger.resolve(operation)).state


def test_an_edited_export_is_recognised_shown_as_a_diff_and_written(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    crm("export", "customers", "-o", "out.csv")
    text = Path("out.csv").read_text(encoding="utf-8").replace("London", "Bath")
    Path("out.csv").write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert 0 == crm("import", "customers", "out.csv", "--dry-run")
    told = capsys.readouterr().out
    assert "Ada: city: 'London' → 'Bath'" in told
    assert "nothing was written" in told
    assert 0 == crm("import", "customers", "out.csv", "--update", "--json")
    report = json.loads(capsys.readouterr().out)
    assert {"read": 2, "created": 0, "updated": 1, "unchanged": 1, "rejected": 0}.items() <= report.items()
    (change,) = report["files"][0]["changes"]
    assert ("Ada", "city", "London", "Bath") == (change["name"], change["field"], change["old"], change["new"])
    assert 0 == crm("ledger", "undo", "last")
    with CRM.open(workspace / "ws") as opened:
        assert {"London", "تهران"} == {customer.city for customer in opened.customers.iterate()}


def test_a_clash_is_told_and_its_policy_can_be_given(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    crm("export", "customers", "-o", "out.csv")
    with CRM.open(workspace / "ws") as opened:
        ada = next(opened.customers.iterate('name = "Ada"'))
        opened.customers.edit(ada.evolve(city="York"))
    text = Path("out.csv").read_text(encoding="utf-8").replace("London", "Bath")
    Path("out.csv").write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert 0 == crm("import", "customers", "out.csv")
    told = capsys.readouterr().out
    assert "city: the file says 'Bath', changed since the export to 'York', it was 'London': kept as it is" in told
    assert "--conflict FIELD=overwrite" in told
    assert 0 == crm("import", "customers", "out.csv", "--conflict", "city=overwrite")
    assert "the file's is taken" in capsys.readouterr().out


def test_kept_fields_are_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    with CRM.open(workspace / "ws") as opened:
        opened.customers.edit(next(opened.customers.iterate('name = "Ada"')).evolve(city="York"))
    Path("p.csv").write_text("no,name,city\n1,Ada,Bath\n", encoding="utf-8")
    capsys.readouterr()
    assert 0 == crm("import", "customers", "p.csv", "--map", "m.toml")
    told = capsys.readouterr().out
    assert "1 fields kept as they are in the CRM, as their policy says: customer.city (1)" in told
    assert "customer city stays 'York'; the file: 'Bath', edited since the last import" in told
    assert 2 == crm("import", "customers", "p.csv", "--map", "m.toml", "--conflict", "mine")
    assert "there are: keep_edited, keep, overwrite, newest, fill" in capsys.readouterr().err
    assert 2 == crm("import", "--plan", "x.toml", "--conflict", "keep")


def test_a_suggested_mapping_of_an_export_makes_no_doubles(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crm("import", "customers", "p.csv", "--map", "m.toml")
    crm("export", "customers", "-o", "out.csv")
    capsys.readouterr()
    assert 0 == crm("import", "--suggest", "customers", "out.csv")
    mapping = capsys.readouterr().out
    assert 'key = "id"' in mapping
    Path("out.toml").write_text(mapping, encoding="utf-8")
    assert 0 == crm("import", "customers", "out.csv", "--map", "out.toml")
    with CRM.open(workspace / "ws") as opened:
        assert 2 == opened.customers.count()
