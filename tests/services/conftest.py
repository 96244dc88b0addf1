from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core import CRM
from tests.databases import new_url
from tests.opening import EVERYWHERE, url_for


@pytest.fixture(params=EVERYWHERE)
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(storage: str, tmp_path: Path) -> Iterator[str]:
    with url_for(storage, tmp_path) as found:
        yield found


@pytest.fixture
def new(storage: str, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    return storage if storage == "memory:" else new_url(storage, tmp_path)


@pytest.fixture
def crm(url: str) -> Iterator[CRM]:
    with CRM.open(url) as opened:
        yield opened
