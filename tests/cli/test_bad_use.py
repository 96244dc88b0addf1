"""Bad use gets good words: an exit code, what failed, what to do next, nothing lost, and never a traceback."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crm_core.cli.main import main
from tests.cli.calling import Crm, Said, process


def refused(said: Said, code: int, *words: str) -> None:
    assert code == said.code, said
    assert any(line.startswith("error: ") for line in said.err.splitlines()), said
    assert "Traceback" not in said.out + said.err
    missing = [word for word in words if word.casefold() not in said.err.casefold()]
    assert [] == missing, said


def test_outside_of_a_workspace_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    refused(process("customers", "list", cwd=tmp_path), 2, "crm.toml", "hint: ", "crm init")


def test_an_unknown_command_suggests_the_nearest() -> None:
    refused(process("custmers"), 2, "custmers", "customers")


def test_a_group_without_a_command_says_so() -> None:
    refused(process("deals"), 2, "crm deals", "--help")


@pytest.mark.parametrize("group", ["users", "teams", "pipelines", "fields"])
def test_a_group_of_lists_lists_when_no_command_is_named(crm: Crm, group: str) -> None:
    assert crm(group, "list", "--json") == crm(group, "--json")
    assert f"Usage: crm {group} [OPTIONS]" in crm(group, "--help").out
    refused(crm(group, "nope"), 2, "nope")


def test_a_currency_that_does_not_exist_makes_no_workspace(tmp_path: Path) -> None:
    refused(process("init", "shop", "--currency", "ZZZ", cwd=tmp_path), 2, "ZZZ", "ISO 4217")
    assert [] == list(tmp_path.iterdir())


def test_a_database_that_is_gone_is_said_to_be_made_anew(crm: Crm) -> None:
    assert "" == crm("customers", "add", "Ada").err
    for path in crm.directory.glob("crm.db*"):
        path.unlink()
    said = crm("customers", "list")
    assert (0, True) == (said.code, "there was no database yet" in said.err)
    assert "crm.db" in said.err
    assert "" == crm("customers", "list").err


def test_the_last_operation_is_one_that_wrote_something(crm: Crm) -> None:
    (crm.directory / "c.csv").write_text("no,name\n1,Ada\n", encoding="utf-8")
    (crm.directory / "m.toml").write_text(
        '[file]\nsystem = "t"\n[[record]]\ntype = "customer"\nkey = "no"\n[record.fields]\nname = "name"\n',
        encoding="utf-8",
    )
    bring = ("import", "customers", str(crm.directory / "c.csv"), "--map", str(crm.directory / "m.toml"))
    assert (0, 0) == (crm(*bring).code, crm(*bring).code)
    assert "1 customer" in crm("ledger", "undo", "last", "--yes").out
    assert [] == json.loads(crm("customers", "list", "--json").out)


def test_a_plugin_may_be_named_by_its_distribution(crm: Crm) -> None:
    assert crm("plugins", "explain", "kpi") == crm("plugins", "explain", "crm-kpi")
    refused(crm("plugins", "explain", "crm-nope"), 1, "pip install crm-nope")


def test_an_unknown_option_is_usage() -> None:
    refused(process("customers", "list", "--wher", "x"), 2, "--wher", "--help")


def test_a_mistake_in_the_filter_is_usage_and_names_the_field(crm: Crm) -> None:
    refused(crm("customers", "list", "--where", 'cuntry = "DE"'), 2, "cuntry", "country")


def test_a_mistake_in_the_settings_names_file_and_key(crm: Crm) -> None:
    with (crm.directory / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write("[policies]\nactive_dayz = 3\n")
    refused(crm("customers", "list"), 2, "crm.toml", "active_dayz", "active_days")


def test_help_works_where_the_settings_have_a_mistake(crm: Crm) -> None:
    (crm.directory / "crm.toml").write_text("[crm", encoding="utf-8")
    assert 0 == crm.process("--help").code


def test_an_unknown_storage_scheme_lists_those_there_are_and_leaves_nothing(tmp_path: Path) -> None:
    said = process("init", "shop", "--storage", "oracle://x/y", cwd=tmp_path)
    refused(said, 2, "oracle", "sqlite", "hint: ")
    assert not (tmp_path / "shop" / "crm.toml").exists()


def test_a_broken_plugin_is_a_warning_and_the_command_goes_on(crm: Crm, tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "crm_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: crm-broken\nVersion: 1.0\nRequires-Dist: crm-core<0.2,>=0.1\n"
    )
    (info / "entry_points.txt").write_text("[crm_core.plugins]\nbroken = crm_broken.plugin:plugin\n")
    (site / "crm_broken").mkdir()
    (site / "crm_broken" / "__init__.py").write_text("")
    (site / "crm_broken" / "plugin.py").write_text("raise RuntimeError('half installed')\n")
    manifest = 'hook_api = 1\nhooks = ["register_pipelines"]\n[commands.broken]\nhelp = "Break."\n'
    manifest += 'target = "crm_broken.plugin:go"\n'
    (site / "crm_broken" / "crm-plugin.toml").write_text(manifest)
    said = crm.process("customers", "list", env={"PYTHONPATH": str(site)})
    assert 0 == said.code
    assert ["warning: "] == [line[:9] for line in said.err.splitlines()]
    assert "crm-broken 1.0" in said.err
    assert "half installed" in said.err
    refused(
        crm.process("broken", env={"PYTHONPATH": str(site)}),
        1,
        "'broken'",
        "crm_broken.plugin",
        "half installed",
        "hint: ",
    )


def test_own_hooks_that_cannot_be_loaded_are_an_error_since_the_settings_name_them(crm: Crm) -> None:
    (crm.directory / "bad.py").write_text("raise RuntimeError('no good')\n", encoding="utf-8")
    settings = crm.directory / "crm.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + '[plugins]\npaths = ["./bad.py"]\n', encoding="utf-8")
    refused(crm("customers", "list"), 1, "bad", "no good")


def test_a_plugin_that_the_settings_name_and_nobody_installed_is_an_error(crm: Crm) -> None:
    settings = crm.directory / "crm.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + '[plugins]\nenabled = ["storage-sql", "nope"]\n')
    refused(crm("customers", "list"), 1, "nope", "hint: ")


def test_the_command_of_a_missing_plugin_is_unknown(crm: Crm) -> None:
    refused(crm("loyalty", "list"), 2, "loyalty")


def test_a_file_that_is_no_database_is_refused_and_kept(crm: Crm) -> None:
    database = crm.directory / "crm.db"
    for file in crm.directory.glob("crm.db*"):
        file.unlink()
    database.write_text("Dear diary, this is not a database.\n" * 100, encoding="utf-8")
    before = database.read_bytes()
    refused(crm("customers", "list"), 1, "crm.db", "not a")
    assert before == database.read_bytes()


def test_a_database_of_a_newer_version_is_not_written_to(crm: Crm) -> None:
    with sqlite3.connect(crm.directory / "crm.db") as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        manifest = next(name for name in tables if "manifest" in name or "schema" in name)
        columns = [row[1] for row in database.execute(f"pragma table_info({manifest})")]
        for column in columns:
            database.execute(
                f"""update {manifest} set {column} = replace({column}, '"crm-core": "0.1.0"', '"crm-core": "99.0.0"')"""
            )
            database.execute(
                f"""update {manifest} set {column} = replace({column}, '"crm-core":"0.1.0"', '"crm-core":"99.0.0"')"""
            )
    database.close()
    refused(crm("customers", "add", "Ada"), 1, "99.0.0", "hint: ")


@pytest.mark.parametrize("held", ['{"tables": [{"na', "{}", "[]", "7"])
def test_a_database_whose_own_description_is_damaged_is_named(crm: Crm, held: str) -> None:
    with sqlite3.connect(crm.directory / "crm.db") as database:
        database.execute("update crm_manifest set json = ?", [held])
    database.close()
    for command in (["customers", "list"], ["storage", "status"], ["storage", "upgrade", "--dry-run"]):
        refused(crm(*command), 1, "damaged", "crm_manifest", "hint: ", "crm storage restore")


def test_a_moment_at_the_end_of_the_calendar_is_refused_before_it_breaks_a_list(crm: Crm) -> None:
    crm.ok("customers", "add", "Zoe")
    for at in ("0001-01-01T01:00Z", "9999-12-31T23:00-10:00", "9999-12-31T23:00Z"):
        refused(crm("interactions", "log", "Zoe", "a", "--at", at), 1, "occurred_at", "years 1 to 9999")
    assert [] == crm.ok("interactions", "list", "--json").json


def test_a_database_that_another_process_holds_is_named(crm: Crm) -> None:
    holder = sqlite3.connect(crm.directory / "crm.db", isolation_level=None)
    settings = crm.directory / "crm.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + "timeout = 0.2\n", encoding="utf-8")
    holder.execute("begin immediate")
    try:
        refused(crm("customers", "add", "Ada"), 1, "crm.db", "holds the database", "hint: ")
    finally:
        holder.execute("rollback")
        holder.close()
    assert 0 == crm("customers", "add", "Ada").code


def test_a_full_disk_is_said_and_nothing_is_half_written(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    crm.ok("customers", "add", "Ada")
    connect = sqlite3.connect

    def small(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.execute("pragma max_page_count = 1")  # SQLite makes it the size the file has now
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    refused(crm("interactions", "log", "Ada", "x" * 900, "body=" + "y" * 400_000), 1, "full", "hint: ")
    monkeypatch.undo()
    assert [] == crm.ok("interactions", "list", "--json").json
    assert 1 == len(crm.ok("customers", "list", "--json").json)


def test_an_ambiguous_name_lists_the_candidates(crm: Crm) -> None:
    first, second = (crm.ok("customers", "add", "Ada", "--json").json["id"] for _ in range(2))
    refused(crm("customers", "show", "Ada"), 1, first, second)


def test_a_stale_edit_is_refused(shop: Crm) -> None:
    shop.ok("customers", "edit", "ada@example.org", "city=London", "--if-version", "1")
    refused(shop("customers", "edit", "ada@example.org", "city=Paris", "--if-version", "1"), 1, "version 2", "hint: ")


def test_a_customer_that_others_point_at_is_not_deleted(shop: Crm) -> None:
    refused(shop("customers", "delete", "ada@example.org", "--yes"), 1, "deal")


def test_what_can_be_undone_is_not_asked_where_nobody_sits_and_its_input_is_left_alone(shop: Crm) -> None:
    sale = shop.ok("sales", "list", "--json").json[0]["id"]
    command = [sys.executable, "-m", "crm_core", "-w", str(shop.directory), "sales", "void", sale]
    script = '"$@" && cat'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *command], input="the rest of a list", capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("the rest of a list"), done
    assert shop.ok("sales", "list", "--json").json[0]["voided_at"] is not None
    shop.ok("ledger", "undo", "last")
    assert shop.ok("sales", "list", "--json").json[0]["voided_at"] is None


def test_with_json_the_error_is_json_on_standard_error(crm: Crm) -> None:
    said = crm("customers", "show", "nobody", "--json")
    assert (1, "") == (said.code, said.out)
    assert "NotFound" == said.error["type"]
    assert 1 == said.error["exit_code"]
    assert "nobody" in said.error["message"]


def test_usage_is_json_too_when_asked_for(crm: Crm) -> None:
    said = crm("customers", "list", "--limit", "many", "--json")
    assert (2, "") == (said.code, said.out)
    assert 2 == said.error["exit_code"]


def test_an_unexpected_error_is_one_line_and_debug_shows_where(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    import crm_core.cli.customers

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(crm_core.cli.customers, "list_records", broken)
    refused(crm("customers", "list"), 1, "ZeroDivisionError", "by nothing", "--debug")
    assert "Traceback" in crm("customers", "list", "--debug").err


def test_a_reader_that_stops_reading_is_no_error(shop: Crm) -> None:
    command = [sys.executable, "-m", "crm_core", "-w", str(shop.directory), "fields", "list"]
    for form, first in (([], "\n"), (["--json"], "[\n")):
        script = '{ "$@"; echo "code $?" >&2; } | head -1'
        done = subprocess.run(["sh", "-c", script, "sh", *command, *form], capture_output=True, text=True, check=False)
        assert (first, "code 0\n") == (done.stdout, done.stderr)


@pytest.mark.parametrize("command", [["customers", "list"], ["--version"], ["--json", "--version"]])
def test_a_full_disk_behind_the_output_is_said(shop: Crm, command: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("NOT RUN: this system has no /dev/full")
    called = [sys.executable, "-m", "crm_core", *command]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(called, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=shop.directory)
    said = Said(done.returncode, "", done.stderr)
    if "--json" in command:
        assert (1, "StorageFull", "the disk is full") == (said.code, said.error["type"], said.error["message"])
    else:
        refused(said, 1, "the disk is full", "hint: ")


def test_whatever_a_plugin_raises_is_said_in_words(crm: Crm) -> None:
    hooks = crm.directory / "hooks.py"
    hooks.write_text(
        "from crm_core import hookimpl\n\n"
        "@hookimpl\ndef before_customers_change(event):\n    raise BaseException('b آ')\n",
        encoding="utf-8",
    )
    settings = crm.directory / "crm.toml"
    settings.write_text(
        settings.read_text(encoding="utf-8") + '\n[plugins]\npaths = ["./hooks.py"]\n', encoding="utf-8"
    )
    refused(crm.process("customers", "add", "Ada"), 1, "unexpected BaseException: b آ", "hint: ")
    assert [] == crm.ok("customers", "list", "--json").json


def test_closed_streams_are_no_error(shop: Crm) -> None:
    command = [sys.executable, "-m", "crm_core", "-w", str(shop.directory), "customers", "list"]
    done = subprocess.run(["sh", "-c", '"$@" <&- >&-', "sh", *command], stderr=subprocess.PIPE, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("locale", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_the_letters_gets_escapes_and_json_stays_json(shop: Crm, locale: str) -> None:
    poor = {"PYTHONUTF8": "0", "PYTHONIOENCODING": locale}
    said = shop.process("customers", "show", "سارا احمدی", env=poor)
    assert (0, "") == (said.code, said.err)
    said = shop.process("customers", "list", "--where", "country = IR", "--json", env=poor)
    assert ["سارا احمدی"] == [one["name"] for one in said.json]


def test_arguments_are_utf_8_whatever_the_locale_is(shop: Crm) -> None:
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert 0 == shop.process("customers", "show", "سارا احمدی", env=poor).code


def test_data_cannot_steer_a_terminal_by_what_is_said_of_it(crm: Crm) -> None:
    said = crm.ok("customers", "add", "Ada\x1b[31m")
    assert "\x1b" not in said.out
    assert "\x1b" not in crm("customers", "show", "Bob\x1b[31m").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("customers", "add", ""),
        ("customers", "add", " \u200c"),
        ("deals", "add", "ada@example.org", " "),
        ("interactions", "log", "ada@example.org", ""),
    ],
)
def test_a_blank_name_is_usage(shop: Crm, arguments: tuple[str, ...]) -> None:
    refused(shop(*arguments), 2, "is empty", "hint: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("metrics", "show", "revenue", "--period", "2017-13"),
        ("metrics", "show", "revenue", "--period", "soon"),
        ("metrics", "explain", "revenue", "--period", "soon"),
        ("metrics", "show", "revenue", "--as-of", "soon"),
        ("metrics", "show", "revenue", "--around", "soon"),
        ("segments", "run", "abc", "--param", "rule=soon"),
        ("segments", "run", "abc", "--param", "cuts=2,1"),
        ("segments", "run", "abc", "--period", "soon"),
        ("report", "--period", "soon"),
    ],
)
def test_an_option_that_is_not_understood_is_usage(shop: Crm, arguments: tuple[str, ...]) -> None:
    pytest.importorskip("crm_kpi", reason="NOT RUN: crm-kpi is not installed")
    pytest.importorskip("crm_segments", reason="NOT RUN: crm-segments is not installed")
    refused(shop(*arguments), 2, arguments[-1].rpartition("=")[2])


def test_a_filter_given_twice_is_not_forgotten(shop: Crm) -> None:
    both = shop.ok("customers", "list", "--where", "country = GB or country = IR", "--where", "tags contains vip")
    assert ["سارا احمدی"] == [line.split("  ")[1] for line in both.out.splitlines()[1:]]


def test_dimensions_given_twice_are_both_used(shop: Crm) -> None:
    pytest.importorskip("crm_kpi", reason="NOT RUN: crm-kpi is not installed")
    said = shop.ok("metrics", "show", "revenue", "--by", "owner", "--by", "country", "--json")
    assert [["owner", "country"]] == [list(row["group"]) for row in said.json]


def test_under_json_a_remark_is_json_too(shop: Crm) -> None:
    said = shop.ok("customers", "list", "--limit", "1", "--json")
    (remark,) = [json.loads(line) for line in said.err.splitlines()]
    assert 1 == len(shop.ok("customers", "list", "--after", remark["after"], "--json").json)


def test_an_own_field_may_be_called_as_one_of_the_kernels(crm: Crm) -> None:
    assert "fields.name of customer is there now\n" == crm.ok("fields", "add", "customer", "name").out


def test_the_last_operation_of_an_empty_ledger_is_said_to_be_none(crm: Crm) -> None:
    refused(crm("ledger", "undo", "last"), 1, "nothing was written yet")


def test_doctor_does_not_call_well_what_it_wants_looked_at(crm: Crm) -> None:
    assert crm.ok("doctor").out.endswith("All is well.\n")
    settings = crm.directory / "crm.toml"
    settings.write_text(
        settings.read_text(encoding="utf-8").replace("[crm]", '[crm]\nreporting_currency = "EUR"'), encoding="utf-8"
    )
    crm.ok("customers", "add", "Ada")
    crm.ok("sales", "add", "Ada", "5 USD")
    assert crm.ok("doctor").out.endswith("Nothing is wrong; look at 1 thing.\n")


def test_init_that_fails_leaves_nothing(tmp_path: Path) -> None:
    refused(process("init", "shop", "--storage", "oracle://x/y", cwd=tmp_path), 2, "oracle")
    refused(process("init", "shop", "--zone", "Mars/Base", cwd=tmp_path), 2, "Mars/Base")
    refused(process("init", "shop", "--calendar", "mayan", cwd=tmp_path), 2, "mayan")
    refused(process("init", "--calendar", "mayan", cwd=tmp_path), 2, "mayan")
    assert [] == list(tmp_path.iterdir())


def test_init_refuses_a_database_that_ends_with_the_command(tmp_path: Path) -> None:
    refused(process("init", "shop", "--storage", "memory:", cwd=tmp_path), 2, "memory:", "crm demo")
    assert [] == list(tmp_path.iterdir())


def test_init_where_nothing_can_be_made_is_a_failure_with_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused(process("init", "file/shop", cwd=tmp_path), 1, "crm.toml", "hint: ")


def test_in_a_large_workspace_segments_are_looked_up_when_asked_for(shop: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("crm_segments", reason="NOT RUN: crm-segments is not installed")
    assert "abc" in shop.ok("customers", "show", "ada@example.org", "--json").json["segments"]
    monkeypatch.setattr("crm_core.cli.profile._DIVIDED", 1)
    assert shop.ok("customers", "show", "ada@example.org", "--json").json["segments"] is None
    assert "--segments" in shop.ok("customers", "show", "ada@example.org").out
    assert "abc" in shop.ok("customers", "show", "ada@example.org", "--segments", "--json").json["segments"]


def _wait_until_it_waits(pid: int) -> None:
    """Wait until a process stands in the queue of writers, which it does with a thread of its own."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and len(list(Path(f"/proc/{pid}/task").iterdir())) < 2:
        time.sleep(0.05)


@pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="NOT RUN: this system has no /proc to see a process wait"
)
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_ctrl_c_ends_a_command_with_130_and_loses_nothing(crm: Crm, as_json: list[str]) -> None:
    import fcntl

    queue = (crm.directory / "crm.db-lock").open("r+")
    fcntl.flock(queue, fcntl.LOCK_EX)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "crm_core", "-w", str(crm.directory), *as_json, "customers", "add", "Ada"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _wait_until_it_waits(waiting.pid)
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=30)
    queue.close()
    assert 130 == waiting.returncode, err
    if as_json:
        assert (130, "Interrupted") == (Said(130, "", err).error["exit_code"], Said(130, "", err).error["type"])
    else:
        assert "error: interrupted" in err
    assert "Traceback" not in err
    assert [] == crm.ok("customers", "list", "--json").json


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_ctrl_c_while_modules_are_loaded_has_words_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_json: list[str]
) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("crm_core.cli.run.run", interrupted)

    assert 130 == main([*as_json, "customers", "list"])
    err = capsys.readouterr().err
    assert "Interrupted" == Said(130, "", err).error["type"] if as_json else "error: interrupted" in err


@pytest.mark.skipif(sys.platform == "win32", reason="NOT RUN: Ctrl-C reaches a process otherwise on Windows")
def test_ctrl_c_ends_the_wait_for_a_lock_that_another_program_holds(crm: Crm) -> None:
    settings = crm.directory / "crm.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + "timeout = 3600\n", encoding="utf-8")
    holder = sqlite3.connect(crm.directory / "crm.db", isolation_level=None)
    holder.execute("begin immediate")
    waiting = subprocess.Popen(
        [sys.executable, "-m", "crm_core", "-w", str(crm.directory), "customers", "add", "Ada"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    in_line = crm.directory / "crm.db-lock"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and in_line.read_text().strip() != str(waiting.pid):
        time.sleep(0.05)
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=60)
    assert 130 == waiting.returncode, err
    assert "Traceback" not in err
    holder.execute("rollback")
    holder.close()
    assert [] == crm.ok("customers", "list", "--json").json
