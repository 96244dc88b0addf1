"""Public helpers for the commands of any plugin: the open workspace, tables, JSON, progress, questions and errors.

Importing it loads neither SQLAlchemy nor rich.
"""

from __future__ import annotations

from crm_core.console.ask import confirm
from crm_core.console.commands import run_command
from crm_core.console.files import write_whole
from crm_core.console.layout import Column
from crm_core.console.meter import Progress, progress
from crm_core.console.options import (
    Number,
    as_of_option,
    by_option,
    examples,
    list_options,
    period_option,
    reading_options,
    where_option,
    yes_option,
)
from crm_core.console.output import (
    emit,
    fail,
    heading,
    note,
    on_terminal,
    pairs,
    print_error,
    print_json,
    say,
    table,
)
from crm_core.console.session import Session, instant, session, workspace, workspace_directory, workspace_place
from crm_core.console.text import (
    MISSING,
    cell,
    clean,
    clip,
    duration,
    isolate,
    moment,
    money,
    pad,
    plural,
    share,
    size,
    width,
)

__all__ = [
    "MISSING",
    "Column",
    "Number",
    "Progress",
    "Session",
    "as_of_option",
    "by_option",
    "cell",
    "clean",
    "clip",
    "confirm",
    "duration",
    "emit",
    "examples",
    "fail",
    "heading",
    "instant",
    "isolate",
    "list_options",
    "moment",
    "money",
    "note",
    "on_terminal",
    "pad",
    "pairs",
    "period_option",
    "plural",
    "print_error",
    "print_json",
    "progress",
    "reading_options",
    "run_command",
    "say",
    "session",
    "share",
    "size",
    "table",
    "where_option",
    "width",
    "workspace",
    "workspace_directory",
    "workspace_place",
    "write_whole",
    "yes_option",
]
