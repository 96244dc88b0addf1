"""What is not imported: every command of `crm` would pay for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from crm_core.host import discover

from .samples import HOOKS, right

HEAVY = {"sqlalchemy", "rich", "click", "cattrs", "tomlkit", "pytest", "packaging"}


def modules_after(program: str, path: str = "") -> set[str]:
    """The modules that a program loads in an interpreter of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH", ""))))}
    code = f"{program}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "program",
    ["import crm_core", "import crm_core.settings", "import crm_core.host"],
)
def test_importing_the_kernel_loads_nothing_heavy(program: str) -> None:
    assert set() == modules_after(program) & HEAVY


def test_the_kernel_alone_loads_no_host() -> None:
    assert set() == modules_after("import crm_core") & {"pluggy", "importlib_metadata", "attrs", "crm_core.host"}


def test_listing_plugins_imports_no_plugin_and_nothing_heavy(site: Any) -> None:
    site.add("crm-one", right(HOOKS[0], "one"))
    program = (
        "import logging; logging.disable()\n"
        "from crm_core.host import Host\n"
        "from crm_core.settings import Settings\n"
        "host = Host.open(Settings(storage_url='memory:'))\n"
        "assert 'one' in [info.name for info in host.plugins() if info.status == 'active']\n"
        "assert host.implements('register_segments')\n"
        "host.commands(), host.owners()"
    )
    loaded = modules_after(program, str(site.root))
    assert set() == loaded & {*HEAVY, "pluggy"}
    assert set() == {name for name in loaded if name.startswith("crm_") and name.partition(".")[0] != "crm_core"}


def test_looking_again_reads_nothing_until_something_changes(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("crm-one", right(HOOKS[0], "one"))
    before = {each.name for each in discover.installed()}
    assert "one" in before
    with monkeypatch.context() as patch:
        patch.setattr(discover, "_installed", None)  # what is called for each plugin that is read
        assert before == {each.name for each in discover.installed()}
    site.add("crm-two", right(HOOKS[0], "two"))
    assert before | {"two"} == {each.name for each in discover.installed()}
    (site.root / "crm_two" / "crm-plugin.toml").write_text("hook_api = 77\nhooks = []\n", "utf-8")
    manifest = next(each.manifest for each in discover.installed() if each.name == "two")
    assert manifest is not None
    assert 77 == manifest.hook_api
    shutil.rmtree(site.root / "crm_two-1.0.dist-info")
    assert before == {each.name for each in discover.installed()}
