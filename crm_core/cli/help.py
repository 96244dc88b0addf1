"""Help on a terminal, drawn by rich-click; imported only when a person asks for it there."""

from __future__ import annotations

import click
from rich_click import RichCommand, RichContext, RichGroup

from crm_core.cli.app import KERNEL, Commands, added_to


def draw(context: click.Context) -> None:
    """Print the help of the command that is being called."""
    drawn = _drawn(context.command)
    with RichContext(drawn, info_name=context.command_path) as rich_context:
        click.echo(drawn.get_help(rich_context))
    # Drawn apart: a paragraph would run the examples together.
    command = context.command
    lines = command.examples() if isinstance(command, Commands) else (command.epilog or "").splitlines()[1:]
    for line in lines:
        click.echo(f" {line}" if line.startswith(" ") else click.style(f" {line}", dim=True))


def _drawn(command: click.Command) -> RichCommand:
    if not isinstance(command, click.Group):
        return RichCommand(
            name=command.name,
            params=command.params,
            help=command.help,
            add_help_option=False,
        )
    group = RichGroup(name=command.name, params=command.params, help=command.help, add_help_option=False)
    for name, text in _below(command):
        group.add_command(click.Command(name=name, help=text, short_help=text))
    return group


def _below(group: click.Group) -> list[tuple[str, str]]:
    if isinstance(group, Commands):
        listed = [(name, help_) for name, (_, help_) in KERNEL.items()]
        return listed + [(name, command.help) for name, command in added_to().items()]
    own = [(name, command.get_short_help_str(200)) for name, command in group.commands.items()]
    return own + [(name, command.help) for name, command in added_to(str(group.name)).items()]
