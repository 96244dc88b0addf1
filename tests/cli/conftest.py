from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.calling import Crm

pytest.importorskip("crm_storage_sql", reason="NOT RUN: crm-storage-sql is not installed")


@pytest.fixture(autouse=True)
def _outside_of_any_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CRM_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty workspace to copy."""
    made = Crm(tmp_path_factory.mktemp("empty") / "shop")
    made.ok("init", str(made.directory))
    return made.directory


@pytest.fixture(scope="session")
def stocked(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace to copy, with a user, two customers, a won and an open deal, and a call."""
    made = Crm(tmp_path_factory.mktemp("stocked") / "shop")
    shutil.copytree(empty, made.directory)
    made.ok("teams", "add", "North")
    made.ok("users", "add", "Sara Ahmadi", "--email", "sara@example.org", "--team", "North")
    made.ok(
        "customers", "add", "Ada Lovelace", "--email", "ada@example.org", "--owner", "sara@example.org", "country=GB"
    )
    made.ok("customers", "add", "سارا احمدی", "--phone", "+98 21 5550 1000", "--tag", "vip", "country=IR")
    made.ok("deals", "add", "ada@example.org", "Licence", "--amount", "1200 EUR", "--owner", "sara@example.org")
    made.ok("deals", "move", "Licence", "won")
    made.ok("deals", "add", "ada@example.org", "Support", "--amount", "۳۰۰ USD")
    made.ok("interactions", "log", "ada@example.org", "Asked for a quote", "--topic", "request", "--kind", "call")
    return made.directory


@pytest.fixture
def crm(empty: Path, tmp_path: Path) -> Crm:
    """An empty workspace of the test's own."""
    return Crm(Path(shutil.copytree(empty, tmp_path / "shop")))


@pytest.fixture
def shop(stocked: Path, tmp_path: Path) -> Crm:
    """A stocked workspace of the test's own."""
    return Crm(Path(shutil.copytree(stocked, tmp_path / "shop")))
