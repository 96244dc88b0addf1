"""`crm customers`: who buys, may buy or bought; `show` is all that is known of one (the 360 view)."""

from __future__ import annotations

import click

from crm_core.cli.handover import reassign
from crm_core.cli.merging import merge
from crm_core.cli.normalising import normalise
from crm_core.cli.opening import OpenGroup
from crm_core.cli.privacy import erase, export_data
from crm_core.cli.records import delete as delete_record
from crm_core.cli.records import edit as edit_record
from crm_core.cli.records import emit_done, find, given, list_records, required, search_records, with_assignments
from crm_core.console import Number, as_of_option, examples, list_options, workspace, yes_option
from crm_core.records import Customer

_COLUMNS = ("name", "kind", "country", "owner_id", "source", "first_contact_at", "tags")


@click.group(cls=OpenGroup)
def customers() -> None:
    """Keep customers: who buys, may buy or bought."""


for _command in (merge, reassign, normalise, export_data, erase):
    customers.add_command(_command)


@customers.command(
    "list",
    epilog=examples(
        "crm customers list --sort name",
        'crm customers list --where \'country = "DE" and tags contains "vip"\' --limit 20',
        "crm customers list --columns name,city,owner_id --json",
    ),
)
@click.option("--columns", metavar="FIELDS", default=",".join(_COLUMNS), help="Fields to show, by commas.")
@list_options
def list_(columns: str, where: str | None, sort: str | None, after: str | None, limit: int) -> None:
    """List customers."""
    with workspace() as crm:
        list_records(crm, "customer", columns.split(","), where=where, sort=sort, after=after, limit=limit)


@customers.command(
    "find",
    epilog=examples(
        "crm customers find lovelace", "crm customers find ada example.org", 'crm customers find "0170 123" --limit 5'
    ),
)
@click.argument("words", metavar="TEXT...", nargs=-1, required=True)
@click.option("--after", metavar="CURSOR", help="Read on after the cursor that the page before ended with.")
@click.option("--limit", type=Number(1, 10_000), default=20, show_default=True, help="At most so many.")
def find_(words: tuple[str, ...], after: str | None, limit: int) -> None:
    """Find customers by parts of names, e-mail addresses, phone numbers and other contact points.

    Every word must be in one of them, in any script and spelling; words of one or two letters must begin a word. The
    best come first: the whole TEXT, names that begin with it, beginnings of words, the rest.
    """
    with workspace() as crm:
        search_records(crm, "customer", " ".join(words), after=after, limit=limit)


@customers.command(
    epilog=examples("crm customers show ada@example.org", 'crm customers show "Ada Lovelace" --timeline 50')
)
@click.argument("reference", metavar="CUSTOMER")
@click.option("--timeline", type=Number(0, 10_000), default=15, show_default=True, help="Events to show, newest first.")
@click.option("--segments/--no-segments", default=None, help="Without either, in workspaces of up to 20,000 customers.")
@as_of_option
def show(reference: str, timeline: int, segments: bool | None, as_of: str | None) -> None:
    """Show all that is known of a customer.

    CUSTOMER is an id or its ending, an e-mail, a phone number, an external id (system:id) or the exact name.
    """
    from crm_core.cli.profile import show_profile

    with workspace(as_of=as_of) as crm:
        show_profile(crm, find(crm, "customer", reference), timeline, segments=segments)


@customers.command(
    epilog=examples(
        'crm customers add "Ada Lovelace" --email ada@example.org --owner sara --tag vip',
        'crm customers add "Ararat Trade" --kind organisation country=AM city=Yerevan',
    )
)
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--kind", type=click.Choice(["person", "organisation"]), default="person", show_default=True)
@click.option("--email", metavar="ADDRESS", help="An e-mail address.")
@click.option("--phone", metavar="NUMBER", help="A phone number.")
@click.option("--owner", metavar="USER", help="Who looks after the customer.")
@click.option("--source", metavar="TEXT", help="Where the customer came from (marketing).")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag; may be repeated.")
def add(
    name: str,
    values: tuple[str, ...],
    kind: str,
    email: str | None,
    phone: str | None,
    owner: str | None,
    source: str | None,
    tags: tuple[str, ...],
) -> None:
    """Add a customer; any field may be set as FIELD=VALUE."""
    with workspace() as crm:
        options = given(crm, "customer", {"owner_id": owner, "source": source})
        customer = Customer(name=required("NAME", name), kind=kind, tags=tags, **options)
        complete = with_assignments(crm, "customer", customer, values)
        emit_done(crm, "customer", crm.customers.add(complete, email=email, phone=phone), "added")


@customers.command(
    epilog=examples(
        "crm customers edit ada@example.org city=London tags+=vip",
        "crm customers edit 5XK3Q next_step='call back' next_step_on=2026-12-01 --if-version 3",
    )
)
@click.argument("reference", metavar="CUSTOMER")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--if-version", type=Number(1), metavar="N", help="Only if it is still at this version.")
def edit(reference: str, values: tuple[str, ...], if_version: int | None) -> None:
    """Change fields of a customer; an empty value means unknown, += and -= change tags."""
    with workspace() as crm:
        edit_record(crm, "customer", reference, values, if_version)


@customers.command(epilog=examples("crm customers delete 5XK3Q --yes"))
@click.argument("reference", metavar="CUSTOMER")
@yes_option
def delete(reference: str, yes: bool) -> None:
    """Delete a customer nothing refers to any more; undo brings it back."""
    with workspace() as crm:
        delete_record(crm, "customer", reference, yes=yes)
