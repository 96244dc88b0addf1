from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core import CRM
from tests.opening import EVERYWHERE, url_for


@pytest.fixture(params=EVERYWHERE)
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(storage: str, tmp_path: Path) -> Iterator[str]:
    with url_for(storage, tmp_path) as found:
        yield found


@pytest.fixture
def crm(url: str) -> Iterator[CRM]:
    with CRM.open(url) as opened:
        yield opened
