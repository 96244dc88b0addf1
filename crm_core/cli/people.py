"""`crm users` and `crm teams`: the people at work, who own customers and deals."""

from __future__ import annotations

import click

from crm_core.cli.listing import ListingGroup
from crm_core.cli.records import edit as edit_record
from crm_core.cli.records import emit_done, emit_record, find, given, list_records, with_assignments
from crm_core.console import Number, examples, list_options, workspace
from crm_core.records import Team, User


@click.group(cls=ListingGroup)
def users() -> None:
    """Keep the people at work: who owns customers and deals."""


@users.command("list", epilog=examples("crm users list --sort name", "crm users list --where 'active = true' --json"))
@list_options
def list_users(where: str | None, sort: str | None, after: str | None, limit: int) -> None:
    """List users."""
    columns = ("name", "email", "team_id", "manager_id", "active")
    with workspace() as crm:
        list_records(crm, "user", columns, where=where, sort=sort, after=after, limit=limit, default_sort="name")


@users.command("show", epilog=examples("crm users show ada@example.org"))
@click.argument("reference", metavar="USER")
def show_user(reference: str) -> None:
    """Show a user."""
    with workspace() as crm:
        emit_record(crm, "user", find(crm, "user", reference))


@users.command(
    "add", epilog=examples('crm users add "Sara Ahmadi" --email sara@example.org --team North --manager ada')
)
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--email", metavar="ADDRESS", help="The user's own e-mail address.")
@click.option("--team", metavar="TEAM", help="The team.")
@click.option("--manager", metavar="USER", help="To whom the user reports.")
def add_user(name: str, values: tuple[str, ...], email: str | None, team: str | None, manager: str | None) -> None:
    """Add a user."""
    typed = {"email": email, "team_id": team, "manager_id": manager}
    with workspace() as crm:
        made = with_assignments(crm, "user", User(name=name, **given(crm, "user", typed)), values)
        emit_done(crm, "user", crm.users.add(made), "added")


@users.command("edit", epilog=examples("crm users edit sara active=no", 'crm users edit sara team_id="South"'))
@click.argument("reference", metavar="USER")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--if-version", type=Number(1), metavar="N", help="Only if it is still at this version.")
def edit_user(reference: str, values: tuple[str, ...], if_version: int | None) -> None:
    """Change fields of a user. Who leaves becomes inactive and keeps the closed work."""
    with workspace() as crm:
        edit_record(crm, "user", reference, values, if_version)


@click.group(cls=ListingGroup)
def teams() -> None:
    """Keep teams of users."""


@teams.command("list", epilog=examples("crm teams list"))
@list_options
def list_teams(where: str | None, sort: str | None, after: str | None, limit: int) -> None:
    """List teams."""
    with workspace() as crm:
        list_records(crm, "team", ("name",), where=where, sort=sort, after=after, limit=limit, default_sort="name")


@teams.command("add", epilog=examples("crm teams add North"))
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
def add_team(name: str, values: tuple[str, ...]) -> None:
    """Add a team."""
    with workspace() as crm:
        made = with_assignments(crm, "team", Team(name=name), values)
        emit_done(crm, "team", crm.teams.add(made), "added")


@teams.command("edit", epilog=examples('crm teams edit North name="North and West"'))
@click.argument("reference", metavar="TEAM")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--if-version", type=Number(1), metavar="N", help="Only if it is still at this version.")
def edit_team(reference: str, values: tuple[str, ...], if_version: int | None) -> None:
    """Change fields of a team."""
    with workspace() as crm:
        edit_record(crm, "team", reference, values, if_version)
