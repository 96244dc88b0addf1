"""The static manifest: read, written from the code, compared with it; and the suite that vendors run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crm_core.errors import PluginError, PluginMissing
from crm_core.extend import Command
from crm_core.host import CONTRACT, manifest
from crm_core.host.manifest import Manifest
from crm_core.testing.plugins import PluginContract

from .conftest import AMBIENT
from .samples import right

COMMAND = "register_commands(self): return [Command(name='سلام', help='Say \"hello\"', target='crm_one.plugin:Plugin')]"


def test_a_manifest_written_from_code_equals_it(site: Any) -> None:
    site.add("crm-one", COMMAND, right(CONTRACT["register_metrics"], "one"), manifest="")
    file = manifest.write("crm_one")
    assert [] == manifest.check("crm_one")
    expected = Manifest(
        hook_api=1,
        hooks=("register_commands", "register_metrics"),
        commands=(Command(name="سلام", help='Say "hello"', target="crm_one.plugin:Plugin"),),
    )
    assert expected == manifest.read(file)
    text = file.read_text("utf-8")
    assert (file, text) == (manifest.write("crm_one"), file.read_text("utf-8"))


def test_every_difference_is_named(site: Any) -> None:
    written = "hook_api = 2\nhooks = ['register_topics']\n[commands.old]\nhelp = 'h'\ntarget = 'a:b'\n"
    site.add("crm-one", COMMAND, manifest=written)
    said = manifest.check("crm_one")
    assert [
        "hook_api is 2, the kernel's is 1",
        "hook register_commands is in the code, not in the manifest",
        "hook register_topics is in the manifest, not in the code",
    ] == said[:3]
    assert ["command old differs", "command سلام differs"] == [each.partition(":")[0] for each in said[3:]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hook_api = 1\nhooks = [", "cannot be read: "),
        ("hook_api = '1'\nhooks = []", "hook_api is '1', expected a whole number"),
        ("hook_api = true\nhooks = []", "hook_api is True, expected a whole number"),
        ("hook_api = 1\nhooks = 'on_deals_changed'", "expected a list of hook names"),
        ("hook_api = 1\nhooks = []\nhook = []", "unknown key 'hook'; the keys are hook_api, hooks, commands"),
        ("hook_api = 1\nhooks = []\ncommands = []", "expected tables [commands.NAME]"),
        ("hook_api = 1\nhooks = []\n[commands.x]\nhelp = 'h'", "[commands.x] needs help and target"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "crm-plugin.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(PluginError) as wrong:
        manifest.read(file)
    assert str(file) in wrong.value.message
    assert told in wrong.value.message


def test_a_package_that_is_not_there_is_said() -> None:
    with pytest.raises(PluginMissing, match="there is no package 'crm_nowhere'"):
        manifest.check("crm_nowhere")


CLAIMS = [name for name in vars(PluginContract) if name.startswith("test_")]


class Suite(PluginContract):
    package = "crm_one"


def run(claim: str) -> str:
    """Run one claim of the suite; returns what it says when it fails."""
    try:
        getattr(Suite(), claim)()
    except (AssertionError, PluginError) as error:
        return str(error)
    return ""


def path_of(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(site.root))


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_right_plugin_passes_the_suite(site: Any, monkeypatch: pytest.MonkeyPatch, claim: str) -> None:
    path_of(site, monkeypatch)
    site.add("crm-one", COMMAND, *(right(CONTRACT[hook], "one") for hook in ("register_fields", "register_metrics")))
    manifest.write("crm_one")
    assert "" == run(claim)


@pytest.mark.parametrize(
    ("claim", "told", "made"),
    [
        ("test_it_is_installed_as_one_plugin", "has the entry points []", {"package": "crm_other"}),
        ("test_its_distribution_requires_a_range_of_the_kernel", "expected a range", {"requires": ["crm-core"]}),
        ("test_its_manifest_equals_its_code", "in the manifest, not in the code", {"hooks": ["register_topics"]}),
        ("test_its_hooks_keep_the_contract", "implements no hook", {"code": "plugin = object()", "hooks": ["x"]}),
        ("test_it_works_alone", "failed in register_metrics", {"method": "register_metrics(self): return 1 / 0"}),
        ("test_it_hands_over_the_right_types", "returned int", {"method": "register_metrics(self): return [1]"}),
        ("test_its_commands_can_be_imported", "cannot be imported", {"commands": "crm_one.nowhere:main"}),
    ],
)
def test_a_wrong_plugin_fails_the_suite(site: Any, claim: str, told: str, made: dict[str, Any]) -> None:
    given = dict(made)
    methods = [given.pop("method", right(CONTRACT["register_metrics"], "one"))]
    if target := given.pop("commands", ""):
        methods = [f"register_commands(self): return [Command(name='c', help='h', target={target!r})]"]
        given["manifest"] = (
            f"hook_api = 1\nhooks = ['register_commands']\n[commands.c]\nhelp = 'h'\ntarget = '{target}'\n"
        )
    site.add("crm-one", *methods, **given)
    assert told in run(claim)


def test_the_suite_fails_for_a_package_that_loads_too_much(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path_of(site, monkeypatch)
    site.add("crm-one", right(CONTRACT["register_metrics"], "one"))
    (site.root / "crm_one" / "__init__.py").write_text("import sqlalchemy\n", "utf-8")
    assert "`import crm_one` loads ['sqlalchemy']" in run("test_importing_its_package_is_cheap")


def test_the_suite_fails_for_descriptors_that_can_be_changed(site: Any) -> None:
    code = """
        import attrs
        class Open(Metric):
            __setattr__ = object.__setattr__
        class Plugin:
            @hookimpl
            def register_metrics(self):
                return [Open(name='m', label='M', unit='count', kind='flow', formula='', population='', base='deal')]
        plugin = Plugin()
    """
    site.add("crm-one", code=code, hooks=["register_metrics"])
    assert "Open of register_metrics can be changed" in run("test_its_descriptors_are_frozen")


def test_the_suite_leaves_the_plugins_of_others_alone(site: Any) -> None:
    site.add("crm-one", right(CONTRACT["register_metrics"], "one"))
    host = Suite().host()
    active = [info.name for info in host.plugins() if info.status == "active"]
    assert ["one"] == active
    assert "one" not in AMBIENT
