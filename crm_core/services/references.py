"""References typed by people: an id, `system:external`, an e-mail, a phone number, the end of an id, an exact name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, cast

from crm_core.errors import AmbiguousReference, InvalidValue, NotFound
from crm_core.extend import Storage
from crm_core.query.ast import And, Compare, Expression, In, Remainder
from crm_core.records import RecordType, Registry
from crm_core.services.contact_keys import ContactKeys
from crm_core.values import email_key, ending_mask, format_id, parse_id, text_key

MERGED: Final = "crm-core"
"""The system of the external ids that lead from a merged record's own id to the one it was merged into."""
_NO_TEXT: Final = re.compile("[\ud800-\udfff]")
"""What a byte that is not UTF-8 becomes on its way from the command line."""
_SHOWN: Final = 10
_NAMES: Final = ("name", "title", "code")


class References:
    """Resolves references to records of one storage."""

    def __init__(self, storage: Storage, registry: Registry, keys: ContactKeys) -> None:
        self._storage = storage
        self._registry = registry
        self._keys = keys

    def resolve(self, type_name: str, typed: str) -> int:
        """Return the id of the record that a person means.

        Raises:
            NotFound: nothing matches.
            AmbiguousReference: several records match; the message lists them.
        """
        kind = self._registry.named(type_name)
        wanted = "" if _NO_TEXT.search(typed) else typed.strip()
        ways: tuple[Callable[[RecordType, str], set[int]], ...] = (
            self._by_id,
            self._by_external_id,
            self._by_address,
            self._by_ending_or_name,
        )
        for way in ways:
            found = way(kind, wanted) if wanted else set()
            if len(found) > 1:
                raise self._ambiguous(kind, wanted, sorted(found))
            if found:
                return found.pop()
        raise NotFound(
            f"no {kind.name.replace('_', ' ')} matches {typed!r}",
            hint=f"give an id, system:external-id, {'an e-mail, a phone number, ' if kind.name == 'customer' else ''}"
            "the end of an id (5 characters or more) or the exact name",
        )

    def survivor(self, kind: RecordType, record_id: int) -> int | None:
        """Return the record that this one is, or was merged into; None when there is neither."""
        return next(iter(self._by_id(kind, format_id(record_id))), None)

    def label(self, kind: RecordType, record_id: int) -> str:
        """Return the name of a record for people, its id when it has none."""
        rows = self._storage.get_many(kind.plural, [record_id])
        names = kind.table.column_names
        texts = (str(rows[0][names.index(column)]) for column in _NAMES if rows and column in names)
        return next((text for text in texts if text != "None"), format_id(record_id))

    def _by_id(self, kind: RecordType, typed: str) -> set[int]:
        if len(typed.replace("-", "")) != 13:
            return set()
        try:
            record_id = parse_id(typed)
        except InvalidValue:
            return set()
        found = {cast(int, row[0]) for row in self._storage.get_many(kind.plural, [record_id])}
        return found or self._by_external_id(kind, f"{MERGED}:{format_id(record_id)}")

    def _by_external_id(self, kind: RecordType, typed: str) -> set[int]:
        system, colon, external = typed.partition(":")
        if not colon or not system or not external:
            return set()
        where = And(
            (
                Compare("record_type", "=", kind.name),
                Compare("system", "=", system),
                Compare("external", "=", external),
                In("state", ("live", "merged")),
            )
        )
        return self._ids("external_ids", where, "record_id")

    def _by_address(self, kind: RecordType, typed: str) -> set[int]:
        if kind.name == "user" and "@" in typed:
            return self._ids(kind.plural, Compare("email", "=", email_key(typed)))
        if kind.name != "customer":
            return set()
        try:
            keys = self._keys.both("email" if "@" in typed else "phone", typed)
        except InvalidValue:  # it is neither
            return set()
        return self._ids("contact_points", In("key", keys), "customer_id")

    def _by_ending_or_name(self, kind: RecordType, typed: str) -> set[int]:
        found: set[int] = set()
        if 5 <= len(typed) <= 12 and typed.isascii() and typed.isalnum():
            try:
                value, modulus = ending_mask(typed)
            except InvalidValue:
                pass
            else:
                found |= self._ids(kind.plural, Remainder("id", modulus, value))
        columns = kind.table.column_names
        for column in _NAMES:
            if f"{column}_key" in columns:
                found |= self._ids(kind.plural, Compare(f"{column}_key", "=", text_key(typed)))
            elif column in columns:
                found |= self._ids(kind.plural, Compare(column, "=", typed))
        return found

    def _ids(self, table: str, where: Expression, column: str = "id") -> set[int]:
        return {cast(int, row[0]) for row in self._storage.find(table, where, columns=[column], limit=1_000)}

    def _ambiguous(self, kind: RecordType, typed: str, found: list[int]) -> AmbiguousReference:
        shown = ", ".join(f"{format_id(one)} {self.label(kind, one)}" for one in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return AmbiguousReference(
            f"{typed!r} means {len(found)} {kind.plural}: {shown}{more}", candidates=found, hint="give the id of one"
        )
