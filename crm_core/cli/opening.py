"""Groups of the kernel's commands to which plugins add some: a command named `customers duplicates`, say."""

from __future__ import annotations

import click

from crm_core.cli.app import added_to, load_plugin_command


class OpenGroup(click.Group):
    """A group that finds the commands of plugins behind its own; listing them imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, the kernel's first."""
        return [*super().list_commands(ctx), *added_to(str(self.name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name; None when nobody has it."""
        own = super().get_command(ctx, cmd_name)
        found = None if own is not None else added_to(str(self.name)).get(cmd_name)
        return own if found is None else load_plugin_command(found)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their help, without importing one."""
        limit = formatter.width - 6 - max(map(len, self.list_commands(ctx)), default=0)
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(limit)) for name in sorted(self.commands)]
            )
        if added := added_to(str(self.name)):
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, command.help) for name, command in added.items()])
