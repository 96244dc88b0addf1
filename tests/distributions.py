"""Distributions that one test sees as installed: an example's plugin must not change what the others count.

The metadata is what the build backend writes, so that a wrong `pyproject.toml` shows; the code is used where it lies.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from zipfile import ZipFile

from hatchling import build


def install(project: Path, site: Path) -> None:
    """Write the metadata of a project into a directory of packages."""
    site.mkdir(parents=True, exist_ok=True)
    with chdir(project):
        wheel = site / build.build_wheel(str(site))
    with ZipFile(wheel) as archive:
        archive.extractall(site, [name for name in archive.namelist() if ".dist-info/" in name])
    wheel.unlink()


@contextmanager
def installed(projects: list[Path], site: Path) -> Iterator[None]:
    """Have projects installed, in this process and in those it starts."""
    for project in projects:
        install(project, site)
    added = [str(site), *(str(project) for project in projects)]
    path, variable = sys.path[:], os.environ.get("PYTHONPATH")
    sys.path[:0] = added
    os.environ["PYTHONPATH"] = os.pathsep.join([*added, *([variable] if variable else [])])
    try:
        yield
    finally:
        sys.path[:] = path
        if variable is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = variable
