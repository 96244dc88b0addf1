"""Who wins where a file and the CRM say different things of one field: the policies, and what was kept.

Apart from the chunk, which only asks before it writes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final

import attrs

from crm_core import CRM
from crm_core.events import OriginKind
from crm_core.records import Record, RecordType
from crm_core.records.registry import Field
from crm_core.values import Money, format_id, from_micros
from crm_transfer.policies import Conflict

BY_HAND: Final = "by_hand"
"""The key in an operation's detail that says: an import, but of what a person edited cell by cell."""
_HUMAN: Final[frozenset[OriginKind]] = frozenset({"user", "merge", "channel"})

Values = MutableMapping[str, Any]


@attrs.frozen(kw_only=True)
class Kept:
    """A field that stayed as it is in the CRM: what the file says, what was kept, by which policy, and who set it when.

    `by` is the name of the person, empty where nobody is known; `at` the time of the edit, None where none decided.
    """

    file: str = ""
    row: int
    type: str
    record: int
    field: str
    value: str
    kept: str
    policy: str
    by: str = ""
    at: dt.datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        made = attrs.asdict(self)
        return {**made, "record": format_id(self.record), "at": self.at.isoformat() if self.at else None}


@attrs.frozen
class Edited:
    """A person's edit of a field that stands: when, and the id of the user where one is known."""

    at: dt.datetime
    user_id: int | None


@attrs.frozen(kw_only=True)
class Claim:
    """What a row of a file says of a record that is there: `values` (what is kept is taken out), when it was changed.

    `told` gives the text of the file for a field.
    """

    row: int
    values: Values
    before: Record
    changed: dt.datetime | None
    told: Callable[[str], str]


class Arbiter:
    """Settles conflicts for one run, remembering the names of the people who edited."""

    def __init__(self, crm: CRM) -> None:
        """Ask the ledger of this CRM."""
        self._crm = crm
        self._users: dict[int, str] = {}

    def settle(
        self, kind: RecordType, policies: Mapping[str, Conflict], claims: Sequence[Claim]
    ) -> Iterator[tuple[int, Kept]]:
        """Take out of each claim what the policies keep; yield it with the place of its claim in the sequence."""
        differing = [list(_differing(kind, policies, claim)) for claim in claims]
        asked = [
            claim.before.id
            for claim, fields in zip(claims, differing, strict=True)
            if claim.before.version > 1 and any(policies[f.path] in ("keep_edited", "newest") for f in fields)
        ]
        edited = human_edits(self._crm, kind, asked)
        for at, (claim, fields) in enumerate(zip(claims, differing, strict=True)):
            edits = edited.get(claim.before.id, {})
            for field in fields:
                policy, edit = policies[field.path], edits.get(field.path)
                if _file_wins(policy, field.of(claim.before), edit, claim.changed):
                    continue
                _take_out(claim.values, field)
                yield at, self._kept(kind, claim, field, policy, edit)

    def _kept(self, kind: RecordType, claim: Claim, field: Field, policy: str, edit: Edited | None) -> Kept:
        decided = edit if policy in ("keep_edited", "newest") else None
        return Kept(
            row=claim.row,
            type=kind.name,
            record=claim.before.id,
            field=field.path,
            value=claim.told(field.path)[:200],
            kept=shown(field, field.of(claim.before))[:200],
            policy=policy,
            by=self._name(decided.user_id) if decided and decided.user_id else "",
            at=decided.at if decided else None,
        )

    def _name(self, user_id: int) -> str:
        if user_id not in self._users:
            found = self._crm.users.get_many([user_id])
            self._users[user_id] = found[0].name if found else format_id(user_id)
        return self._users[user_id]


def human_edits(crm: CRM, kind: RecordType, ids: Sequence[int]) -> dict[int, dict[str, Edited]]:
    """Return, by record and field, the edits of people that stand: those that nothing has changed since.

    An edited spreadsheet that was brought back is a person's edit as well; what an import or a plugin's rule wrote, and
    what an undo put back, is none.
    """
    found = crm.ledger.last_changes(kind.name, ids) if ids else {}
    return {
        record_id: {
            path: Edited(from_micros(change.at), change.operation.user_id)
            for path, change in changes.items()
            if change.operation.kind in _HUMAN or change.operation.detail.get(BY_HAND)
        }
        for record_id, changes in found.items()
    }


def shown(field: Field, value: Any) -> str:
    """Return a value as one text for people: what an export writes, money with its currency."""
    if value is None:
        return ""
    if isinstance(value, Money):
        return f"{value.amount} {value.currency}"
    found = field.codec.show(value)
    if isinstance(found, bool):
        return "true" if found else "false"
    return ", ".join(found) if isinstance(found, list) else str(found)


def same(one: Any, other: Any) -> bool:
    """Say whether two values of a field are the same; the order of tags does not count."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return set(one) == set(other)
    return type(one) is type(other) and bool(one == other)


def _file_wins(policy: Conflict, now: Any, edit: Edited | None, changed: dt.datetime | None) -> bool:
    if policy == "overwrite":
        return True
    if policy == "keep":
        return False
    if policy == "fill":
        return now is None or now == () or (isinstance(now, str) and not now.strip())
    if edit is None:
        return True
    return policy == "newest" and changed is not None and changed > edit.at


def _differing(kind: RecordType, policies: Mapping[str, Conflict], claim: Claim) -> Iterator[Field]:
    for path in policies:
        field = kind.fields[path]
        group = _group(claim.values, field)
        if field.name in group and not same(group[field.name], field.of(claim.before)):
            yield field


def _group(values: Values, field: Field) -> Values:
    """Return the mapping that holds a field's value: the values themselves, the own fields, or a plugin's."""
    if not field.extension:
        return values
    if field.extension == "fields":
        own: Values = values.get("fields", {})
        return own
    added: Values = values.get("extensions", {}).get(field.extension, {})
    return added


def _take_out(values: Values, field: Field) -> None:
    del _group(values, field)[field.name]
