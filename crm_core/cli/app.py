"""All commands of `crm`: the kernel's by name and place, the plugins' from their manifests; listing imports none."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from crm_core.cli.everywhere import adopt
from crm_core.cli.run import ReaderLeft
from crm_core.console.options import examples
from crm_core.errors import CrmError, PluginError

if TYPE_CHECKING:
    from crm_core.extend import Command
    from crm_core.settings import Settings

KERNEL: Final = {
    "init": ("crm_core.cli.begin:init", "Make a workspace: crm.toml and an empty database."),
    "customers": ("crm_core.cli.customers:customers", "Who buys: list, show, add, edit, merge, erase."),
    "interactions": ("crm_core.cli.interactions:interactions", "Messages, calls, meetings, visits and notes."),
    "deals": ("crm_core.cli.deals:deals", "Chances to sell: list, move, and the board of a pipeline."),
    "sales": ("crm_core.cli.sales:sales", "Revenue: sales and refunds."),
    "users": ("crm_core.cli.people:users", "The people at work."),
    "teams": ("crm_core.cli.people:teams", "Their teams."),
    "pipelines": ("crm_core.cli.vocabulary:pipelines", "Pipelines and their stages."),
    "fields": ("crm_core.cli.vocabulary:fields", "What every record type holds, and whose the field is."),
    "metrics": ("crm_core.cli.metrics:metrics", "KPIs: values, before and after, and how they come about."),
    "segments": ("crm_core.cli.segments:segments", "Groups of customers, such as ABC."),
    "ledger": ("crm_core.cli.ledger:ledger", "What was done: log, show, undo, verify."),
    "plugins": ("crm_core.cli.plugins:plugins", "What is installed, whether it works, and what it costs."),
    "run": ("crm_core.cli.workers:run", "Tell plugins what happened: as a daemon, or once."),
    "storage": ("crm_core.cli.storage:storage", "The database: upgrade, backup, restore, verify, reindex."),
    "doctor": ("crm_core.cli.doctor:doctor", "Check the workspace from top to bottom."),
}
"""The kernel's commands in the order of the help: name -> (place of the code, help)."""


_PLUGIN_COMMANDS: Final = "crm_core.plugin_commands"


class Commands(click.Group):
    """The root: finds a command by name among the kernel's and the plugins', and imports only that one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, the kernel's first."""
        return [*KERNEL, *added_to()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name; None when nobody has it."""
        if cmd_name in KERNEL:
            return load(KERNEL[cmd_name][0], cmd_name)
        found = added_to().get(cmd_name)
        return load_plugin_command(found) if found is not None else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that left is not an error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderLeft from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names, or say which one may have been meant."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            meant = f"; did you mean {close[0]!r}?" if close else "; a plugin that brings it may not be installed"
            raise click.UsageError(f"there is no command {args[0]!r}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the examples whose commands are there."""
        formatter.write_paragraph()
        for line in self.examples():
            formatter.write(f"{line}\n")

    def examples(self) -> list[str]:
        """Return the lines of the examples, without those of commands that no installed plugin brings."""
        known = {*KERNEL, *added_to()}
        heading, *lines = (self.epilog or "").splitlines()[1:]
        return [heading, *(line for line in lines if line.split()[1] in known)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their help, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in KERNEL.items()])
        if added := added_to():
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, command.help) for name, command in added.items()])


def load(target: str, name: str) -> click.Command:
    """Import a command from "package.module:attribute" and give it the options that stand everywhere."""
    module, _, attribute = target.partition(":")
    found: Any = getattr(import_module(module), attribute)
    if not isinstance(found, click.Command):
        raise PluginError(f"{target} is no click command but {type(found).__name__}", hint=f"crm plugins check: {name}")
    return adopt(found)


def load_plugin_command(command: Command) -> click.Command:
    """Import a plugin's command; whatever goes wrong names the plugin's code.

    Raises:
        PluginError: the code cannot be imported.
    """
    try:
        return load(command.target, command.name)
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            f"the command {command.name!r} cannot be loaded from {command.target}: {type(error).__name__}: {error}",
            hint="crm plugins list shows whose it is; crm plugins check says what is wrong with it",
        ) from error


def plugin_commands() -> dict[str, Command]:
    """Return the commands that plugins bring, by name in alphabetical order; read from manifests only."""
    context = click.get_current_context(silent=True)
    known: dict[str, Any] = {} if context is None else context.meta
    if _PLUGIN_COMMANDS not in known:
        from crm_core.host import Host

        host = Host.open(lenient_settings(), tolerant=True)
        known[_PLUGIN_COMMANDS] = {command.name: command for command in host.commands()}
    found: dict[str, Command] = known[_PLUGIN_COMMANDS]
    return found


def added_to(group: str = "") -> dict[str, Command]:
    """Return the commands that plugins add to a group of the kernel (none: to `crm` itself), by their last name."""
    parted = {name: name.rpartition(" ") for name in plugin_commands()}
    return {last: plugin_commands()[name] for name, (before, _, last) in parted.items() if before == group}


def lenient_settings() -> Settings:
    """Return the workspace's settings, or the defaults where there is no workspace or its settings have a mistake.

    Help must work there; a command that opens the workspace reports the mistake.
    """
    from crm_core.console.session import session
    from crm_core.settings import load_settings, settings_for_url

    directory = Path(session().place)
    try:
        if (directory / "crm.toml").is_file():
            return load_settings(directory)
    except CrmError:
        pass
    return settings_for_url("memory:")


@click.group(
    cls=Commands,
    epilog=examples(
        "crm demo                                  a generated company to look at",
        "crm init shop --currency EUR && cd shop   a workspace of your own",
        "crm import customer people.csv --map people.toml",
        'crm metrics show win_rate --by owner --period "last 90 days"',
    ),
)
def crm() -> None:
    """Look after customers, messages, deals and revenue, and see KPIs and segments.

    Work in a workspace: a directory with a crm.toml, by -w DIR, CRM_WORKSPACE, or the current one.
    """


adopt(crm, everywhere=True)
