"""The suite every plugin passes: `class TestMyPlugin(PluginContract): package = "crm_myplugin"` in a test file.

It needs the plugin installed (`pip install -e .` will do) and pytest to run it, nothing else.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any, ClassVar

import attrs

from crm_core.host import CONTRACT, Collected, Host, PluginInfo, discover, load, manifest
from crm_core.host.discover import Candidate, canonical
from crm_core.host.names import kernel_names, names_of
from crm_core.host.plugin import Plugin
from crm_core.settings import Settings

HEAVY = ("sqlalchemy", "rich", "pandas", "numpy", "duckdb", "alembic")
"""What importing a plugin's package must not load: every command of `crm` would pay for it."""


class PluginContract:
    """What the host expects of a plugin, one claim a test; `package` is the plugin's top-level package."""

    package: ClassVar[str] = ""

    def test_it_is_installed_as_one_plugin(self) -> None:
        found = [each.name for each in discover.installed() if each.package == self.package]
        assert len(found) == 1, (
            f"{self.package} has the entry points {found} in {discover.ENTRY_POINT_GROUP}, expected one"
        )

    def test_its_distribution_requires_a_range_of_the_kernel(self) -> None:
        kernel = [each for each in self.candidate().requires if canonical(each).startswith("crm-core")]
        assert any("<" in each and ">" in each for each in kernel), (
            f"{self.candidate().distribution} requires {kernel}; expected a range such as crm-core>=0.1,<0.2"
        )

    def test_its_manifest_equals_its_code(self) -> None:
        differences = manifest.check(self.package)
        assert differences == [], f"{differences}: run `crm plugins manifest --write {self.package}`"

    def test_its_hooks_keep_the_contract(self) -> None:
        code = load.import_object(self.candidate().module, self.candidate().attribute)
        assert set(load.implementations(code)) <= set(CONTRACT)

    def test_it_works_alone(self) -> None:
        host = self.host()
        host.check()
        info = self.info(host)
        assert info.status == "active", f"{info.title} is {info.status}: {info.reason}. {info.hint}"

    def test_it_hands_over_the_right_types(self) -> None:
        for hook, collected in self.collected():
            wanted = CONTRACT[hook].returns
            assert isinstance(collected.item, wanted), f"{hook} hands over {collected.item!r}, expected {wanted}"

    def test_it_hands_over_the_same_twice(self) -> None:
        first, second = ([(hook, _shown(each.item)) for hook, each in self.collected()] for _ in range(2))
        assert first == second, "a register_* hook is asked once and must not depend on when"

    def test_its_descriptors_are_frozen(self) -> None:
        for hook, collected in self.collected():
            item = collected.item
            if isinstance(item, type):
                continue  # a class of records or fields, frozen by its decorator
            assert attrs.has(type(item)), f"{hook} hands over {type(item).__name__}, expected an attrs class"
            name = attrs.fields(type(item))[0].name
            try:
                setattr(item, name, getattr(item, name))
            except attrs.exceptions.FrozenInstanceError:
                continue
            raise AssertionError(f"{type(item).__name__} of {hook} can be changed: declare it with attrs.frozen")

    def test_it_claims_no_name_of_the_kernel(self) -> None:
        held = set(kernel_names())
        plugin = Plugin(self.candidate())
        for hook, collected in self.collected():
            kind, names = names_of(plugin, hook, [collected.item])
            assert not held & {(kind, name) for name in names}, f"the kernel has a {kind} called {names} already"

    def test_its_commands_can_be_imported(self) -> None:
        for command in self.host().commands():
            module, _, attribute = command.target.partition(":")
            assert callable(load.import_object(module, attribute)), f"{command.target} is no command"

    def test_importing_its_package_is_cheap(self) -> None:
        loaded = self.loaded_by_import()
        heavy = sorted({name.partition(".")[0] for name in loaded} & set(HEAVY))
        assert heavy == [], f"`import {self.package}` loads {heavy}: import them where they are used"

    def candidate(self) -> Candidate:
        """Return the plugin as discovery finds it."""
        found = [each for each in discover.installed() if each.package == self.package]
        assert found, f"no installed distribution has a plugin in {self.package!r}: pip install -e . first"
        return found[0]

    def host(self) -> Host:
        """Return a host in which this plugin runs alone."""
        return Host.open(Settings(storage_url="memory:", plugins_enabled=(self.candidate().name,)))

    def info(self, host: Host) -> PluginInfo:
        """Return what a host says of this plugin."""
        return next(each for each in host.plugins() if each.distribution == self.candidate().distribution)

    def collected(self) -> list[tuple[str, Collected]]:
        """Return everything the plugin hands over, with the hook it came from."""
        host = self.host()
        hooks = [hook.name for hook in CONTRACT.values() if hook.policy == "collect"]
        return [(hook, each) for hook in hooks for each in host.collect(hook)]

    def loaded_by_import(self) -> list[str]:
        """Return the modules that importing the package loads, in an interpreter of their own."""
        importlib.import_module(self.package)
        program = f"import json, sys; import {self.package}; print(json.dumps(sorted(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        modules: list[str] = json.loads(done.stdout)
        return modules


def _shown(item: Any) -> str:
    """Tell one descriptor from another; functions made anew at each call differ only in their address."""
    return item.__qualname__ if isinstance(item, type) else f"{type(item).__name__} {getattr(item, 'name', item)}"
