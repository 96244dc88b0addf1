"""crm-core: a small CRM kernel that plugins complete.

Everything a developer or a plugin needs is importable from here or from `crm_core.records`, `.extend`, `.events`,
`.query`, `.values`, `.errors`, `.memory`, `.settings`, `.console` and `.testing`. Names are loaded when first used:
importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_core.crm import CRM
    from crm_core.errors import CrmError
    from crm_core.host import Host, hookimpl
    from crm_core.ledger.audit import ChainReport
    from crm_core.ledger.facade import Ledger
    from crm_core.ledger.history import OperationEntry
    from crm_core.ledger.undo import UndoReport
    from crm_core.ledger.work import Operation
    from crm_core.records import (
        Consent,
        ContactPoint,
        Customer,
        Deal,
        DealChange,
        ExternalId,
        Interaction,
        LifecycleChange,
        Participant,
        Record,
        Relation,
        Sale,
        StageChange,
        Team,
        User,
    )
    from crm_core.services.customers import Renormalised
    from crm_core.services.handover import HandoverReport
    from crm_core.services.merging import MergeReport
    from crm_core.services.metrics import Comparison, Explanation, Result, Results
    from crm_core.services.privacy import Erasure, Receipt
    from crm_core.services.records import Outcome, Page, RecordService, Refusal, Write
    from crm_core.services.segments import SegmentResult
    from crm_core.values import Money, Period

__version__ = "0.1.0"

_PLACES = {
    "CRM": "crm_core.crm",
    "CrmError": "crm_core.errors",
    "Host": "crm_core.host",
    "hookimpl": "crm_core.host",
    "ChainReport": "crm_core.ledger.audit",
    "Ledger": "crm_core.ledger.facade",
    "OperationEntry": "crm_core.ledger.history",
    "UndoReport": "crm_core.ledger.undo",
    "Operation": "crm_core.ledger.work",
    "Renormalised": "crm_core.services.customers",
    "HandoverReport": "crm_core.services.handover",
    "MergeReport": "crm_core.services.merging",
    "Comparison": "crm_core.services.metrics",
    "Explanation": "crm_core.services.metrics",
    "Result": "crm_core.services.metrics",
    "Results": "crm_core.services.metrics",
    "Erasure": "crm_core.services.privacy",
    "Receipt": "crm_core.services.privacy",
    "Outcome": "crm_core.services.records",
    "Page": "crm_core.services.records",
    "RecordService": "crm_core.services.records",
    "Refusal": "crm_core.services.records",
    "Write": "crm_core.services.records",
    "SegmentResult": "crm_core.services.segments",
    "Money": "crm_core.values",
    "Period": "crm_core.values",
}

__all__ = [
    "CRM",
    "ChainReport",
    "Comparison",
    "Consent",
    "ContactPoint",
    "CrmError",
    "Customer",
    "Deal",
    "DealChange",
    "Erasure",
    "Explanation",
    "ExternalId",
    "HandoverReport",
    "Host",
    "Interaction",
    "Ledger",
    "LifecycleChange",
    "MergeReport",
    "Money",
    "Operation",
    "OperationEntry",
    "Outcome",
    "Page",
    "Participant",
    "Period",
    "Receipt",
    "Record",
    "RecordService",
    "Refusal",
    "Relation",
    "Renormalised",
    "Result",
    "Results",
    "Sale",
    "SegmentResult",
    "StageChange",
    "Team",
    "UndoReport",
    "User",
    "Write",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'crm_core' has no attribute {name!r}")
    value = getattr(import_module(_PLACES.get(name, "crm_core.records")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
