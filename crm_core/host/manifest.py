"""The static manifest `crm-plugin.toml` of a plugin: read without an import, written from and compared with code."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core.errors import PluginError, PluginMissing
from crm_core.extend import Command
from crm_core.hookspecs import HOOK_API_VERSION
from crm_core.host import load
from crm_core.host.contract import CONTRACT, unknown_hook

MANIFEST_FILE: Final = "crm-plugin.toml"
_KEYS: Final = ("hook_api", "hooks", "commands")
_EXAMPLE: Final = "write it anew: `crm plugins manifest --write PACKAGE`"


@attrs.frozen(kw_only=True)
class Manifest:
    """What a plugin says of itself without being imported."""

    hook_api: int
    hooks: tuple[str, ...]
    commands: tuple[Command, ...] = ()


def read(file: Path) -> Manifest:
    """Read a manifest.

    Raises:
        PluginError: it cannot be read, or says something that is not understood.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PluginError(f"{file} cannot be read: {error}", hint=_EXAMPLE) from None
    if unknown := sorted(set(content) - set(_KEYS)):
        raise PluginError(f"{file}: unknown key {unknown[0]!r}; the keys are {', '.join(_KEYS)}", hint=_EXAMPLE)
    hook_api, hooks, commands = content.get("hook_api"), content.get("hooks"), content.get("commands", {})
    if type(hook_api) is not int:
        raise PluginError(f"{file}: hook_api is {hook_api!r}, expected a whole number", hint=_EXAMPLE)
    if not isinstance(hooks, list) or not all(isinstance(hook, str) for hook in hooks):
        raise PluginError(f"{file}: hooks is {hooks!r}, expected a list of hook names", hint=_EXAMPLE)
    if not isinstance(commands, dict):
        raise PluginError(f"{file}: commands is {commands!r}, expected tables [commands.NAME]", hint=_EXAMPLE)
    return Manifest(
        hook_api=hook_api,
        hooks=tuple(hooks),
        commands=tuple(_command(file, name, table) for name, table in commands.items()),
    )


def unknown_hooks(manifest: Manifest) -> str:
    """Say which hook of the manifest the contract lacks; empty when it has them all."""
    return next((unknown_hook(hook) for hook in manifest.hooks if hook not in CONTRACT), "")


def of_code(plugin: object) -> Manifest:
    """Build the manifest that a plugin's code asks for.

    Raises:
        PluginError: the code breaks the contract.
    """
    found = load.implementations(plugin)
    commands: tuple[Command, ...] = ()
    if "register_commands" in found:
        commands = tuple(sorted(found["register_commands"].function(), key=lambda command: command.name))
    return Manifest(hook_api=HOOK_API_VERSION, hooks=tuple(sorted(found)), commands=commands)


def write(package: str) -> Path:
    """Write the manifest of a package from its code, and return the file.

    Raises:
        PluginMissing: there is no such package.
        PluginError: its code breaks the contract.
    """
    import tomlkit  # only what writes the file pays for it

    file = place(package) / MANIFEST_FILE
    made = of_code(_plugin_of(package))
    document = tomlkit.document()
    document.add(tomlkit.comment("Written by `crm plugins manifest --write`; read without importing the plugin."))
    document.add("hook_api", made.hook_api)
    document.add("hooks", tomlkit.array().multiline(len(made.hooks) > 3))
    document["hooks"].extend(made.hooks)
    if made.commands:
        commands = tomlkit.table(is_super_table=True)
        for command in made.commands:
            table = tomlkit.table()
            table.update({"help": command.help, "target": command.target})
            commands.add(command.name, table)
        document.add("commands", commands)
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    return file


def check(package: str) -> list[str]:
    """Compare the manifest of a package with its code.

    Returns:
        The differences in words; none when they are equal.

    Raises:
        PluginMissing: there is no such package.
        PluginError: its code breaks the contract, or the manifest cannot be read.
    """
    file = place(package) / MANIFEST_FILE
    written, wanted = read(file), of_code(_plugin_of(package))
    return differences(written, wanted)


def differences(written: Manifest, wanted: Manifest) -> list[str]:
    """Say in words where a manifest differs from what the code asks for."""
    said = []
    if written.hook_api != wanted.hook_api:
        said.append(f"hook_api is {written.hook_api}, the kernel's is {wanted.hook_api}")
    said += [f"hook {hook} is in the code, not in the manifest" for hook in wanted.hooks if hook not in written.hooks]
    said += [f"hook {hook} is in the manifest, not in the code" for hook in written.hooks if hook not in wanted.hooks]
    theirs, ours = _by_name(written.commands), _by_name(wanted.commands)
    said += [f"command {name} differs: {theirs.get(name)} is written, the code has {ours.get(name)}"
             for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]  # fmt: skip
    return said


def place(package: str) -> Path:
    """Return the directory of a top-level package, without importing it.

    Raises:
        PluginMissing: there is none of that name.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise PluginMissing(f"there is no package {package!r} here", plugin=package, hint=f"pip install {package}")
    if not spec.submodule_search_locations:
        raise PluginError(
            f"{package!r} is a single module, a plugin is a package: {MANIFEST_FILE} lies in it", plugin=package
        )
    places = [Path(each) for each in spec.submodule_search_locations]
    return next((each for each in places if (each / MANIFEST_FILE).is_file()), places[0])


def _plugin_of(package: str) -> object:
    from crm_core.host import discover  # it reads manifests, hence not above

    candidates = [each for each in discover.installed() if each.package == package]
    module = candidates[0].module if candidates else f"{package}.plugin"
    attribute = candidates[0].attribute if candidates else "plugin"
    return load.import_object(module, attribute)


def _command(file: Path, name: str, table: Mapping[str, Any]) -> Command:
    keys = {"help", "target"}
    if not isinstance(table, dict) or set(table) != keys or not all(isinstance(table[key], str) for key in keys):
        raise PluginError(
            f"{file}: [commands.{name}] needs help and target, both text, and nothing else", hint=_EXAMPLE
        )
    return Command(name=name, help=table["help"], target=table["target"])


def _by_name(commands: tuple[Command, ...]) -> dict[str, Command]:
    return {command.name: command for command in commands}
