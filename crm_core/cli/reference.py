"""Writes docs/cli.md from the commands themselves: `python -m crm_core.cli.reference [FILE]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from crm_core.cli.app import KERNEL, crm, load, load_plugin_command, plugin_commands

_HEAD = """# Command line

<!-- Written by `python -m crm_core.cli.reference docs/cli.md` from the commands; a test keeps it current. -->

`crm` works in a workspace: the directory that `-w DIR` names, else `CRM_WORKSPACE`, else the current one.

These options may stand before or after any command:

| option | meaning |
|---|---|
{options}

Exit codes: 0 done, 1 failed, 2 usage, 3 some rows were rejected, 130 interrupted.

With `--json`, standard output holds one JSON document and nothing else; an error is one JSON object on standard error:
`{{"error": {{"type": "NotFound", "message": "...", "hint": "...", "exit_code": 1}}}}`. In JSON, ids are text of 13
characters, money is `{{"amount": "12.50", "currency": "EUR"}}`, times are ISO 8601 with the offset of the workspace's
zone. Lists print their records; the cursor of the next page is on standard error.

A record is named by its id or the end of it (5 characters or more), an external id (`system:id`), an e-mail address, a
phone number, or its exact name. Digits of any script are read.
"""


def reference() -> str:
    """Return the whole reference as Markdown: the kernel's commands, then those of the installed plugins."""
    root = click.Context(crm, info_name="crm")
    parts = [_HEAD.format(options="\n".join(_option_rows(crm, root)))]
    for name, (target, _) in KERNEL.items():
        parts += _sections(load(target, name), root, name, 2)
    for name, command in plugin_commands().items():
        parts += _sections(load_plugin_command(command), root, name, 2)
    return "\n".join(parts).rstrip() + "\n"


def _sections(command: click.Command, parent: click.Context, name: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} {context.command_path}\n"
    yield _sentences(command.help) + "\n"
    if isinstance(command, click.Group):
        for below, sub_command in command.commands.items():
            yield from _sections(sub_command, context, below, level + 1)
        return
    pieces = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```console\n{pieces}\n```\n"
    rows = list(_option_rows(command, context))
    if rows:
        yield "| option | meaning |\n|---|---|\n" + "\n".join(rows) + "\n"
    if command.epilog:
        lines = [line.strip() for line in command.epilog.splitlines() if line.startswith("  ")]
        yield "Examples:\n\n```console\n" + "\n".join(lines) + "\n```\n"


def _option_rows(command: click.Command, context: click.Context) -> Iterator[str]:
    for param in command.get_params(context):
        if not isinstance(param, click.Option) or param.hidden or param.opts == ["--help"]:
            continue
        record = param.get_help_record(context)
        if record is not None:
            names, meaning = record
            yield f"| `{names.replace('|', '/')}` | {_sentences(meaning).replace('|', '/')} |"


def _sentences(text: str | None) -> str:
    return " ".join((text or "").split())


def main(arguments: list[str]) -> int:
    """Write the reference to the file named, or to standard output."""
    if arguments:
        Path(arguments[0]).write_text(reference(), encoding="utf-8")
    else:
        click.echo(reference(), nl=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
