"""What the command line costs before it does anything: against importing the libraries it could not do without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.benchmarks import Row, beside, side_by_side


def run(full: bool) -> list[Row]:
    """Measure whole processes, ours and the bare import in turn, both compiled as an installation leaves them."""
    rounds = 15 if full else 7
    with tempfile.TemporaryDirectory() as directory:
        process = partial(process_with, Path(directory) / "compiled")
        shop = str(Path(directory) / "shop")
        process("-m", "crm_core", "init", shop)()
        process("-m", "crm_core", "customers", "add", "Ada", "-w", shop)()
        version = side_by_side(process("-m", "crm_core", "--version"), process("-c", "import click"), rounds=rounds)
        listing = ["-m", "crm_core", "-w", shop, "customers", "list"]
        listed = side_by_side(process(*listing), process("-c", "import sqlalchemy"), rounds=rounds)
        helped = side_by_side(process("-m", "crm_core", "--help"), process("-c", "import click"), rounds=rounds)
    return [
        beside("crm --version, against import click", *version, times=1.3),
        beside("crm customers list, against import sqlalchemy", *listed, times=1.0),
        Row(name="crm --help, against import click", ours=helped[0], limit=helped[1]),
    ]


def process_with(compiled: Path, *arguments: str) -> Callable[[], object]:
    """Return a call that runs Python with these arguments and fails when it fails.

    Its bytecode is kept in `compiled`, and read from there by the next one. Where the environment forbids bytecode
    (`PYTHONDONTWRITEBYTECODE`), an editable checkout would be compiled anew by every process, and libraries would not.
    """
    command: Sequence[str] = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(compiled)}
    return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)
