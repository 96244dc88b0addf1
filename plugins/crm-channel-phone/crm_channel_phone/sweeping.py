"""Journals after an erasure: the lines of calls whose interaction was erased are blanked, and what is old goes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from crm_channel_phone.journal import Journal
from crm_core.extend import JobDone, JobRun

if TYPE_CHECKING:
    from crm_core import CRM

_EVERY: Final = 3_600.0
_MANY: Final = 500


def swept_journals(crm: CRM) -> dict[str, float]:
    """Return the journals of the workspace by account, those of accounts that are not declared any more too."""
    return dict.fromkeys(Journal.accounts(crm.settings.directory), _EVERY)


def sweep(run: JobRun) -> JobDone:
    """Blank what a journal holds of erased persons."""
    journal = Journal(run.crm.settings.directory, run.part)
    journal.rotate()
    gone = journal.blank(lambda ids: _erased(run.crm, run.part, ids))
    return JobDone(told=f"{gone} calls of erased persons removed from the journal" if gone else "")


def _erased(crm: CRM, account: str, ids: Collection[str]) -> set[str]:
    """Return the ids of calls whose interaction was erased: of such only a digest is known, which their id has too."""
    names, found = sorted(ids), set[str]()
    for at in range(0, len(names), _MANY):
        some = names[at : at + _MANY]
        entries = crm.external_ids.find_many("interaction", f"channel:{account}", some)
        found |= {name for name, entry in entries.items() if entry.state == "erased"}
    return found
