"""Running one command of `crm` from within another."""

from __future__ import annotations

from collections.abc import Sequence

import click

from crm_core.errors import PluginMissing


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Run another command of `crm` with the workspace and the global options of this one.

    Args:
        name: the command, a plugin's as well.
        arguments: what a person would type after it.

    Returns:
        Its exit code.

    Raises:
        PluginMissing: no installed plugin brings it.
    """
    root = click.get_current_context().find_root()
    assert isinstance(root.command, click.Group), "the root of all commands is a group"
    command = root.command.get_command(root, name)
    if command is None:
        raise PluginMissing(
            f"crm {name} is not there: no installed plugin brings it", hint='pip install "crm-core[standard]"'
        )
    try:
        with command.make_context(name, list(arguments), parent=root) as context:
            result = command.invoke(context)
    except click.exceptions.Exit as stopped:
        return stopped.exit_code
    return result if isinstance(result, int) and not isinstance(result, bool) else 0
