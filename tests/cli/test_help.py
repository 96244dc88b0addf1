"""Help: every command explains itself with an example, and the reference in docs/cli.md says the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from crm_core.cli.app import KERNEL, crm, load, plugin_commands
from crm_core.cli.reference import reference
from crm_core.host.names import KERNEL_COMMANDS
from tests.cli.calling import process

ROOT = Path(__file__).parents[2]
BUNDLED = {"customers duplicates", "demo", "import", "export", "report"}


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (target, _) in KERNEL.items():
        yield from below(name, load(target, name))


def below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, sub_command in command.commands.items():
            yield from below(f"{path} {name}", sub_command)


ALL = dict(commands())
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_has_help_and_examples_of_itself(path: str) -> None:
    command = LEAVES[path]
    assert command.help
    examples = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    assert examples
    assert [] == [example for example in examples if not example.startswith(f"crm {path}")]


@pytest.mark.parametrize("path", LEAVES)
def test_every_command_takes_the_global_options_after_its_name(path: str) -> None:
    options = {opt for param in LEAVES[path].params for opt in param.opts}
    assert {"-w", "--as", "--json", "--debug", "--help"} <= options


@pytest.mark.parametrize("path", LEAVES)
def test_every_option_says_what_it_is_for(path: str) -> None:
    options = [param for param in LEAVES[path].params if isinstance(param, click.Option)]
    assert [] == [o.opts for o in options if not o.help and not isinstance(o.type, click.Choice)]


def test_the_help_of_the_table_is_there_for_every_command() -> None:
    said = process("--help")
    assert 0 == said.code
    assert [] == [name for name, (_, help_) in KERNEL.items() if name not in said.out or help_ not in said.out]


def test_help_of_a_command_is_plain_text_when_piped() -> None:
    said = process("deals", "move", "--help")
    assert (0, "") == (said.code, said.err)
    assert "crm deals move [OPTIONS] DEAL STAGE" in said.out
    assert "\x1b" not in said.out


def test_the_help_drawn_on_a_terminal_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_core.cli.help import draw

    shown: list[str] = []
    monkeypatch.setattr(click, "echo", lambda text="", **_: shown.append(text))
    draw(click.Context(crm, info_name="crm"))
    root = click.Context(crm, info_name="crm")
    draw(click.Context(ALL["deals"], info_name="deals", parent=root))
    draw(click.Context(ALL["deals add"], info_name="add", parent=root))
    drawn = "\n".join(shown)
    assert [] == [name for name in (*KERNEL, "board", "--expected-close") if name not in drawn]


def test_the_reference_in_the_documentation_is_current() -> None:
    if missing := BUNDLED - set(plugin_commands()):
        pytest.skip(f"NOT RUN: the commands {sorted(missing)} are not installed")
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert reference() == written, "run python -m crm_core.cli.reference docs/cli.md"


def test_the_names_that_no_plugin_may_take_are_the_commands_of_the_kernel() -> None:
    assert set(KERNEL) == KERNEL_COMMANDS


def test_an_example_of_a_plugin_that_is_not_installed_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("crm demo" in line for line in crm.examples())
    monkeypatch.setattr("crm_core.cli.app.plugin_commands", dict)
    shown = crm.get_help(click.Context(crm, info_name="crm"))
    assert "crm metrics show win_rate" in shown
    assert [] == [line for line in shown.splitlines() if "crm demo" in line or "crm import" in line]
