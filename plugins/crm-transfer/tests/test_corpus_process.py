"""Bad input that is in no file: what is none, what changes meanwhile, what is killed, what has no room."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, hookimpl
from crm_core.cli.main import main
from crm_core.extend import Metric
from crm_core.query.functions import isum
from crm_core.settings import write_settings
from crm_transfer.errors import FileFault
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.reading import open_csv, open_json_lines

_spec = importlib.util.spec_from_file_location("transfer_content", Path(__file__).parent / "content.py")
assert _spec is not None
assert _spec.loader is not None
_content = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_content)
digest = _content.digest

NAMES = (Path(__file__).parent / "corpus" / "mappings" / "names.toml").read_text(encoding="utf-8")
SALES = (Path(__file__).parent / "corpus" / "mappings" / "currencies.toml").read_text(encoding="utf-8")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_settings(tmp_path / "ws", storage_url="sqlite:///crm.db", currency="EUR")
    (tmp_path / "m.toml").write_text(NAMES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def crm(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["-w", "ws", *arguments])
        found = capsys.readouterr()
        assert "Traceback" not in found.out + found.err
        return code, found.out, found.err

    return call


def bring(crm: Call, file: str, *more: str) -> tuple[int, str, str]:
    return crm("import", "customers", file, "--map", "m.toml", *more)


def many(path: Path, rows: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.write("no,name\n")
        file.writelines(f"{number},Name {number}\n" for number in range(rows))
    return path


def error_of(said: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said.splitlines()[-1])["error"]
    return found


# What is no file that can be read twice


def test_what_is_no_file_is_refused_by_name(folder: Path, crm: Call) -> None:
    (folder / "sheets").mkdir()
    (folder / "gone.csv").symlink_to("nowhere.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    told = {
        "-": ("standard input can be read only once", "write it to a file first"),
        "/dev/stdin": ("standard input can be read only once", "write it to a file first"),
        "/dev/fd/0": ("/dev/fd/0 can be read only once", "write it to a file first"),
        "/dev/null": ("/dev/null is a pipe or a device: it can be read only once", "write it to a file first"),
        "sheets": ("sheets is a folder, not a file", "name one file in it"),
        "gone.csv": ("gone.csv: there is no such file", "check the path"),
        "loop.csv": ("loop.csv: cannot be read: ", "check the path and its permissions"),
        "absent.csv": ("absent.csv: there is no such file", "check the path"),
        "m.toml/p.csv": ("m.toml/p.csv: there is no such file", "check the path"),
        "x" * 300 + ".csv": (f"{'x' * 300}.csv: cannot be read: ", "check the path and its permissions"),
    }
    for name, (message, hint) in told.items():
        code, out, said = bring(crm, name, "--json")
        error = error_of(said)
        assert (1, "", "FileFault", "file") == (code, out, error["type"], error["rule"])
        assert error["message"].startswith(message)
        assert error["hint"].startswith(hint)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="NOT RUN: no named pipes on this system")
def test_a_pipe_is_refused_before_anybody_waits_for_it(folder: Path, crm: Call) -> None:
    os.mkfifo(folder / "pipe.csv")
    code, _, said = bring(crm, "pipe.csv")
    assert 1 == code
    assert "pipe.csv is a pipe or a device: it can be read only once" in said
    assert "hint: write it to a file first: cat pipe.csv > data.csv" in said


def test_a_regular_file_below_dev_is_a_file_like_others(crm: Call) -> None:
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("NOT RUN: this system keeps no files in /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        code, out, _ = bring(crm, str(many(Path(place) / "p.csv", 2)))
    assert (0, True) == (code, "2 rows read = 2 created" in out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="NOT RUN: no permissions of this kind on this system")
def test_a_file_that_may_not_be_read_says_so(folder: Path) -> None:
    path = many(folder / "p.csv", 1)
    path.chmod(0)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from crm_transfer.errors import FileFault\n"
        "from crm_transfer.reading import open_csv\n"
        "if os.geteuid() == 0:\n"
        "    os.setegid(65534)\n"
        "    os.seteuid(65534)\n"
        "try:\n"
        "    open_csv(Path('p.csv'), {})\n"
        "except FileFault as fault:\n"
        "    print(fault.message, '|', fault.hint)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert "p.csv: cannot be read: Permission denied | check the path and its permissions\n" == run.stdout


def test_a_symbolic_link_and_a_name_of_any_script_are_files_like_others(folder: Path, crm: Call) -> None:
    (folder / "link.csv").symlink_to(many(folder / "مشتریان ԱԲԳ.csv", 2))
    assert 0 == bring(crm, "link.csv")[0]
    code, out, _ = bring(crm, "مشتریان ԱԲԳ.csv")
    assert (0, True) == (code, out.startswith("مشتریان ԱԲԳ.csv: 2 rows read = 0 created, 0 updated, 2 unchanged"))


def test_a_name_that_is_no_text_is_refused_before_the_ledger_is_asked_to_keep_it(folder: Path, crm: Call) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    try:
        many(folder / name, 1)
    except OSError:
        pytest.skip("NOT RUN: this file system knows no such names")
    code, out, said = bring(crm, name, "--json")
    message = "caf\\udce9.csv: the name, or that of a folder above it, is no UTF-8, so the ledger cannot keep it"
    assert (1, "", message, "rename it") == (code, out, error_of(said)["message"], error_of(said)["hint"])


# What changes while it is read


def test_a_file_that_is_taken_away_or_changed_is_noticed(folder: Path) -> None:
    for opened, text in ((open_csv, "no,name\n1,Ada\n"), (open_json_lines, '{"no": "1"}\n')):
        path = folder / "p.csv"
        path.write_text(text, encoding="utf-8")
        source = opened(path, {})
        path.unlink()
        with pytest.raises(FileFault, match=r"p\.csv: the file was taken away while it was read"):
            list(source.rows)
        path.write_text(text, encoding="utf-8")
        source = opened(path, {})
        path.write_text(text * 2, encoding="utf-8")
        with pytest.raises(FileFault, match=r"p\.csv: the file was changed while it was read"):
            list(source.rows)


def test_a_file_that_grows_meanwhile_ends_in_an_import_that_can_be_taken_back(folder: Path) -> None:
    path = many(folder / "p.csv", 3_000)

    def grow(done: int, total: int, name: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write("late,Late\n")

    with CRM.open(folder / "ws") as opened:
        with pytest.raises(FileFault, match="was changed while it was read") as caught:
            import_file(opened, path, parse_mapping(NAMES), progress=grow)
        assert "rows that are in already will be unchanged" in caught.value.hint
        cut_off = opened.ledger.operations(limit=1)[0]
        assert "incomplete" == cut_off.state
        opened.ledger.undo(cut_off.id)
        assert 0 == opened.customers.count()


def test_a_file_of_an_import_that_was_cut_off_may_not_have_changed(folder: Path, crm: Call) -> None:
    path = many(folder / "p.csv", 3_000)

    def stop(done: int, total: int, name: str) -> None:
        raise KeyboardInterrupt

    with CRM.open(folder / "ws") as opened:
        with pytest.raises(KeyboardInterrupt):
            import_file(opened, path, parse_mapping(NAMES), progress=stop)
        there = opened.customers.count()
        before = digest(opened)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"Name 7\n", b"Name 8\n"))
    code, out, said = crm("import", "--resume", "last", "--json")
    error = error_of(said)
    assert (1, "", "changed", "p.csv", 1) == (code, out, error["rule"], error["file"], len(said.splitlines()))
    assert "p.csv: changed since the import began" in error["message"]
    assert re.search(r"say --resume (\w{13}) again; .* or take back: crm ledger undo \1$", error["hint"])
    path.unlink()
    code, _, said = crm("import", "--resume", "last", "--json")
    assert (1, True) == (code, "there is no such file" in error_of(said)["message"])
    with CRM.open(folder / "ws") as opened:
        assert (there, before) == (opened.customers.count(), digest(opened))
    path.write_bytes(whole)
    assert 0 == crm("import", "--resume", "last")[0]
    with CRM.open(folder / "ws") as opened:
        assert 3_000 == opened.customers.count()


# What is killed, and done again


KILLED = """
import os, signal, sys
from pathlib import Path
from crm_core import CRM
from crm_transfer.importing import import_file
from crm_transfer.mapping import load_mapping

