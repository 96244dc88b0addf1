"""What people decided about customers who look alike."""

from __future__ import annotations

from crm_core import Record
from crm_core.records import record, reference, text


@record("distinct_pair", label="Pair judged distinct")
class DistinctPair(Record):
    """Two customers who look like one and are two: they are not proposed again. Which comes first says nothing."""

    customer_id: int = reference("customer", "Customer", part_of=True)
    other_id: int = reference("customer", "Other customer", part_of=True)
    note: str | None = text("Note", default=None, max_length=400, personal=True)
