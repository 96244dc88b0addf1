"""The options that every command takes, before or after its name: `-w`, `--as`, `--json`, `--debug`, and `--help`."""

from __future__ import annotations

import sys
from typing import Any

import click

from crm_core.console.session import session


def adopt(command: click.Command, *, everywhere: bool = False) -> click.Command:
    """Give a command and all below it the global options and our help; adopting twice changes nothing.

    Args:
        command: the command or group, changed in place.
        everywhere: show all global options in its help; below the root only `--json` is shown.
    """
    taken = {opt for param in command.params for opt in param.opts}
    if "--help" not in taken:
        shown_json = everywhere or not isinstance(command, click.Group)
        command.params += [option for option in _options(everywhere, shown_json) if not taken.intersection(option.opts)]
        command.add_help_option = False
    if isinstance(command, click.Group):
        for below in command.commands.values():
            adopt(below)
    return command


def _options(shown: bool, shown_json: bool) -> list[click.Option]:
    def keep(context: click.Context, param: click.Parameter, value: Any) -> Any:
        # An option left out here must not undo the one given before the sub-command.
        if value:
            setattr(session(), str(param.name).removeprefix("global_"), value)
        return value

    def option(declaration: list[str], help_: str, *, hidden: bool, **more: Any) -> click.Option:
        return click.Option(
            declaration, help=help_, hidden=hidden, callback=keep, expose_value=False, is_eager=True, **more
        )

    return [
        option(
            ["-w", "--workspace", "global_workspace"],
            "The workspace (or CRM_WORKSPACE; else the current directory).",
            hidden=not shown,
            metavar="DIR",
        ),
        option(["--as", "global_user"], "Who is at work: name or e-mail.", hidden=not shown, metavar="USER"),
        option(["--json", "global_json"], "Print JSON for programs.", hidden=not shown_json, is_flag=True),
        option(["--debug", "global_debug"], "Show where an error came from.", hidden=not shown, is_flag=True),
        click.Option(
            ["--help", "global_help"],
            help="Show this help.",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_help,
        ),
    ] + (
        [
            click.Option(
                ["--version", "global_version"],
                help="Show the version.",
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_version,
            )
        ]
        if shown
        else []
    )


def _help(context: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    if sys.stdout.isatty():
        from crm_core.cli.help import draw

        draw(context)
    else:
        click.echo(context.get_help())
    context.exit()


def _version(context: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from crm_core import __version__

        click.echo(f"crm {__version__}")
        context.exit()
