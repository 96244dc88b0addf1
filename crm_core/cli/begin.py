"""`crm init`: makes a workspace."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from crm_core.console import emit, examples, say, session
from crm_core.errors import CrmError, UsageError


@click.command(
    epilog=examples(
        "crm init",
        "crm init shop --currency EUR --zone Asia/Tehran",
        "crm init shop --storage sqlite:///data/shop.db --reporting-currency EUR",
    )
)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--storage", metavar="URL", default="sqlite:///crm.db", show_default=True, help="Where the data lives.")
@click.option(
    "--currency", metavar="CODE", default="EUR", show_default=True, help="What an amount without a code is in."
)
@click.option("--reporting-currency", metavar="CODE", help="Convert sums to this one, by the [rates] of crm.toml.")
@click.option("--zone", metavar="ZONE", default="UTC", show_default=True, help="Time zone of days and months.")
@click.option(
    "--calendar", metavar="NAME", default="gregorian", show_default=True, help="Calendar of months and years."
)
@click.option("--user", metavar="USER", help="Who is at work when --as does not say.")
def init(
    directory: Path | None,
    storage: str,
    currency: str,
    reporting_currency: str | None,
    zone: str,
    calendar: str,
    user: str | None,
) -> None:
    """Make a workspace in DIR (the current directory, if left out): crm.toml and an empty database."""
    from crm_core.crm import CRM
    from crm_core.settings import write_settings

    if storage == "memory:":
        raise UsageError(
            "a workspace cannot be kept in memory:, which is empty again after every command",
            hint="leave --storage out for a file of its own (SQLite); to try things out: crm demo",
        )
    place = directory or Path(session().workspace or ".")
    before = set(place.iterdir()) if place.is_dir() else None
    try:
        file = write_settings(
            place,
            storage_url=storage,
            currency=currency.upper(),
            zone=zone,
            calendar=calendar,
            reporting_currency=reporting_currency.upper() if reporting_currency else None,
            user=user,
        )
        with CRM.open(place) as crm:
            status = crm.storage.status()
    except (CrmError, OSError):
        _take_back(place, before)
        raise
    data = {"workspace": str(file.parent), "settings": str(file), "storage": status.place, "engine": status.engine}

    def show() -> None:
        enter = "" if place.resolve() == Path.cwd() else f"cd {place}; "
        say(f"made the workspace {place} ({status.engine}, {status.place})")
        say(f'next: {enter}crm customers add "Ada Lovelace" --email ada@example.org')
        say("      or crm import --suggest customer FILE.csv to bring in a spreadsheet")

    emit(data, show)


def _take_back(place: Path, before: set[Path] | None) -> None:
    """Remove what a failed call made: files beside those of `before`, and the directory if it is new (None)."""
    with suppress(OSError):  # what cannot be removed stays; why the call failed is what has to be said
        for made in set(place.iterdir()) - (before or set()):
            made.unlink()
        if before is None:
            place.rmdir()
