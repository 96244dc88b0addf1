"""`crm customers reassign`: work goes from one person to another, counted before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from crm_core.cli.records import find
from crm_core.console import clean, confirm, emit, examples, plural, say, where_option, workspace, yes_option
from crm_core.errors import UsageError
from crm_core.query.ast import Compare
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core.crm import CRM
    from crm_core.records import User
    from crm_core.services.handover import HandoverReport


@click.command(
    epilog=examples(
        "crm customers reassign --from sara --to davit --dry-run",
        "crm customers reassign --from sara@example.org --to davit@example.org --where 'country = \"AM\"'",
        "crm customers reassign --team North --to davit --yes",
    )
)
@click.option("--from", "giver", metavar="USER", help="Whose work it was.")
@click.option("--team", metavar="TEAM", help="Instead of --from: everybody of a team, but for the one who takes over.")
@click.option("--to", "taker", metavar="USER", required=True, help="Who has it from now on.")
@where_option("""Only customers that match, and what is theirs, such as 'country = "AM"'.""")
@click.option("--dry-run", is_flag=True, help="Count what would go over, and write nothing.")
@yes_option
def reassign(giver: str | None, team: str | None, taker: str, where: str | None, dry_run: bool, yes: bool) -> None:
    """Hand work over to another user.

    Over go the customers that were owned, open deals, and incoming interactions that wait for an answer. Closed work
    keeps its owner. One operation, which `crm ledger undo` takes back.
    """
    with workspace() as crm:
        to: User = find(crm, "user", taker)
        givers = [one for one in _givers(crm, giver, team) if team is None or one.id != to.id]
        ids = [one.id for one in givers]
        report = crm.reassign(ids, to.id, where=where, dry_run=True)
        told = ", ".join(clean(one.name) for one in givers)
        if not dry_run and _total(report):
            confirm(f"Hand over {_counted(report)} from {told} to {clean(to.name)}?", yes=yes, undoable=True)
            report = crm.reassign(ids, to.id, where=where)
        emit(_json(report), lambda: _show(report, told, clean(to.name)))


def _givers(crm: CRM, giver: str | None, team: str | None) -> list[User]:
    if (giver is None) == (team is None):
        raise UsageError("whose work is it?", hint="name a user with --from, or a team with --team, not both")
    if giver is not None:
        return [find(crm, "user", giver)]
    found = find(crm, "team", str(team))
    members = list(crm.users.find(Compare("team_id", "=", found.id), sort="name", limit=None))
    if not members:
        raise UsageError(f"nobody is in the team {found.name}", hint="crm users list shows who is in which")
    return members


def _total(report: HandoverReport) -> int:
    return report.customers + report.deals + report.interactions


def _counted(report: HandoverReport) -> str:
    deals, waiting = plural(report.deals, "open deal"), plural(report.interactions, "unanswered interaction")
    return f"{plural(report.customers, 'customer')}, {deals} and {waiting}"


def _show(report: HandoverReport, givers: str, taker: str) -> None:
    if not _total(report):
        say(
            f"There is nothing to hand over from {givers}: no customer, no open deal, nothing that waits for an answer."
        )
    elif report.dry_run:
        say(f"would hand over {_counted(report)} from {givers} to {taker}")
    else:
        say(f"handed over {_counted(report)} from {givers} to {taker}; closed work keeps its owner")
        say("crm ledger undo last takes it back")


def _json(report: HandoverReport) -> dict[str, Any]:
    return {
        "from": [format_id(giver) for giver in report.givers],
        "to": format_id(report.taker),
        "customers": report.customers,
        "deals": report.deals,
        "interactions": report.interactions,
        "operation": None if report.operation_id is None else format_id(report.operation_id),
        "dry_run": report.dry_run,
    }
