"""pluggy's part of the host: the specifications, and the implementations that passed our own checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pluggy

from crm_core.errors import PluginError
from crm_core.hookspecs import FAMILIES
from crm_core.host.contract import CONTRACT
from crm_core.host.marker import MARK, PROJECT


class Checked:
    """What pluggy is given in place of a plugin: its checked functions alone, equal to nothing but itself.

    pluggy compares plugins with `==` and reads every attribute; a plugin's own object may answer to both as it likes.
    """

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self.__dict__.update(functions)


class HookRegistry(pluggy.PluginManager):
    """pluggy's manager, reading the marks of `hookspecs.py` and of `hookimpl`."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        for family in FAMILIES.values():
            self.add_hookspecs(family)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        """Take for a specification what the contract has."""
        if name not in CONTRACT:
            return None
        return {
            "firstresult": CONTRACT[name].policy == "first",
            "historic": False,
            "warn_on_impl": None,
            "warn_on_impl_args": None,
        }

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Take for an implementation what was checked."""
        return getattr(getattr(plugin, name), MARK, {}) if name in vars(plugin) else None

    def admit(self, name: str, functions: Mapping[str, Any]) -> None:
        """Register a plugin's checked functions by hook: all of them, or none.

        Raises:
            PluginError: pluggy refuses them.
        """
        try:
            self.register(Checked(functions), name)
        except (pluggy.PluginValidationError, ValueError) as error:
            self.dismiss(name)
            raise PluginError(f"is refused: {' '.join(str(error).split())}") from error

    def dismiss(self, name: str) -> None:
        """Unregister a plugin, if it is registered."""
        if self.has_plugin(name):
            self.unregister(name=name)

    def names(self, hook: str) -> list[str]:
        """Return the names of the plugins that implement a hook."""
        return [implementation.plugin_name for implementation in getattr(self.hook, hook).get_hookimpls()]
