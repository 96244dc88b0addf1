from __future__ import annotations

from pathlib import Path

import pytest

from crm_core.extend import Storage
from crm_core.testing import StorageContract
from crm_storage_sql.plugin import open_sqlite


@pytest.mark.database("sqlite")
class TestSqlite(StorageContract):
    def open(self, path: Path) -> Storage:
        return open_sqlite(f"sqlite:///{path}/crm.db", {})
