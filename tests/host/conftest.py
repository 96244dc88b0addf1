"""Distributions made on the fly: real metadata and code in a directory on `sys.path`, nothing installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent

import attrs
import pytest

from crm_core.host import Host, discover
from crm_core.settings import Settings

AMBIENT = tuple(candidate.name for candidate in discover.installed())
"""Plugins of the environment the tests run in: they are disabled, so that each test sees its own alone."""

HEAD = """\
from __future__ import annotations
from decimal import Decimal
from crm_core.events import *
from crm_core.extend import *
from crm_core.host import hookimpl
from crm_core.records import *
import crm_core.records as records
"""


@attrs.define
class Site:
    """A directory of installed distributions."""

    root: Path

    def add(
        self,
        name: str,
        *methods: str,
        version: str = "1.0",
        plugin: str = "",
        package: str = "",
        code: str = "",
        hooks: Sequence[str] = (),
        manifest: str | None = None,
        requires: Sequence[str] = ("crm-core<0.2,>=0.1",),
    ) -> str:
        """Install distribution `name` whose plugin has these methods; returns the plugin's name."""
        package = package or name.replace("-", "_")
        plugin = plugin or name.removeprefix("crm-")
        body = "".join(f"    @hookimpl\n    def {method}\n" for method in methods) or "    pass\n"
        source = HEAD + (dedent(code) if code else f"class Plugin:\n{body}\nplugin = Plugin()\n")
        directory = self.root / package
        directory.mkdir()
        (directory / "__init__.py").write_text("", "utf-8")
        (directory / "plugin.py").write_text(source, "utf-8")
        found = [*hooks] or [method.partition("(")[0] for method in methods]
        text = f"hook_api = 1\nhooks = {sorted(found)}\n" if manifest is None else dedent(manifest)
        if text:
            (directory / "crm-plugin.toml").write_text(text, "utf-8")
        info = self.root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text(
            "\n".join(lines + [f"Requires-Dist: {each}" for each in requires]) + "\n", "utf-8"
        )
        (info / "entry_points.txt").write_text(f"[crm_core.plugins]\n{plugin} = {package}.plugin:plugin\n", "utf-8")
        return plugin


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    before = set(sys.modules)
    yield Site(root)
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        if str(root) in str(getattr(module, "__file__", "")) or name.startswith("crm_core_own."):
            del sys.modules[name]


OpenHost = Callable[..., Host]


@pytest.fixture
def open_host(monkeypatch: pytest.MonkeyPatch) -> OpenHost:
    monkeypatch.delenv("CRM_STRICT_PLUGINS", raising=False)

    def open_(*plugins: object, tolerant: bool = False, **settings: object) -> Host:
        disabled = (*AMBIENT, *settings.pop("plugins_disabled", ()))  # type: ignore[misc]
        chosen = Settings(storage_url="memory:", plugins_disabled=disabled, **settings)  # type: ignore[arg-type]
        return Host.open(chosen, plugins, tolerant=tolerant)

    return open_