def told(done, total, name):
    if done >= int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

with CRM.open(Path("ws")) as crm:
    import_file(crm, Path("p.csv"), load_mapping(Path("m.toml")), progress=told)
"""


@pytest.mark.database("sqlite")
@pytest.mark.skipif(os.name == "nt", reason="NOT RUN: no SIGKILL on this system")
def test_killed_and_run_again_equals_one_clean_run(folder: Path, crm: Call) -> None:
    path = many(folder / "p.csv", 4_000)
    for after in ("1", "1500", "2500"):
        run = subprocess.run([sys.executable, "-c", KILLED, after], cwd=folder, capture_output=True, check=False)
        assert -signal.SIGKILL == run.returncode, run.stderr.decode()
    code, out, _ = bring(crm, "p.csv", "--json")
    report = json.loads(out)
    assert (0, 4_000, 0) == (code, report["created"] + report["unchanged"], report["updated"])
    assert 0 < report["unchanged"] < 4_000
    with CRM.open("memory:") as clean, CRM.open(folder / "ws") as opened:
        import_file(clean, path, parse_mapping(NAMES))
        assert digest(clean) == digest(opened)
        states = [entry.state for entry in opened.ledger.operations()]
    assert ["done", "incomplete", "incomplete", "incomplete"] == states


@pytest.mark.database("sqlite")
@pytest.mark.skipif(os.name == "nt", reason="NOT RUN: no SIGKILL on this system")
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_a_killed_import_left_in_the_temporary_folder_is_removed_by_the_next_one(
    folder: Path, dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, place = many(folder / "p.csv", 2_000), folder / "temporary"
    place.mkdir()
    code = KILLED.replace("progress=told", f"progress=told, dry_run={dry_run}")
    environment = {**os.environ, "TMPDIR": str(place)}
    run = subprocess.run(
        [sys.executable, "-c", code, "1"], cwd=folder, capture_output=True, check=False, env=environment
    )
    assert -signal.SIGKILL == run.returncode, run.stderr.decode()
    left = {each.name.rpartition("-")[0] for each in place.iterdir()}
    assert ({"crm-import", "crm-rehearsal"} if dry_run else {"crm-import"}) == left
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with CRM.open(folder / "ws") as opened:
        import_file(opened, path, parse_mapping(NAMES), dry_run=dry_run)
    assert [] == [*place.iterdir()]


@pytest.mark.database("sqlite")
def test_a_row_that_matches_a_deleted_record_says_so(folder: Path, crm: Call) -> None:
    (folder / "p.csv").write_text("no,name\n1,Ada\n2,Sara\n", encoding="utf-8")
    assert 0 == bring(crm, "p.csv")[0]
    with CRM.open(folder / "ws") as opened:
        opened.customers.delete(next(opened.customers.iterate('name = "Ada"')))
    for more in (["--dry-run"], []):
        code, out, _ = bring(crm, "p.csv", "--json", *more)
        report = json.loads(out)
        told = "names a customer that was deleted; undo the delete, or leave the row out"
        assert (3, 0, 1, 1) == (code, report["created"], report["unchanged"], report["rejected"])
        row = {"file": "p.csv", "row": 2, "column": "no", "value": "1", "rule": "gone", "message": told}
        assert [row] == report["errors"]


# No room


SPACE = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of 4 MB where mounting is allowed, else None."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={SPACE}", "tmpfs", str(place)]
    mounted = mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


def no_more_than(size: int) -> Callable[[], None]:
    """Return what lets a process write no file longer than this: the disk of those who may not mount one."""

    import resource

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.database("sqlite")
@pytest.mark.skipif(sys.platform == "win32", reason="NOT RUN: no limit of this kind on this system")
@pytest.mark.parametrize("limited", ["disk", "file"])
def test_a_full_disk_leaves_an_import_that_can_be_finished_or_taken_back(
    folder: Path, small_disk: Path | None, limited: str
) -> None:
    if limited == "disk" and small_disk is None:
        pytest.skip("NOT RUN: no disk can be mounted here; the other case limits the size of files instead")
    place = small_disk if limited == "disk" and small_disk is not None else folder
    if place is not folder:
        shutil.copytree(folder / "ws", place / "ws")
    many(folder / "p.csv", 20_000)
    command = [sys.executable, "-m", "crm_core", "-w", str(place / "ws"), "import", "customers", "p.csv", "--map"]
    limit = no_more_than(SPACE) if limited == "file" else None
    run = subprocess.run(
        [*command, "m.toml"], cwd=folder, capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert (1, "") == (run.returncode, run.stdout), run.stderr
    assert "Traceback" not in run.stderr
    if limited == "disk":
        assert "there is no room left to write; nothing of the transaction was kept" in run.stderr
        assert "hint: free some space on that disk" in run.stderr
    found = re.search(
        r"import p\.csv was cut off\. Finish it: crm import --resume (\w{13})\. Undo it: crm ledger undo \1\n",
        run.stderr,
    )
    assert found is not None, run.stderr
    if place is not folder:
        shutil.copytree(place / "ws", folder / "ws", dirs_exist_ok=True)
    with CRM.open(folder / "ws") as opened:
        assert "incomplete" == opened.ledger.get(opened.ledger.resolve(found[1])).state
        assert 0 < opened.customers.count() < 20_000
    assert 0 == main(["-w", "ws", "import", "--resume", found[1]])
    with CRM.open(folder / "ws") as opened:
        assert 20_000 == opened.customers.count()
        opened.ledger.undo(opened.ledger.resolve(found[1]))
        assert 0 == opened.customers.count()


@pytest.mark.skipif(sys.platform == "win32", reason="NOT RUN: no limit of this kind on this system")
def test_no_room_for_the_temporary_file_has_words_too(folder: Path, small_disk: Path | None) -> None:
    if small_disk is None:
        pytest.skip("NOT RUN: no disk can be mounted here")
    with (folder / "p.csv").open("w", encoding="utf-8") as file:
        file.write("no,name\n1,Ada\n")
        file.writelines(f",{'x' * 100_000}\n" for _ in range(600))  # the cells of rejected rows go there
    command = [sys.executable, "-m", "crm_core", "-w", "ws", "import", "customers", "p.csv", "--map", "m.toml"]
    environment = {**os.environ, "TMPDIR": str(small_disk)}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert 1 == run.returncode, run.stderr
    assert f"{small_disk}: there is no room left for the temporary file of the import" in run.stderr
    assert "hint: free some space there, or name another folder in TMPDIR" in run.stderr
    assert "was cut off. Finish it: crm import --resume " in run.stderr


@pytest.mark.database("sqlite")
def test_a_reject_file_that_cannot_be_written_hides_no_count(
    folder: Path, crm: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "p.csv").write_text("no,name\n1,Ada\n,Eve\n", encoding="utf-8")
    with monkeypatch.context() as full:
        full.setattr("crm_transfer.rejects._free", _no_room)
        code, out, _ = bring(crm, "p.csv", "--json", "--rejects", ".")
    report = json.loads(out)
    assert (3, 1, 1, None) == (code, report["created"], report["rejected"], report["rejects_file"])
    told = "the reject file p.rejects.csv cannot be written: No space left on device; import the file again with "
    assert [told + "--rejects DIR: rows that are in will be unchanged"] == report["files"][0]["notes"][1:]
    assert 3 == bring(crm, "p.csv", "--rejects", ".")[0]
    assert (folder / "p.rejects.csv").is_file()


def _no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# What is too much


def test_a_cell_over_the_limit_refuses_the_file(folder: Path, crm: Call) -> None:
    (folder / "p.csv").write_text("no,name\n1,Ada\n2," + "x" * 140_000 + "\n", encoding="utf-8")
    code, out, said = bring(crm, "p.csv", "--json")
    error = error_of(said)
    assert (1, "", "length", 3) == (code, out, error["rule"], error["row"])
    assert "p.csv: a cell of line 3 has more than 131,072 characters" == error["message"]
    assert len(said) < 1_000


READ = """
import resource, sys
from pathlib import Path
from crm_core.extend import SourceRow
from crm_transfer.reading import open_csv

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = open_csv(Path(sys.argv[1]), {})
count = sum(isinstance(row, SourceRow) for row in source.rows)
print(source.total, count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_million_rows_are_read_in_constant_memory(folder: Path) -> None:
    grown = {}
    for rows in (10_000, 1_000_000):
        path = many(folder / "p.csv", rows)
        run = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True)
        total, count, grown[rows] = map(int, run.stdout.split())
        assert (rows, rows) == (total, count)
    unit = 1 if sys.platform == "darwin" else 1 << 10
    assert (grown[1_000_000] - grown[10_000]) * unit < 8 << 20


