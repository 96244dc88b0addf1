"""What commands print: tables on a terminal and in a pipe, JSON, progress and questions."""

from __future__ import annotations

import io
import json
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core import console
from crm_core.console import Column, Progress, confirm, print_error, print_json, progress, table, width
from crm_core.console.layout import lay_out, terminal_lines
from crm_core.errors import UsageError
from crm_core.values import Money

COLUMNS = [Column("id"), Column("name", fit="clip"), Column("amount", right=True)]
ROWS = [["5XK3Q", "سارا احمدی", "1,200.00 EUR"], ["7F2", "A very long name that does not fit", "3.00 EUR"]]


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))


def test_a_piped_table_is_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    table(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert 1 == len({width(line) for line in lines})
    assert "A very long name that does not fit" in lines[2]
    assert "\u2068" not in "".join(lines)


def test_a_table_on_a_terminal_fits_and_isolates(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    on_a_terminal(monkeypatch, 40)
    monkeypatch.setenv("NO_COLOR", "1")
    table(COLUMNS, ROWS)
    out = capsys.readouterr().out
    assert max(map(width, out.splitlines())) <= 40
    assert "\u2068سارا احمدی\u2069" in out
    assert "1,200.00 EUR" in out
    assert "\x1b" not in out


def test_columns_without_room_are_left_out_and_named(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    on_a_terminal(monkeypatch, 20)
    table(COLUMNS, ROWS)
    said = capsys.readouterr()
    assert "EUR" not in said.out
    assert "No room for amount" in said.err


@given(
    st.lists(st.lists(st.text(max_size=30), min_size=3, max_size=3), max_size=5),
    st.lists(st.sampled_from(["keep", "clip", "wrap"]), min_size=3, max_size=3),
    st.integers(10, 60),
)
def test_no_line_of_a_table_is_wider_than_its_room(rows: list[list[str]], fits: list[Any], room: int) -> None:
    columns = [Column(title, fit=fit) for title, fit in zip("abc", fits, strict=True)]
    clean = [[console.clean(text) for text in row] for row in rows]
    layout = lay_out(columns, clean, room)
    assert [] == [line for lines in terminal_lines(columns, clean, layout) for line in lines if width(line) > room]


def test_wrapped_text_loses_no_word() -> None:
    text = "crm ledger undo takes it back; an import goes on with --resume"
    columns = [Column("what", fit="wrap")]
    lines = next(terminal_lines(columns, [[text]], lay_out(columns, [[text]], 24)))
    assert text == " ".join(lines)


def test_json_keeps_whole_numbers_whole_and_text_readable(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": Fraction(1, 4), "b": Decimal("12.00"), "c": Money("1.5", "EUR"), "name": "سارا"})
    out = capsys.readouterr().out
    assert {"a": 0.25, "b": 12, "c": {"amount": "1.50", "currency": "EUR"}, "name": "سارا"} == json.loads(out)
    assert "سارا" in out


def test_an_error_is_two_lines_or_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("NotFound", "no such customer", "crm customers list", exit_code=1)
    assert "error: no such customer\nhint: crm customers list\n" == capsys.readouterr().err
    print_error("NotFound", "no such customer", as_json=True)
    assert "no such customer" == json.loads(capsys.readouterr().err)["error"]["message"]


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(10, "rows") as bar:
        bar.advance(10)
    assert (10, "") == (bar.done, capsys.readouterr().err)


def test_progress_says_how_far_it_is_within_a_line() -> None:
    bar = Progress(3000, "customers", visible=False)
    bar.advance(1500)
    assert "50%" in bar.line()
    assert "1,500/3,000" in bar.line()
    assert width(bar.line(40)) <= 40


def test_progress_of_unknown_length_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Progress(None, "rows", visible=False)
    bar.advance(7)
    assert bar.line().startswith("rows  7  ")


def test_progress_waits_a_second_before_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 0.5, 1.2, 1.2, 1.2, 1.25])
    stream = io.StringIO()
    monkeypatch.setattr("crm_core.console.meter.monotonic", lambda: next(seconds))
    monkeypatch.setattr(sys, "stderr", stream)
    bar = Progress(4, "rows", visible=True)
    bar.advance()
    assert "" == stream.getvalue()
    bar.advance()
    assert "2/4" in stream.getvalue()
    bar.advance()
    assert "3/4" not in stream.getvalue()
    bar.finish()
    assert stream.getvalue().endswith("\x1b[K")


def test_a_question_needs_somebody_to_answer_or_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    confirm("Delete it?", yes=True)
    with pytest.raises(UsageError) as refused:
        confirm("Delete it?")
    assert "--yes answers beforehand" == refused.value.hint


def test_no_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = io.StringIO("n\n")
    monkeypatch.setattr(answers, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", answers)
    with pytest.raises(click.Abort):
        confirm("Delete it?")
