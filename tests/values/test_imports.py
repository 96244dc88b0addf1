"""The values stay light: importing them loads neither a database library nor a terminal one."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_values_loads_nothing_heavy() -> None:
    code = "import sys, crm_core.values; print({'sqlalchemy', 'rich', 'pluggy', 'cattrs', 'click'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