class Turnover:
    @hookimpl
    def register_metrics(self) -> list[Metric]:
        return [
            Metric(
                name="turnover",
                label="Turnover",
                unit="money",
                kind="flow",
                formula="sum of the amounts of sales",
                population="sales",
                base="sale",
                time=lambda t: t.sales.c.sold_at,
                numerator=lambda t: isum(t.sales.c.amount),
                currency=lambda t: t.sales.c.amount_currency,
            )
        ]


@pytest.mark.parametrize("url", ["memory:", pytest.param("sqlite", marks=pytest.mark.database("sqlite"))])
def test_mixed_currencies_are_never_summed(folder: Path, url: str) -> None:
    path = folder / "p.csv"
    rows = ["no,on,amount,currency", "1,2026-01-01,10,EUR", "2,2026-01-02,5.50,EUR", "3,2026-01-03,70,USD"]
    path.write_text("\n".join(rows), encoding="utf-8")
    with CRM.open(url if url == "memory:" else f"sqlite:///{folder / 'x.db'}", plugins=[Turnover()]) as opened:
        assert 3 == import_file(opened, path, parse_mapping(SALES)).counts.created
        found = {row.currency: row.value for row in opened.metrics.compute("turnover")}
    assert {"EUR": Decimal("15.50"), "USD": Decimal(70)} == found
