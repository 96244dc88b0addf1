"""Files of erased persons: an erasure empties their records, and the contents that these named go after them.

What was deleted before names its files in the ledger alone, and nowhere any more after an erasure. So when one was made
since a content was kept, and nothing names it, not even what an undo may bring back, it goes too.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crm_core.extend import JobDone, JobRun
from crm_core.query.ast import And, Compare, Contains, In, IsNull, Not
from crm_inbox.attachments import FOLDER, kept_before, place_of
from crm_inbox.held import ERASED
from crm_inbox.records import HeldMessage, InboxAttachment

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
    crm = run.crm
    service, holding = crm.records(InboxAttachment), crm.records(HeldMessage)
    erased = service.find(And((IsNull("name"), Not(IsNull("digest")))), limit=_PAGE)
    held = holding.find(And((Compare("content", "=", ERASED), Not(IsNull("digests")))), limit=_PAGE)
    digests = {each.digest for each in erased} | {digest for each in held for digest in (each.digests or "").split()}
    removed = 0
    for digest in sorted(filter(None, digests)):
        if not _is_named(crm, digest):
            place_of(crm.settings.directory, digest).unlink(missing_ok=True)
            removed += 1
    removed += _remove_leftovers(crm)
    service.edit_many(each.evolve(digest=None) for each in erased)
    holding.edit_many(each.evolve(digests=None) for each in held)
    told = f"{removed} files of erased persons removed" if removed else ""
    return JobDone(told=told, again_in=0 if _PAGE in (len(erased), len(held)) else None)


def _remove_leftovers(crm: CRM) -> int:
    """Remove contents older than the last erasure that neither a record nor the ledger names; return how many."""
    erased_at, directory = crm.ledger.history.last_erasure(), crm.settings.directory
    if erased_at is None or directory is None:
        return 0
    before = min(erased_at / 1_000_000, time.time() - _EVERY)
    old = dict(kept_before(directory, before))
    digests = sorted(old)
    for at in range(0, len(digests), _PAGE):
        for each in crm.records(InboxAttachment).find(In("digest", tuple(digests[at : at + _PAGE])), limit=None):
            old.pop(str(each.digest), None)
    named = [each.digests for each in crm.records(HeldMessage).find(Not(IsNull("digests")), limit=None)] if old else []
    for kind, column in ((InboxAttachment, "digest"), (HeldMessage, "digests")) if old else ():
        gone = crm.ledger.history.deleted(crm.records(kind).kind.plural)
        named += [str(one.cells[column][0] or "") for batch in gone for one in batch if one.cells]
    for digest in (digest for text in named for digest in str(text or "").split()):
        old.pop(digest, None)
    removed = 0
    for file in old.values():
        if file.stat().st_mtime < before:  # nobody kept the same since
            file.unlink()
            removed += 1
    return removed


def _is_named(crm: CRM, digest: str) -> bool:
    """Whether somebody who was not erased has the same file, in a message that was stored or is held."""
    named = And((Compare("digest", "=", digest), Not(IsNull("name"))))
    waits = And((Not(Compare("content", "=", ERASED)), Contains("digests", digest)))
    return crm.records(InboxAttachment).count(named) > 0 or crm.records(HeldMessage).count(waits) > 0
