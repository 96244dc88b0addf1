"""What a command prints: text and tables for people, JSON alone on standard output for programs, errors with a hint."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NoReturn

import attrs
import click

from crm_core.console.layout import Column, lay_out, plain_lines, terminal_lines, terminal_width
from crm_core.console.session import session
from crm_core.console.text import clean, isolate, pad, width
from crm_core.errors import CrmError


def emit(data: Any, show: Callable[[], None]) -> None:
    """Print a command's answer: `data` as JSON under `--json`, else whatever `show` prints for people."""
    if session().json:
        print_json(data)
    else:
        show()


def print_json(data: Any) -> None:
    """Write one JSON document to standard output; money, dates, fractions and attrs objects are understood."""
    click.echo(json.dumps(data, default=_plain, ensure_ascii=not _takes_any_script(sys.stdout), indent=2))


def say(text: str = "", *, style: str = "") -> None:
    """Print a line for a person to standard output; with `--json` to standard error, where it disturbs no program."""
    click.echo(_styled(text, style, sys.stdout), err=session().json)


def note(text: str, **content: Any) -> None:
    """Print a remark to standard error: a guess that was made, where to read on; `--json` makes it a JSON object.

    Args:
        text: the remark.
        content: what else a program may want of it: the cursor to read on after, say.
    """
    if session().json:
        text = json.dumps({"note": text, **content}, default=_plain, ensure_ascii=False)
    click.echo(text, err=True)


def heading(text: str) -> None:
    """Print a heading, with a blank line above it."""
    say()
    say(text, style="bold")


def table(columns: Sequence[Column | str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table: drawn on a terminal, plain aligned text when piped, so that `grep` and `cut` work on it.

    Args:
        columns: titles, or `Column`s that say more.
        rows: cells as text; control characters in them are made visible.
        title: a line above the table.
    """
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [[clean(text) for text in row] for row in rows]
    if title:
        say(title, style="bold")
    if not on_terminal():
        for line in plain_lines(heads, cells):
            say(line)
        return
    titles = [column.title for column in heads]
    layout = lay_out(heads, cells, terminal_width())
    for lines in terminal_lines(heads, [titles], layout):
        say(lines[0], style="bold")
    for lines in terminal_lines(heads, cells, layout):
        for line in lines:
            say(line)
    if layout.left_out:
        hidden = ", ".join(titles[-layout.left_out :])
        note(f"No room for {hidden}: a wider terminal, or fewer --columns, or --json")


def pairs(items: Iterable[tuple[str, str]]) -> None:
    """Print names beside values, one a line."""
    found = [(name, isolate(clean(value)) if on_terminal() else clean(value)) for name, value in items]
    wide = max((width(name) for name, _ in found), default=0)
    for name, value in found:
        say(f"{pad(name, wide)}  {value}".rstrip())


def on_terminal() -> bool:
    """Whether standard output is a terminal, so that a person reads it as it comes."""
    return sys.stdout.isatty()


def fail(message: str, *, hint: str = "", exit_code: int = 1) -> NoReturn:
    """End the command with an error: what failed and where, and in `hint` what to do next.

    Raises:
        CrmError: always; the command line prints it.
    """
    error = CrmError(message, hint=hint)
    error.exit_code = exit_code
    raise error


def print_error(
    kind: str,
    message: str,
    hint: str = "",
    *,
    exit_code: int = 1,
    as_json: bool = False,
    details: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Write an error to standard error: `error: ...` and `hint: ...`, or one JSON object, with `details` in it."""
    if as_json:
        content = {"type": kind, "message": message, "hint": hint, "exit_code": exit_code, **details}
        told = json.dumps({"error": content}, default=str, ensure_ascii=not _takes_any_script(sys.stderr))
        click.echo(told, err=True)
        return
    first, *more = message.splitlines() or [""]
    click.echo(f"{_styled('error:', 'red', sys.stderr)} {clean(first)}", err=True)
    for line in more:
        click.echo(clean(line), err=True)
    for line in hint.splitlines():
        click.echo(f"{_styled('hint:', 'cyan', sys.stderr)} {clean(line)}", err=True)


def _takes_any_script(stream: Any) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "").startswith(("utf", "ascii", "usascii"))


def _styled(text: str, style: str, stream: Any) -> str:
    if not style or "NO_COLOR" in os.environ or not stream.isatty():
        return text
    return click.style(text, bold=True) if style == "bold" else click.style(text, fg=style)


def _plain(value: Any) -> Any:
    if isinstance(value, (Decimal, Fraction)):
        return int(value) if value == int(value) else float(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if hasattr(value, "to_json"):
        return value.to_json()
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
