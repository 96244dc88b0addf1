"""External ids: under which names other systems know our records."""

from __future__ import annotations

from collections.abc import Sequence

from crm_core.query.ast import And, Compare, In
from crm_core.records import ExternalId
from crm_core.services.erased import ERASED, erased_records
from crm_core.services.records import RecordService


class ExternalIdService(RecordService[ExternalId]):
    """External ids, found by the name or by the record."""

    def find_many(self, type_name: str, system: str, externals: Sequence[str]) -> dict[str, ExternalId]:
        """Return the entries of those names that are known, by name, whatever became of their records."""
        where = And(
            (Compare("record_type", "=", type_name), Compare("system", "=", system), In("external", tuple(externals)))
        )
        found = {entry.external: entry for entry in self.find(where, limit=None)}
        missing = [(system, external) for external in externals if external not in found]
        for (_, external), record_id in erased_records(self._session.storage, type_name, missing).items():
            found[external] = ExternalId(
                record_type=type_name, system=system, external=external, record_id=record_id, state=ERASED
            )
        return found

    def of(self, type_name: str, record_ids: Sequence[int]) -> dict[int, list[ExternalId]]:
        """Return the entries of records, by record."""
        where = And((Compare("record_type", "=", type_name), In("record_id", tuple(record_ids))))
        found: dict[int, list[ExternalId]] = {}
        for entry in self.find(where, limit=None):
            found.setdefault(entry.record_id, []).append(entry)
        return found
