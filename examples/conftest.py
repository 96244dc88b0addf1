"""An example's distribution is installed while its own tests run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.distributions import installed


@pytest.fixture(scope="module", autouse=True)
def _installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    project = next((above for above in request.path.parents if (above / "pyproject.toml").is_file()), None)
    mine = [project] if project is not None and project != request.config.rootpath else []
    with installed(mine, tmp_path_factory.mktemp("site")):
        yield
