"""`crm interactions`: what was said and done between us and a customer."""

from __future__ import annotations

import attrs
import click

from crm_core.cli.opening import OpenGroup
from crm_core.cli.records import delete as delete_record
from crm_core.cli.records import edit as edit_record
from crm_core.cli.records import emit_done, emit_record, find, given, list_records, required, with_assignments
from crm_core.console import Number, examples, list_options, workspace, yes_option
from crm_core.records import Interaction

_COLUMNS = ("occurred_at", "customer_id", "direction", "kind", "channel", "topic", "subject")


@click.group(cls=OpenGroup)
def interactions() -> None:
    """Log messages, calls, meetings, visits and notes."""


@interactions.command(
    "list",
    epilog=examples(
        "crm interactions list --where 'topic = \"complaint\"'",
        "crm interactions list --sort -occurred_at --limit 20 --json",
    ),
)
@click.option("--columns", metavar="FIELDS", default=",".join(_COLUMNS), help="Fields to show, by commas.")
@list_options
def list_(columns: str, where: str | None, sort: str | None, after: str | None, limit: int) -> None:
    """List interactions, newest first."""
    with workspace() as crm:
        list_records(
            crm,
            "interaction",
            columns.split(","),
            where=where,
            sort=sort,
            after=after,
            limit=limit,
            default_sort="-occurred_at",
        )


@interactions.command(epilog=examples("crm interactions show 5XK3Q"))
@click.argument("reference", metavar="INTERACTION")
def show(reference: str) -> None:
    """Show an interaction whole."""
    with workspace() as crm:
        emit_record(crm, "interaction", find(crm, "interaction", reference))


@interactions.command(
    epilog=examples(
        'crm interactions log ada@example.org "Asked for a quote" --kind call --topic request',
        'crm interactions log "سارا احمدی" "شکایت از تأخیر" --kind message --channel telegram --needs-answer',
    )
)
@click.argument("customer")
@click.argument("text")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option(
    "--kind",
    type=click.Choice(["message", "call", "meeting", "visit", "note"]),
    default="note",
    show_default=True,
)
@click.option("--direction", type=click.Choice(["in", "out", "internal"]), default="in", show_default=True)
@click.option("--topic", metavar="TOPIC", help="Such as complaint, request, praise.")
@click.option("--channel", metavar="CHANNEL", help="Such as email, phone, telegram.")
@click.option("--subject", metavar="TEXT", help="A headline; TEXT is then the body.")
@click.option("--at", metavar="TIME", help="When it was; now, if left out.")
@click.option("--deal", metavar="DEAL", help="The deal it was about.")
@click.option("--author", metavar="USER", help="Who of us spoke or wrote.")
@click.option("--needs-answer", is_flag=True, help="The customer waits for an answer.")
def log(
    customer: str,
    text: str,
    values: tuple[str, ...],
    kind: str,
    direction: str,
    topic: str | None,
    channel: str | None,
    subject: str | None,
    at: str | None,
    deal: str | None,
    author: str | None,
    needs_answer: bool,
) -> None:
    """Log what was said or done with CUSTOMER; TEXT is the subject, or the body beside --subject."""
    typed = {"topic": topic, "channel": channel, "occurred_at": at, "deal_id": deal, "author_id": author}
    with workspace() as crm:
        made = Interaction(
            customer_id=crm.resolve("customer", customer),
            kind=kind,
            direction=direction,
            subject=subject or required("TEXT", text),
            body=text if subject else None,
            needs_answer=needs_answer,
            **given(crm, "interaction", typed),
        )
        complete = with_assignments(crm, "interaction", made, values)
        if complete.occurred_at is None:
            complete = attrs.evolve(complete, occurred_at=crm.clock.now())
        emit_done(crm, "interaction", crm.interactions.add(complete), "logged")


@interactions.command(
    epilog=examples("crm interactions edit 5XK3Q topic=praise", "crm interactions edit 5XK3Q deal_id=")
)
@click.argument("reference", metavar="INTERACTION")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--if-version", type=Number(1), metavar="N", help="Only if it is still at this version.")
def edit(reference: str, values: tuple[str, ...], if_version: int | None) -> None:
    """Change fields of an interaction; an empty value means unknown."""
    with workspace() as crm:
        edit_record(crm, "interaction", reference, values, if_version)


@interactions.command(epilog=examples("crm interactions delete 5XK3Q --yes"))
@click.argument("reference", metavar="INTERACTION")
@yes_option
def delete(reference: str, yes: bool) -> None:
    """Delete an interaction; undo brings it back."""
    with workspace() as crm:
        delete_record(crm, "interaction", reference, yes=yes)
