from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crm_core import CRM
from tests.opening import STORAGES, url_of


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def crm(storage: str, tmp_path: Path) -> Iterator[CRM]:
    with CRM.open(url_of(storage, tmp_path)) as opened:
        yield opened
