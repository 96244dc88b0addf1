"""`crm deals`: chances to sell, from opening one to winning or losing it, and the board of a pipeline."""

from __future__ import annotations

import attrs
import click

from crm_core.cli.opening import OpenGroup
from crm_core.cli.records import delete as delete_record
from crm_core.cli.records import edit as edit_record
from crm_core.cli.records import emit_done, find, given, list_records, parsed, required, with_assignments
from crm_core.console import Number, examples, list_options, workspace, yes_option
from crm_core.records import Deal

_COLUMNS = ("title", "customer_id", "stage", "amount", "owner_id", "opened_at", "closed_at")


@click.group(cls=OpenGroup)
def deals() -> None:
    """Open, move, win and lose deals."""


@deals.command(
    "list",
    epilog=examples(
        "crm deals list --where 'status = \"open\"' --sort -amount",
        'crm deals list --where \'owner_id = "ada" and stage = "proposal"\' --json',
    ),
)
@click.option("--columns", metavar="FIELDS", default=",".join(_COLUMNS), help="Fields to show, by commas.")
@list_options
def list_(columns: str, where: str | None, sort: str | None, after: str | None, limit: int) -> None:
    """List deals."""
    with workspace() as crm:
        list_records(crm, "deal", columns.split(","), where=where, sort=sort, after=after, limit=limit)


@deals.command(epilog=examples('crm deals show "Licence for a year"', "crm deals show 5XK3Q --json"))
@click.argument("reference", metavar="DEAL")
def show(reference: str) -> None:
    """Show a deal with its way through the stages, its sales and who took part."""
    from crm_core.cli.profile import show_deal

    with workspace() as crm:
        show_deal(crm, find(crm, "deal", reference))


@deals.command(
    epilog=examples(
        'crm deals add ada@example.org "Licence for a year" --amount "1200 EUR" --expected-close 2026-12-31',
        'crm deals add "Ararat Trade" "Support" --amount 300 --stage proposal --owner sara',
    )
)
@click.argument("customer")
@click.argument("title")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--amount", metavar="MONEY", help='Such as "1200 EUR"; without a code, the workspace\'s currency.')
@click.option("--pipeline", metavar="PIPELINE", help="The pipeline; the default one, if left out.")
@click.option("--stage", metavar="STAGE", help="The stage; the first one, if left out.")
@click.option("--owner", metavar="USER", help="Who works on it.")
@click.option("--source", metavar="TEXT", help="Where it came from (marketing).")
@click.option("--opened", metavar="TIME", help="When it was opened; now, if left out (unknown: opened_at=).")
@click.option("--expected-close", metavar="DAY", help="When it may close.")
def add(
    customer: str,
    title: str,
    values: tuple[str, ...],
    amount: str | None,
    pipeline: str | None,
    stage: str | None,
    owner: str | None,
    source: str | None,
    opened: str | None,
    expected_close: str | None,
) -> None:
    """Open a deal with CUSTOMER; any field may be set as FIELD=VALUE."""
    typed = {
        "amount": amount,
        "pipeline": pipeline,
        "stage": stage,
        "owner_id": owner,
        "source": source,
        "opened_at": opened,
        "expected_close_on": expected_close,
    }
    with workspace() as crm:
        made = Deal(
            customer_id=crm.resolve("customer", customer), title=required("TITLE", title), **given(crm, "deal", typed)
        )
        if opened is None:
            made = attrs.evolve(made, opened_at=crm.clock.now())
        emit_done(crm, "deal", crm.deals.add(with_assignments(crm, "deal", made, values)), "opened")


@deals.command(
    epilog=examples(
        "crm deals edit 5XK3Q amount='900 EUR' expected_close_on=2026-12-15", "crm deals edit 5XK3Q owner_id=ada"
    )
)
@click.argument("reference", metavar="DEAL")
@click.argument("values", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--if-version", type=Number(1), metavar="N", help="Only if it is still at this version.")
def edit(reference: str, values: tuple[str, ...], if_version: int | None) -> None:
    """Change fields of a deal; an empty value means unknown. Stages change by crm deals move."""
    with workspace() as crm:
        edit_record(crm, "deal", reference, values, if_version)


@deals.command(epilog=examples('crm deals move "Licence for a year" won', "crm deals move 5XK3Q lost --reason price"))
@click.argument("reference", metavar="DEAL")
@click.argument("stage")
@click.option("--at", metavar="TIME", help="When it moved; now, if left out.")
@click.option("--reason", metavar="TEXT", help="Why it was lost.")
def move(reference: str, stage: str, at: str | None, reason: str | None) -> None:
    """Move a deal to another stage; winning it writes its sale where the pipeline says so."""
    with workspace() as crm:
        with crm.operation(f"move to {stage}"):
            moved = crm.deals.move(find(crm, "deal", reference), stage, at=parsed(crm, "deal", "closed_at", at))
            if reason is not None:
                moved = crm.deals.edit(with_assignments(crm, "deal", moved, [f"lost_reason={reason}"]))
        emit_done(crm, "deal", moved, f"moved to {moved.stage}:")


@deals.command(epilog=examples("crm deals board", "crm deals board --pipeline renewals --owner ada --top 5"))
@click.option("--pipeline", metavar="PIPELINE", help="The pipeline; the default one, if left out.")
@click.option("--owner", metavar="USER", help="Only the deals of one owner.")
@click.option("--top", type=Number(0, 100), default=3, show_default=True, help="Open deals to show in each stage.")
def board(pipeline: str | None, owner: str | None, top: int) -> None:
    """Show a pipeline: how many deals are in each stage, their sums, and the largest open ones."""
    from crm_core.cli.board import show_board

    with workspace() as crm:
        show_board(crm, pipeline, crm.resolve("user", owner) if owner else None, top)


@deals.command(epilog=examples("crm deals delete 5XK3Q --yes"))
@click.argument("reference", metavar="DEAL")
@yes_option
def delete(reference: str, yes: bool) -> None:
    """Delete a deal nothing refers to; undo brings it back. A deal that came to nothing is lost, not deleted."""
    with workspace() as crm:
        delete_record(crm, "deal", reference, yes=yes)
