"""Calls `crm` as a person does: as a process of its own, or (faster) within the test's process."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import attrs

from crm_core.cli.main import main


@attrs.frozen
class Said:
    """What a call of `crm` ended with and printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error on standard error, as `--json` prints it."""
        return json.loads(self.err.splitlines()[-1])["error"]


@attrs.frozen
class Crm:
    """A workspace, and `crm` on it."""

    directory: Path

    def __call__(self, *arguments: str) -> Said:
        """Run a command in this process."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["-w", str(self.directory), *arguments])
        return Said(code, out.getvalue(), err.getvalue())

    def ok(self, *arguments: str) -> Said:
        """Run a command that must succeed."""
        said = self(*arguments)
        assert said.code == 0, said
        return said

    def process(self, *arguments: str, env: Mapping[str, str] | None = None) -> Said:
        """Run a command as a process of its own."""
        return process("-w", str(self.directory), *arguments, env=env)


def process(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Said:
    """Run `crm` as a process of its own, without a terminal."""
    environment = {**os.environ, "PYTHONUTF8": "1", **(env or {})}
    environment.pop("CRM_WORKSPACE", None)
    done = subprocess.run(
        [sys.executable, "-m", "crm_core", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        cwd=cwd,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)
