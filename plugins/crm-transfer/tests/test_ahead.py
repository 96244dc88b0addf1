"""Reading the next rows during a commit changes nothing but the time that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

import pytest

from crm_core import CRM
from crm_core.extend import Storage
from crm_transfer import pace, run
from crm_transfer.ahead import Ahead, Drafts, Rows
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.rows import Row
from tests.opening import EVERYWHERE, url_for

FLAT = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
country = { column = "country", fix = { D = "DE" } }
[[record]]
type = "contact_point"
key = ["email"]
repeats = true
when = { column = "email", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
kind = { const = "email" }
value = "email"
"""
GROUPED = """
[file]
system = "t"
currency = "EUR"
[group]
by = "country"
[group.columns]
no = "first"
amount = "sum"
[[record]]
type = "customer"
key = "name"
repeats = true
[record.fields]
name = "name"
[[record]]
type = "sale"
per = "group"
key = "country"
[record.fields]
sold_at = { const = "2026-01-01" }
amount = "amount"
"""


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read ahead in files of any size, in chunks of a few rows."""
    monkeypatch.setattr(run, "_LARGE", 0)
    use_small_chunks(monkeypatch)


def use_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_FIRST", 14)
    monkeypatch.setattr(pace.Pace, "adapt", lambda *_: None)
    monkeypatch.setattr(pace.Pace, "came", lambda *_: None)  # on a busy machine every turn to write takes a while


def written(path: Path) -> Path:
    lines = ["no,name,country,email,amount"]
    for at in range(100):
        number = at if at % 40 else 7  # a key that comes again
        name = "" if at % 33 == 5 else f"Ada {at % 11}"
        lines.append(
            f"C{number},{name},{'D' if at % 3 else f'C{at}'},{f'p{at % 50}@example.org' if at % 9 else ''},{at}.50"
        )
    lines.insert(60, "short,row")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def told(path: Path, storage: str, name: str) -> Any:
    folder = path.parent / name
    folder.mkdir()
    with url_for(storage, folder) as url, CRM.open(url) as crm:
        report = import_file(crm, path, parse_mapping(FLAT))
        entries = sorted((one.record_type, one.external, one.row_hash) for one in crm.external_ids.iterate())
        names = sorted(one.name or "" for one in crm.customers.iterate())
        emails = sorted(one.value for one in crm.contact_points.iterate())
        notes = [note for file in report.files for note in file.notes]
        return report.counts, report.types, report.errors, notes, entries, names, emails


@pytest.mark.parametrize("storage", EVERYWHERE)
def test_what_is_read_ahead_is_imported_as_what_is_not(
    storage: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "rows.csv")
    expected = told(path, storage, "before")
    request.getfixturevalue("always")
    threads: list[Any] = []
    fetch = Ahead._fetch
    monkeypatch.setattr(Ahead, "_fetch", lambda self: (threads.append(current_thread()), fetch(self)))
    assert expected == told(path, storage, "ahead")
    assert len(threads) > 3
    assert main_thread() not in threads


def test_the_next_rows_are_read_while_the_storage_commits(
    always: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafted, seen = Event(), []
    draft = run.Run._drafts

    def drafts(self: Any, *given: Any) -> Drafts:
        found = draft(self, *given)
        drafted.set()
        return found

    monkeypatch.setattr(run.Run, "_drafts", drafts)
    with CRM.open("memory:") as crm:
        storage: Storage = crm.storage
        commit = storage.commit

        def slowly() -> None:
            seen.append(drafted.wait(10 if len(seen) == 2 else 0))
            commit()

        monkeypatch.setattr(storage, "commit", slowly)
        import_file(crm, written(tmp_path / "rows.csv"), parse_mapping(FLAT))
    assert seen[2]


@pytest.mark.parametrize("what", ["small", "dry run", "grouped"])
def test_a_small_file_a_dry_run_and_grouped_rows_need_no_thread(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_small_chunks(monkeypatch)
    if what != "small":
        monkeypatch.setattr(run, "_LARGE", 0)
    monkeypatch.setattr(Ahead, "start", lambda self: pytest.fail("a thread was started"))
    mapping = parse_mapping(GROUPED if what == "grouped" else FLAT)
    with CRM.open("memory:") as crm:
        report = import_file(crm, written(tmp_path / "rows.csv"), mapping, dry_run=what == "dry run")
    assert report.counts.created


def test_what_goes_wrong_ahead_is_told_where_it_is_asked_for() -> None:
    def chunks() -> Iterator[Rows]:
        yield [Row(1, ["1"], 1, 1)]
        raise OSError("the file is gone")

    with Ahead(chunks(), lambda rows: ()) as ahead:
        found = iter(ahead)
        rows, _ = next(found)
        ahead.start()
        ahead.start()  # once more after a conflict: it is read once
        assert 1 == len(rows)
        with pytest.raises(OSError, match="the file is gone"):
            next(found)
        assert [] == list(found)
