"""The commands on a database server: what works on a file works there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.calling import Crm
from tests.databases import SERVERS, drop_all, new_url


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.database(name)) for name in SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield new_url(request.param, tmp_path)
    drop_all()


def test_a_workspace_on_a_server_is_made_filled_asked_undone_and_upgraded(url: str, tmp_path: Path) -> None:
    crm = Crm(tmp_path / "shop")
    crm.ok("init", str(crm.directory), "--storage", url)
    crm.ok("customers", "add", "سارا احمدی", "--email", "sara@example.org", "country=IR")
    crm.ok("deals", "add", "sara@example.org", "Licence", "--amount", "1200 EUR")
    crm.ok("deals", "move", "Licence", "won")
    (revenue,) = crm.ok("metrics", "show", "revenue", "--json").json
    assert 1200 == revenue["value"]
    people = tmp_path / "people.csv"
    people.write_text("name,city\nAda,London\nBob,Kassel\n", encoding="utf-8")
    mapping = tmp_path / "map.toml"
    mapping.write_text(
        '[file]\nsystem = "t"\n[[record]]\ntype = "customer"\nkey = "name"\n'
        '[record.fields]\nname = "name"\ncity = "city"\n'
    )
    rehearsed = crm.ok("import", "customer", str(people), "--map", str(mapping), "--dry-run", "--json").json
    assert (2, 2, 1) == (rehearsed["read"], rehearsed["created"], len(crm.ok("customers", "list", "--json").json))
    crm.ok("import", "customer", str(people), "--map", str(mapping))
    assert 3 == len(crm.ok("customers", "list", "--json").json)
    crm.ok("ledger", "undo", "last")
    assert 1 == len(crm.ok("customers", "list", "--where", 'name contains "سارا"', "--json").json)
    status = crm.ok("storage", "status", "--json").json
    assert status["engine"].startswith(("PostgreSQL", "MariaDB"))
    assert status["records"]["customers"] == 1
    assert crm.ok("doctor").code == 0

    file = crm.directory / "crm.toml"
    file.write_text(file.read_text() + '\n[fields.customer.sector]\ntype = "text"\nlabel = "Sector"\n')
    refused = crm("customers", "list")
    assert 1 == refused.code
    assert "crm storage upgrade" in refused.err
    assert "fields__sector" in crm.ok("storage", "upgrade", "--dry-run").out
    crm.ok("storage", "upgrade")
    crm.ok("customers", "edit", "sara@example.org", "sector=retail")
    assert "up to date" in crm.ok("storage", "upgrade").out


def test_no_command_shows_a_password(tmp_path: Path) -> None:
    crm = Crm(tmp_path / "shop")
    for scheme in ("postgresql", "mariadb"):
        said = crm("init", str(crm.directory), "--storage", f"{scheme}://crm:canary@127.0.0.1:9/crm", "--json")
        assert (1, "") == (said.code, said.out)
        assert "cannot be reached" in said.error["message"]
        assert "canary" not in said.err
        assert not crm.directory.exists()
