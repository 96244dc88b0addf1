"""Writing `crm.toml`: the first one of a workspace, and additions that leave comments and order as they are."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs

from crm_core.errors import SettingsError
from crm_core.settings.files import whole_file
from crm_core.settings.model import FILE_NAME, Settings
from crm_core.settings.read import load_settings, parse

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


def write_settings(
    directory: str | Path,
    *,
    storage_url: str,
    currency: str,
    zone: str = "UTC",
    calendar: str = "gregorian",
    reporting_currency: str | None = None,
    user: str | None = None,
) -> Path:
    """Write the first `crm.toml` of a workspace, creating the directory.

    Returns:
        The file.

    Raises:
        SettingsError: a value is not understood, or the file is already there.
    """
    import tomlkit  # only what writes the file pays for it

    place = Path(directory).expanduser().absolute()
    file = place / FILE_NAME
    if file.exists():
        raise SettingsError(f"{file} is already there", hint="edit it, or choose another directory")
    crm = {
        "currency": currency,
        "zone": zone,
        "calendar": calendar,
        "reporting_currency": reporting_currency,
        "user": user,
    }
    document = tomlkit.document()
    document.add("crm", _table_of({key: value for key, value in crm.items() if value is not None}))
    document.add("storage", _table_of({"url": storage_url}))
    return _replace(file, tomlkit.dumps(document))


def add_to_settings(
    directory: str | Path,
    *,
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]] = _EMPTY,
    pipelines: Mapping[str, Mapping[str, Any]] = _EMPTY,
) -> list[str]:
    """Add a team's own fields, by record type and name, and pipelines, by name; comments and order of the file stay.

    What is there already, the same, is left alone.

    Returns:
        What was added, as the names of tables: `fields.customer.sector`.

    Raises:
        SettingsError: one of them is there and says something else, or is not understood; nothing is written.
    """
    import tomlkit

    load_settings(directory)
    file = Path(directory).expanduser().absolute() / FILE_NAME
    document = tomlkit.parse(file.read_bytes().decode("utf-8-sig"))
    wanted: dict[tuple[str, ...], Mapping[str, Any]] = {
        ("fields", kind, name): content for kind, named in fields.items() for name, content in named.items()
    }
    wanted |= {("pipelines", name): content for name, content in pipelines.items()}
    added = []
    for path, content in wanted.items():
        table: Any = document
        for part in path[:-1]:
            table = table.setdefault(part, tomlkit.table(is_super_table=True))
        if path[-1] not in table:
            table.add(path[-1], _table_of(content))
            added.append(".".join(path))
        elif table[path[-1]].unwrap() != content:
            raise SettingsError(
                f"{file}: [{'.'.join(path)}] is already there and says something else",
                hint=f"make it say {content}, or rename one of the two",
            )
    if added:
        _replace(file, tomlkit.dumps(document))
    return added


def set_disabled(directory: str | Path, plugin: str, distribution: str, *, disabled: bool) -> bool:
    """Add a plugin to `[plugins] disabled`, or take it out, by either name; comments and order of the file stay.

    The short form `plugins = ["./my_hooks.py"]` has no place for it, and becomes a table at the end of the file.

    Returns:
        Whether that changed anything.

    Raises:
        SettingsError: the file cannot be read or written.
    """
    import tomlkit

    load_settings(directory)
    file = Path(directory).expanduser().absolute() / FILE_NAME
    document = tomlkit.parse(file.read_bytes().decode("utf-8-sig"))
    plugins = _table_of_plugins(document)
    names = plugins.setdefault("disabled", tomlkit.array())
    there = [name for name in names if name in (plugin, distribution)]
    if bool(there) is disabled:
        return False
    if disabled:
        names.append(plugin)
    for name in there:
        names.remove(name)
    _replace(file, tomlkit.dumps(document))
    return True


def extended_settings(
    settings: Settings,
    folder: Path,
    *,
    fields: Mapping[str, Mapping[str, Mapping[str, Any]]] = _EMPTY,
    pipelines: Mapping[str, Mapping[str, Any]] = _EMPTY,
) -> Settings:
    """Return the settings as they would be with these own fields and pipelines; only in `folder` a file is written.

    Raises:
        SettingsError: as in `add_to_settings`, or the settings have no file.
    """
    if not fields and not pipelines:
        return settings
    if settings.file is None:
        raise no_file()
    shutil.copy(settings.file, folder / FILE_NAME)
    add_to_settings(folder, fields=fields, pipelines=pipelines)
    return attrs.evolve(load_settings(folder), directory=settings.directory)


def no_file() -> SettingsError:
    """Build the error of settings that have no file to which something could be added."""
    return SettingsError(
        "own fields and pipelines are kept in crm.toml, and this CRM was opened by a URL",
        hint="create a workspace with `crm init DIR` and open the directory",
    )


def _table_of_plugins(document: Any) -> Any:
    """Return the table `[plugins]` of a document, made of the short form or anew where there is none."""
    import tomlkit

    held = document.get("plugins")
    if isinstance(held, list):
        document.remove("plugins")
        table = tomlkit.table()
        table.add("paths", held)
        document.add("plugins", table)
    return document.setdefault("plugins", tomlkit.table())


def _replace(file: Path, text: str) -> Path:
    """Check a text, and put it in the place of the file."""
    parse(text, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        failure = SettingsError(
            f"{file} cannot be written: {error.strerror}",
            hint="free some space on that disk, or give yourself the right to write there",
        )
        failure.exit_code = 1  # nothing is wrong with what was asked for
        raise failure from error
    return file


def _table_of(content: Mapping[str, Any]) -> Any:
    import tomlkit

    table = tomlkit.table()
    for key, value in content.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            inline = [_inline(each) if isinstance(each, Mapping) else each for each in value]
            array = tomlkit.array()
            array.extend(inline)
            table.add(key, array.multiline(any(isinstance(each, Mapping) for each in value)))
        else:
            table.add(key, value)
    return table


def _inline(content: Mapping[str, Any]) -> Any:
    import tomlkit

    made = tomlkit.inline_table()
    made.update(content)
    return made
