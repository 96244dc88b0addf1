"""`crm customers reassign` and `normalise`, and commands that plugins add to a group of the kernel."""

from __future__ import annotations

import pytest

from crm_core.errors import PluginError
from crm_core.extend import Command
from crm_core.host.names import Names
from crm_core.host.plugin import Plugin
from tests.cli.calling import Crm


def test_work_goes_from_one_user_to_another_and_back_by_undo(shop: Crm) -> None:
    shop.ok("users", "add", "Davit")
    shop.ok("deals", "add", "ada@example.org", "Open", "--owner", "sara@example.org")
    dry = shop.ok("customers", "reassign", "--from", "sara@example.org", "--to", "Davit", "--dry-run")
    assert "would hand over 1 customer, 1 open deal and 0 unanswered interactions" in dry.out
    done = shop.ok("customers", "reassign", "--from", "sara@example.org", "--to", "Davit", "--yes", "--json").json
    assert (1, 1, 0, False) == (done["customers"], done["deals"], done["interactions"], done["dry_run"])
    assert ["Open"] == [one["title"] for one in shop.ok("deals", "list", "--where", "owner = Davit", "--json").json]
    again = shop.ok("customers", "reassign", "--team", "North", "--to", "Davit")
    assert "There is nothing to hand over from Sara Ahmadi" in again.out
    shop.ok("ledger", "undo", done["operation"], "--yes")
    assert [] == shop.ok("deals", "list", "--where", "owner = Davit", "--json").json


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--to", "Sara Ahmadi"], 2, "whose work is it?"),
        (["--from", "Sara Ahmadi", "--team", "North", "--to", "Gone"], 2, "whose work is it?"),
        (["--from", "Nobody", "--to", "Sara Ahmadi"], 1, "no user matches 'Nobody'"),
        (["--from", "Sara Ahmadi", "--to", "Gone"], 2, "Gone is inactive and takes no work over"),
        (["--from", "Sara Ahmadi", "--to", "Sara Ahmadi"], 2, "two different people"),
        (["--team", "Empty", "--to", "Sara Ahmadi"], 2, "nobody is in the team Empty"),
    ],
)
def test_who_cannot_give_or_take_is_told_why(shop: Crm, arguments: list[str], code: int, told: str) -> None:
    shop.ok("users", "add", "Gone", "active=no")
    shop.ok("teams", "add", "Empty")
    said = shop("customers", "reassign", *arguments)
    assert (code, True) == (said.code, told in said.err)
    assert "Traceback" not in said.err


def test_keys_that_are_right_are_left_alone(shop: Crm) -> None:
    assert "All 2 contact points have the keys they should have." in shop.ok("customers", "normalise", "--dry-run").out
    assert {"read": 2, "changed": {}, "examples": [], "dry_run": False} == shop.ok(
        "customers", "normalise", "--json"
    ).json


@pytest.mark.parametrize("name", ["ledger prune", "customers old list", "nowhere at"])
def test_a_command_is_added_to_an_open_group_only(name: str) -> None:
    with pytest.raises(PluginError, match="to what is no group"):
        Names().claim(object.__new__(Plugin), "command", [Command(name=name, help="", target="x:y").name])
