"""The storage `memory:`: tables of plain dicts, for trials and tests, and the model that others are measured by."""

from __future__ import annotations

from crm_core.memory.storage import MemoryStorage

__all__ = ["MemoryStorage"]
