"""Files of erased persons: an erasure empties their records, and the contents that these named go after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm_core.extend import JobDone, JobRun
from crm_core.query.ast import And, Compare, IsNull, Not
from crm_inbox.attachments import FOLDER, place_of
from crm_inbox.records import InboxAttachment

if TYPE_CHECKING:
    from crm_core import CRM

_EVERY = 3_600.0
_PAGE = 500


def swept_stores(crm: CRM) -> dict[str, float]:
    """Return the store of files, if the workspace has one."""
    directory = crm.settings.directory
    return {FOLDER: _EVERY} if directory is not None and (directory / FOLDER).is_dir() else {}


def sweep(run: JobRun) -> JobDone:
    """Remove each content that only erased persons had, and then its digest from their records."""
    crm, directory = run.crm, run.crm.settings.directory
    service = crm.records(InboxAttachment)
    erased = service.find(And((IsNull("name"), Not(IsNull("digest")))), limit=_PAGE)
    removed = 0
    for digest in {each.digest for each in erased}:
        named = And((Compare("digest", "=", digest), Not(IsNull("name"))))
        if not service.count(named):
            place_of(directory, digest).unlink(missing_ok=True)
            removed += 1
    service.edit_many(each.evolve(digest=None) for each in erased)
    told = f"{removed} files of erased persons removed" if removed else ""
    return JobDone(told=told, again_in=0 if len(erased) == _PAGE else None)
