"""Which plugins there are: entry points of installed distributions, a developer's own objects and files.

Nothing of an installed plugin is imported: metadata and the static manifest say what it brings.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import attrs
import importlib_metadata

from crm_core.errors import PluginError
from crm_core.host import manifest as manifests
from crm_core.host.manifest import Manifest

ENTRY_POINT_GROUP: Final = "crm_core.plugins"


@attrs.frozen(kw_only=True)
class Candidate:
    """A plugin before any judgement. Installed: `module` and `attribute`; own code: `own`, the object, or `file`.

    `fault` says why its manifest could not be read; `requires` are the requirements of its distribution.
    """

    name: str
    distribution: str
    version: str = ""
    requires: tuple[str, ...] = ()
    module: str = ""
    attribute: str = ""
    manifest: Manifest | None = None
    fault: str = ""
    own: object = None
    file: Path | None = None
    place: str = ""

    @property
    def package(self) -> str:
        """The top-level package."""
        return self.module.partition(".")[0]

    @property
    def is_own(self) -> bool:
        """Whether it is the developer's own code, without a distribution."""
        return not self.module


def installed() -> list[Candidate]:
    """Return every installed plugin, by name and distribution.

    Going through all distributions takes longer than everything else when a CRM is opened, so what was found is kept
    until something is installed or removed, `sys.path` changes, or a manifest is written.
    """
    global _scan
    path = tuple(map(_state, sys.path))
    if _scan is None or _scan.path != path or _scan.manifests != tuple(map(_state, _scan.places)):
        points = importlib_metadata.entry_points(group=ENTRY_POINT_GROUP)
        found = sorted(map(_installed, points), key=lambda each: (each.name, each.distribution))
        places = tuple(str(Path(each.place, manifests.MANIFEST_FILE)) for each in found)
        _scan = _Scan(path=path, places=places, manifests=tuple(map(_state, places)), found=found)
    return list(_scan.found)


@attrs.frozen(kw_only=True)
class _Scan:
    """What one look at the installed distributions found, and the state of the files that it depends on."""

    path: tuple[tuple[str, int, int], ...]
    places: tuple[str, ...]
    manifests: tuple[tuple[str, int, int], ...]
    found: list[Candidate]


_scan: _Scan | None = None


def _state(place: str) -> tuple[str, int, int]:
    """Return a place with the time of its last change and its size; a folder changes when something comes or goes."""
    try:
        found = Path(place).stat()
    except OSError:
        return place, -1, -1
    return place, found.st_mtime_ns, found.st_size


def own_objects(plugins: Sequence[object]) -> list[Candidate]:
    """Return candidates for objects handed to `CRM.open(plugins=)`; a second one of a class is called `Name-2`."""
    names: dict[str, int] = {}
    found = []
    for plugin in plugins:
        plain = plugin.__name__ if isinstance(plugin, ModuleType | type) else type(plugin).__name__
        plain = plain.rpartition(".")[2]
        names[plain] = names.get(plain, 0) + 1
        name = plain if names[plain] == 1 else f"{plain}-{names[plain]}"
        module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
        found.append(Candidate(name=name, distribution=name, own=plugin, place=f"{module} (passed to CRM.open)"))
    return found


def own_files(paths: Iterable[str], directory: Path | None) -> list[Candidate]:
    """Return candidates for the files of `[plugins] paths`, relative to the workspace."""
    found = []
    for path in paths:
        file = ((directory or Path()) / Path(path).expanduser()).absolute()
        found.append(Candidate(name=file.stem, distribution=file.stem, file=file, place=str(file)))
    return found


def canonical(distribution: str) -> str:
    """Return the name of a distribution in the form that compares (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _installed(point: importlib_metadata.EntryPoint) -> Candidate:
    name, version, requires = _facts(point.dist) if point.dist else ("unknown", "0", ())
    module, _, attribute = point.value.partition(":")
    candidate = Candidate(
        name=point.name,
        distribution=name,
        version=version,
        requires=requires,
        module=module.strip(),
        attribute=attribute.partition("[")[0].strip(),
    )
    try:
        directory = manifests.place(candidate.package)
        file = directory / manifests.MANIFEST_FILE
        if not file.is_file():
            fault = f"has no {manifests.MANIFEST_FILE} in its package {candidate.package!r}"
            return attrs.evolve(candidate, place=str(directory), fault=fault)
        return attrs.evolve(candidate, place=str(directory), manifest=manifests.read(file))
    except PluginError as error:
        return attrs.evolve(candidate, fault=f"cannot be read: {error.message}")


def _facts(dist: importlib_metadata.Distribution) -> tuple[str, str, tuple[str, ...]]:
    """Return name, version and requirements of a distribution.

    The three headers are read here: `dist` would load the e-mail parser, and parse the whole text for each of them.
    """
    text = dist.read_text("METADATA")
    if text is None:  # not installed from a wheel
        return dist.name or "unknown", dist.version or "0", tuple(dist.requires or ())
    headers: dict[str, list[str]] = {}
    for line in text.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    name, version = (headers.get(key, [""])[0] for key in ("name", "version"))
    return name or "unknown", version or "0", tuple(headers.get("requires-dist", ()))
