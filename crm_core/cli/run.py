"""Runs one call of `crm` and turns what goes wrong into a message and an exit code; a traceback only by `--debug`."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from crm_core.console.output import print_error
from crm_core.errors import CrmError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class ReaderLeft(Exception):
    """Nobody reads standard output any more; click itself would end such a command with 1, and hide why."""


def run(arguments: list[str]) -> int:
    """Run the command that the arguments name and return the exit code."""
    from crm_core.cli.app import crm

    _make_streams_safe()
    typed = [_as_typed(argument) for argument in arguments]
    _print_warnings("--json" in typed)
    return contain(lambda: crm.main(typed, prog_name="crm", standalone_mode=False), typed)


def contain(call: Callable[[], Any], arguments: list[str]) -> int:
    """Run a command; print its failure, as JSON when the arguments say `--json`, and return the exit code."""
    as_json = "--json" in arguments
    try:
        result = call()
        sys.stdout.flush()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a plugin may raise whatever it likes
        if "--debug" in arguments and not isinstance(error, (click.ClickException, click.Abort)):
            traceback.print_exc()
        return _failed(error, as_json)
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


class _Warnings(logging.Handler):
    """Prints what the kernel warns of, a broken plugin say, once, on standard error."""

    def __init__(self, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self._as_json = as_json
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            click.echo(
                json.dumps({"warning": text}, ensure_ascii=False) if self._as_json else f"warning: {text}", err=True
            )


def _print_warnings(as_json: bool) -> None:
    logger = logging.getLogger("crm_core")
    logger.handlers = [_Warnings(as_json)]
    logger.propagate = False


def _failed(error: BaseException, as_json: bool) -> int:
    if isinstance(error, (BrokenPipeError, ReaderLeft)):
        # Whoever read has read enough; without this the interpreter complains again while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, click.Abort):
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        exit_code = 130 if interrupted else 1
        kind = "Interrupted" if interrupted else "Aborted"
        print_error(kind, _stopped(interrupted), exit_code=exit_code, as_json=as_json)
        return exit_code
    kind, message, hint, exit_code = _described(error)
    details = error.details if isinstance(error, CrmError) else {}
    print_error(kind, message, hint, exit_code=exit_code, as_json=as_json, details=details)
    return exit_code


def _make_streams_safe() -> None:
    """Let no output fail for its characters, nor for a stream that the caller closed."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _as_typed(argument: str) -> str:
    """Return an argument as it was typed: in UTF-8, whatever the locale is taken for."""
    if not any("\udc80" <= character <= "\udcff" for character in argument):
        return argument
    try:
        return argument.encode("ascii", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return argument


def _stopped(interrupted: bool) -> str:
    return "interrupted; what was committed before stays" if interrupted else "stopped, nothing was changed"


def _described(error: BaseException) -> tuple[str, str, str, int]:
    """Return the kind of an error, its message, the next step and the exit code."""
    kind = type(error).__name__
    if isinstance(error, CrmError):
        return kind, error.message, error.hint, error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return kind, f"{error.ctx.command_path} needs a command", _help_hint(error.ctx), 2
    if isinstance(error, click.UsageError):
        return kind, error.format_message().rstrip("."), _help_hint(error.ctx), 2
    if isinstance(error, click.ClickException):
        return kind, error.format_message(), "", error.exit_code
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return "StorageFull", f"the disk is full{_at(error)}", "free some space and run the command again", 1
    if isinstance(error, OSError) and error.strerror:
        return kind, f"{error.strerror}{_at(error)}", "", 1
    detail = " ".join(str(error).split()) or "no message"
    return kind, f"unexpected {kind}: {detail}", "run again with --debug to see where", 1


def _help_hint(context: click.Context | None) -> str:
    return f"{context.command_path} --help shows how it is used" if context is not None else ""


def _at(error: OSError) -> str:
    return f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
