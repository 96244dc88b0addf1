"""A random walk over the storage beside the in-memory model: whatever is done, both answer the same."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

from crm_core.extend import Storage
from crm_core.testing import StorageContract
from tests.torture import Finding, require
from tests.torture.backends import Backend

PROMISE = "same on every storage"


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Walk 5,000 steps (quick: 400)."""
    steps = 5000 if long else 400
    place.rmdir()

    class Walked(StorageContract):
        def open(self, path: Path) -> Storage:
            workspace = path / "work"
            if not workspace.exists():
                backend.settle(workspace)
            return backend.opened(workspace)

    os.environ["CRM_STORAGE_STEPS"] = str(steps)
    said = io.StringIO()
    with redirect_stdout(said):
        Walked().test_a_random_walk_agrees_with_the_model()
    told = said.getvalue().strip().rpartition(": ")[2]
    require(int(told.split()[0].replace(",", "")) >= steps, f"only {told}")
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=told)
