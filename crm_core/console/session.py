"""What a command knows of its call: the workspace it works in, the user, JSON or text, and how far "now" is moved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from crm_core.errors import SettingsError

if TYPE_CHECKING:
    from crm_core.crm import CRM

_META = "crm_core.session"


@attrs.define
class Session:
    """The global options of one call of `crm`: `-w DIR`, `--as USER`, `--json`, `--debug`."""

    workspace: str | None = None
    user: str | None = None
    json: bool = False
    debug: bool = False

    @property
    def place(self) -> str:
        """Where the CRM is: `-w`, else `CRM_WORKSPACE`, else the current directory."""
        return self.workspace or os.environ.get("CRM_WORKSPACE") or "."


def session() -> Session:
    """Return the session of the running command; outside of one, a fresh session with the defaults."""
    context = click.get_current_context(silent=True)
    if context is None:
        return Session()
    found: Session = context.meta.setdefault(_META, Session())
    return found


def workspace_directory() -> Path:
    """Return the directory of the workspace, which holds its `crm.toml`.

    Raises:
        SettingsError: there is no `crm.toml`; the hint says how to make one or name another directory.
    """
    directory = Path(session().place)
    if not (directory / "crm.toml").is_file():
        where = "the current directory" if directory == Path() else str(directory)
        raise SettingsError(
            f"{where} is no workspace: it has no crm.toml",
            hint="crm init makes one here; -w DIR (or CRM_WORKSPACE) names one that exists",
        )
    return directory


def workspace_place() -> str | Path:
    """Return what `CRM.open` takes: the workspace's directory, or the storage URL that `-w` names instead of one."""
    place = session().place
    return place if "://" in place or place == "memory:" else workspace_directory()


@contextmanager
def workspace(*, as_of: str | None = None) -> Iterator[CRM]:
    """Open the CRM that the running command works on: a workspace directory, or a storage URL given to `-w`.

    Args:
        as_of: the text of `--as-of`; "now" then stands still there (a day means its end).
    """
    from crm_core.console.output import note
    from crm_core.crm import CRM

    at = session()
    place = workspace_place()
    clock = None
    if as_of is not None:
        from crm_core.values import FixedClock

        clock = FixedClock(instant(as_of, _zone_of(place)))
    with CRM.open(place, user=at.user, clock=clock) as crm:
        in_memory = isinstance(place, Path) and crm.settings.storage_url == "memory:"
        if crm.is_new and isinstance(place, Path) and not in_memory:
            note(f"there was no database yet: {crm.storage.status().place} was made, and is empty")
        try:
            yield crm
        finally:
            if in_memory and crm.ledger.operations(limit=1):  # it began empty, so all of them are this command's
                note(
                    'nothing of this is kept: [storage] url in crm.toml is "memory:", which ends with the command. '
                    'To keep records: url = "sqlite:///crm.db"'
                )
        if crm.unknown_user and crm.user_id is None:
            note(
                f"crm.toml says that {crm.unknown_user!r} is at work, and no user is called so: this is recorded as "
                f"nobody's. To add the user: crm users add {crm.unknown_user!r}"
            )


def instant(typed: str, zone: tzinfo) -> datetime:
    """Read a day or a time as a person types it; a day means the instant at which it ends.

    Raises:
        click.BadParameter: it is neither.
    """
    from crm_core.values import ascii_digits, local_midnight

    clean = ascii_digits(typed.strip())
    try:
        if len(clean) <= 10:
            # Its last microsecond: the next midnight would already make "this month" the next one.
            return local_midnight(date.fromisoformat(clean) + timedelta(days=1), zone) - timedelta(microseconds=1)
        found = datetime.fromisoformat(clean)
    except (ValueError, OverflowError) as error:  # the last day that there is has no end
        raise click.BadParameter(f"{typed!r} is neither a day (2026-11-30) nor a time (2026-11-30T14:00)") from error
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _zone_of(place: str | Path) -> tzinfo:
    from crm_core.settings import load_settings, settings_for_url

    return (load_settings(place) if isinstance(place, Path) else settings_for_url(place)).zone
