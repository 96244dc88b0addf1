"""What a call imports is part of the contract: no plugin and no heavy library that a command does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.calling import Crm

SCRIPT = """
import contextlib, io, json, sys
from crm_core.cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    code = main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""


def modules(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    code, loaded = json.loads(done.stdout)
    assert code == 0, done
    return set(loaded)


def test_the_version_is_answered_before_anything_is_imported() -> None:
    loaded = modules("--version")
    ours = {name for name in loaded if name.startswith("crm_")}
    heavy = {"attrs", "attr", "click", "rich", "rich_click", "sqlalchemy", "pluggy", "cattrs", "importlib_metadata"}
    assert {"crm_core", "crm_core.cli", "crm_core.cli.main"} == ours
    assert set() == heavy & loaded


def test_help_imports_no_command_no_plugin_and_no_library_for_drawing() -> None:
    loaded = modules("--help")
    assert set() == {"rich", "rich_click", "sqlalchemy", "sqlite3", "tomlkit"} & loaded
    assert set() == {name for name in loaded if name.startswith("crm_") and not name.startswith("crm_core")}
    assert "crm_core.cli.customers" not in loaded


def test_a_command_imports_no_other_command() -> None:
    loaded = modules("customers", "list", "--help")
    assert "crm_core.cli.customers" in loaded
    assert set() == {"crm_core.cli.deals", "crm_core.cli.metrics", "crm_core.crm", "sqlalchemy", "rich"} & loaded


def test_listing_plugins_imports_none() -> None:
    loaded = modules("plugins", "list")
    assert set() == {name for name in loaded if name.startswith("crm_") and not name.startswith("crm_core")}


def test_a_list_loads_neither_sqlalchemy_nor_rich(crm: Crm) -> None:
    loaded = modules("-w", str(crm.directory), "customers", "list")
    assert set() == {"sqlalchemy", "rich", "rich_click", "tomlkit", "cattrs"} & loaded
    assert "sqlite3" in loaded


def test_the_console_helpers_load_no_library_for_drawing() -> None:
    code = "import sys, crm_core.console; print('rich' in sys.modules or 'sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False" == done.stdout.strip()


def test_the_module_runs_as_the_command_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crm_core", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.startswith("crm 0.")
