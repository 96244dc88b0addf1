"""Names that descriptors claim, so that two plugins that claim one are both named before either is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import crm_core
from crm_core.errors import CrmError, PluginCollision, PluginError
from crm_core.host.discover import canonical
from crm_core.host.plugin import Plugin
from crm_core.host.report import title
from crm_core.records import KERNEL_RECORDS, TOPICS, extension_declaration, record_declaration

KERNEL_COMMANDS: Final = frozenset(
    {"init", "customers", "interactions", "deals", "sales", "users", "teams", "pipelines", "fields"}
    | {"metrics", "segments", "ledger", "plugins", "run", "storage", "doctor"}
)
"""Commands of `crm` that the kernel has itself; a plugin cannot claim them."""
OPEN_GROUPS: Final = frozenset({"customers", "deals", "interactions", "sales"})
"""Groups of the kernel to which plugins may add commands."""


class Names:
    """Who holds which name, by kind of name; the kernel holds its own from the start."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Plugin | None] = dict.fromkeys(kernel_names())

    def claim(self, plugin: Plugin, kind: str, names: Iterable[str]) -> None:
        """Give names to a plugin: all of them, or none.

        Raises:
            PluginCollision: somebody else holds one.
            PluginError: the plugin claims one twice.
        """
        wanted: list[tuple[str, str]] = []
        for name in names:
            if kind == "command" and " " in name and name.rpartition(" ")[0] not in OPEN_GROUPS:
                groups = ", ".join(sorted(OPEN_GROUPS))
                raise PluginError(f"adds the command {name!r} to what is no group", hint=f"such groups are {groups}")
            key = (kind, name)
            if key in wanted:
                raise PluginError(f"hands over the {kind} {name!r} twice")
            if key in self._held and self._held[key] is not plugin:
                raise self._collision(plugin, key)
            wanted.append(key)
        self._held.update(dict.fromkeys(wanted, plugin))

    def release(self, plugin: Plugin) -> None:
        """Take back every name of a plugin."""
        self._held = {key: holder for key, holder in self._held.items() if holder is not plugin}

    def _collision(self, plugin: Plugin, key: tuple[str, str]) -> PluginCollision:
        holder = self._held[key]
        first = title("crm-core", crm_core.__version__) if holder is None else holder.title
        others = f" or {holder.name}" if holder else ""
        return PluginCollision(
            f"claims the {key[0]} {key[1]!r}, which {first} has already",
            hint=f"uninstall one of the two, or `crm plugins detach` {plugin.name}{others}",
        )


def names_of(plugin: Plugin, hook: str, items: Iterable[Any]) -> tuple[str, list[str]]:
    """Return the kind of name that a `register_*` hook claims, and the names.

    Raises:
        PluginError: an item is not declared as it should be.
    """
    kind, each_name = _NAMES[hook]
    names: list[str] = []
    for item in items:
        try:
            mine = each_name(item)
        except CrmError as error:
            raise PluginError(f"hands over what is no {kind}: {error.message}", hint=error.hint) from error
        if not all(isinstance(name, str) and name for name in mine):
            raise PluginError(f"hands over a {kind} without a name: {item!r}")
        names += mine
        if hook == "register_data_migrations" and canonical(item.owner) != canonical(plugin.candidate.distribution):
            raise PluginError(f"hands over a data migration of {item.owner!r}, expected its own distribution")
    return kind, names


def kernel_names() -> list[tuple[str, str]]:
    """Return the names that the kernel holds itself, as (kind, name)."""
    names = [("command", name) for name in KERNEL_COMMANDS]
    names += [("topic", name) for name in TOPICS]
    names += [("calendar", "gregorian"), ("storage scheme", "memory")]
    for cls in KERNEL_RECORDS:
        names += [("record type", name) for name in _record_names(cls)]
    return names


def _record_names(cls: Any) -> list[str]:
    declared = record_declaration(cls)
    names = [declared.name, declared.plural]
    if any(field.kind == "tags" for field in declared.fields):
        names += [f"{declared.name}_tag", f"{declared.name}_tags"]
    return list(dict.fromkeys(names))


def _field_names(cls: Any) -> list[str]:
    declared = extension_declaration(cls)
    return [f"{declared.extends}.{declared.name}"]


def _name(item: Any) -> list[str]:
    return [item.name]


_NAMES: Final[Mapping[str, tuple[str, Callable[[Any], list[str]]]]] = {
    "register_segments": ("segment", _name),
    "register_profile_sections": ("profile section", _name),
    "register_channels": ("channel", _name),
    "register_topics": ("topic", _name),
    "register_pipelines": ("pipeline", _name),
    "register_metrics": ("metric", lambda item: [item.name, *item.aliases]),
    "register_calendars": ("calendar", _name),
    "register_report_sections": ("report section", _name),
    "register_storages": ("storage scheme", lambda item: list(item.schemes)),
    "register_record_types": ("record type", _record_names),
    "register_fields": ("group of fields", _field_names),
    "register_data_migrations": ("data migration", lambda item: [f"{item.table} {item.from_version}"]),
    "register_commands": ("command", _name),
    "register_jobs": ("job", _name),
    "register_services": ("service", _name),
    "register_importers": ("importer", _name),
    "register_exporters": ("exporter", _name),
}
