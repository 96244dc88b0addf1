"""Which importer reads a file: the one that is named, that recognises its content, or that knows its ending."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.errors import PluginError
from crm_core.extend import Importer, Source
from crm_transfer.again import checked
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.filldown import filled_down
from crm_transfer.form import regular_file
from crm_transfer.mapping import RowMapping, parse_mapping

_HEAD: Final = 1 << 16
_OTHER_SHEETS: Final = frozenset([".xls", ".xlsb", ".ods", ".fods", ".numbers", ".html", ".htm", ".xml"])


def importer_for(crm: CRM, path: Path, wanted: str = "", *, mapped: bool = False) -> Importer:
    """Return the importer of a format, else the one that recognises the file, else that of the ending of its name.

    A file that is `mapped` is first taken for what its name says: the mapping is of such a file.

    Raises:
        FileFault: there is no such file.
        MappingError: no installed plugin reads such files, or several take this one for theirs.
    """
    known: dict[str, Importer] = {found.item.name: found.item for found in crm.host.collect("register_importers")}
    regular_file(path)
    if wanted:
        chosen = known.get(wanted)
    else:
        named = next((each for each in known.values() if path.suffix.lower() in each.suffixes), None)
        chosen = (named if mapped else None) or _recognised(crm, path) or named
    if chosen is None:
        what = f"format {wanted!r}" if wanted else f"file {path.name}"
        hint = f"say --format, or [file] format in the mapping: one of {', '.join(known)}"
        if not wanted and path.suffix.lower() in _OTHER_SHEETS:
            hint = f"open it in a spreadsheet program and save it as XLSX or CSV (UTF-8); where it is text, {hint}"
        raise MappingError(f"no installed plugin reads the {what}", hint=hint)
    return chosen


def open_source(importer: Importer, path: Path, options: Mapping[str, Any]) -> Source:
    """Open a file; rows of a reject file that must not come back as they are, and do, are bad rows.

    Raises:
        FileFault: the file as a whole cannot be imported.
        MappingError: a sheet is named, and the format has none.
    """
    source = importer.open(path, options)
    if options.get("sheet") and "sheet" not in source.guesses:
        raise MappingError(f"{path.name}: the format {importer.name} has no sheets", hint="leave --sheet out")
    if options.get("fill_down"):
        source = filled_down(source, options["fill_down"], path.name)
    return checked(source)


def built_in_mapping(crm: CRM, path: Path, *, wanted: str = "", options: Mapping[str, Any]) -> RowMapping | None:
    """Return the mapping that the importer of a file brings; None when it brings none.

    Raises:
        FileFault: the file as a whole cannot be imported.
    """
    importer = importer_for(crm, path, wanted)
    if importer.mapping is None:
        return None
    text = importer.mapping(open_source(importer, path, options).columns)
    read = parse_mapping(text, name=f"the mapping of {importer.name}", system=importer.name)
    return with_form(read, importer.name, options)


def with_form(mapping: RowMapping, name: str, options: Mapping[str, Any]) -> RowMapping:
    """Return a mapping whose file has this format (empty: as it says) and these options beside its own."""
    form = attrs.evolve(mapping.form, format=name or mapping.form.format, options={**mapping.form.options, **options})
    return attrs.evolve(mapping, form=form)


def _recognised(crm: CRM, path: Path) -> Importer | None:
    """Return the importer that takes a file for its own; two that do leave the choice to a person."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise FileFault(
            f"{path}: cannot be read: {error.strerror}", hint="check its permissions", file=path.name
        ) from error
    mine: list[Importer] = []
    for found in crm.host.collect("register_importers"):
        importer: Importer = found.item
        if importer.recognises is None:
            continue
        try:
            is_mine = importer.recognises(head)
        except Exception as error:
            raise PluginError(
                f"{found.distribution} {found.version}: the importer {importer.name} failed to look at {path.name}: "
                f"{type(error).__name__}: {error}",
                hint="say --format to leave it out",
            ) from error
        if is_mine:
            mine.append(importer)
    if len(mine) > 1:
        names = ", ".join(each.name for each in mine)
        raise MappingError(f"{path.name} may be any of {names}", hint="say which one with --format")
    return mine[0] if mine else None
