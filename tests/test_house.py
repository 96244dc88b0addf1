"""The house itself: what stands at the top level, what each distribution carries, and what no file may say."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent for place in ("plugins", "examples") for path in ROOT.glob(f"{place}/*/pyproject.toml"))
BUNDLED = {
    "crm-channel-email", "crm-channel-messengers", "crm-channel-phone", "crm-channel-web", "crm-contacts", "crm-demo",
    "crm-inbox", "crm-kpi", "crm-products", "crm-segments", "crm-storage-sql", "crm-transfer",
}  # fmt: skip
TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "conftest.py", "constraints.txt",
    "crm_core", "docs", "examples", "mkdocs.yml", "plugins", "pyproject.toml", "tests",
}  # fmt: skip
# Written in pieces, so that this file does not say what it forbids.
FORBIDDEN = [
    re.compile(r"/(?:home|Users)/[a-z]\w+/"),
    re.compile("/ro" + "ot/"),
    re.compile("python" + "hosted|index" + "-url|find-links[= ]+(?:https?|file):"),
    re.compile(r"https?://\S+\.(?:whl|tar\.gz|tgz)\b"),
]


def tracked() -> list[Path]:
    """Every file of the repository."""
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NOT RUN: this tree is not a git checkout, so its files cannot be listed")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def project(directory: Path) -> dict[str, object]:
    """The `[project]` table of a distribution."""
    table: dict[str, object] = tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def package(directory: Path) -> Path:
    """The import package of a distribution: `crm-kpi` ships `crm_kpi`."""
    return directory / str(project(directory)["name"]).replace("-", "_")


def test_the_top_level_holds_the_house_and_nothing_else() -> None:
    assert set() == {path.relative_to(ROOT).parts[0] for path in tracked()} - TOP_LEVEL


def test_no_file_names_a_path_of_a_machine_or_a_package_host() -> None:
    patterns = [*FORBIDDEN, re.compile(re.escape(f"{ROOT}/"))]
    found = []
    for path in tracked():
        text = path.read_text("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {hit[0]}" for pattern in patterns if (hit := pattern.search(text))]
    assert [] == found


def test_constraints_are_exact_versions_each_named_once() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [] == [line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.]*", line)]
    names = [line.partition("==")[0] for line in lines]
    assert sorted(set(names)) == sorted(names)


def test_the_standard_extra_brings_the_bundled_plugins() -> None:
    extras = project(ROOT)["optional-dependencies"]
    assert isinstance(extras, dict)
    assert BUNDLED == {str(line).partition(">")[0] for line in extras["standard"]}
    assert BUNDLED <= {directory.name for directory in PLUGINS}


@pytest.mark.parametrize("directory", [ROOT, *PLUGINS], ids=lambda path: path.name if path != ROOT else "crm-core")
def test_a_distribution_says_one_version_everywhere(directory: Path) -> None:
    version = project(directory)["version"]
    in_code = re.search(r'^__version__ = "(.+)"$', (package(directory) / "__init__.py").read_text("utf-8"), re.M)
    in_changelog = re.search(r"^## (\S+)", (directory / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert [version, version] == [found and found[1] for found in (in_code, in_changelog)]


@pytest.mark.parametrize("directory", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_carries_what_a_vendor_ships(directory: Path) -> None:
    here = package(directory)
    if [path.name for path in here.glob("*.py")] == ["__init__.py"]:
        pytest.skip(f"NOT RUN: {directory.name} has no code yet")
    expected = [directory / name for name in ("README.md", "CHANGELOG.md", "tests")]
    expected += [here / name for name in ("__init__.py", "py.typed", "crm-plugin.toml", "plugin.py")]
    assert [] == [str(path.relative_to(ROOT)) for path in expected if not path.exists()]


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_a_bundled_plugin_carries_the_licence_of_the_house(name: str) -> None:
    directory = ROOT / "plugins" / name
    assert ["LICENSE"] == project(directory)["license-files"]
    assert (ROOT / "LICENSE").read_text("utf-8") == (directory / "LICENSE").read_text("utf-8")


@pytest.mark.parametrize("directory", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_is_named_alike_by_its_folder_its_distribution_and_its_entry_point(directory: Path) -> None:
    table = project(directory)
    short = directory.name.removeprefix("crm-")
    assert directory.name == table["name"]
    assert {"crm_core.plugins": {short: f"{package(directory).name}.plugin:plugin"}} == table["entry-points"]


@pytest.mark.parametrize("directory", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_states_the_kernel_it_runs_on(directory: Path) -> None:
    dependencies = project(directory)["dependencies"]
    assert isinstance(dependencies, list)
    assert "crm-core>=0.1,<0.2" in dependencies
