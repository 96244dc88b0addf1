"""Import and export for crm-core: mappings, plans, and imports that can be resumed and undone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_transfer.errors import FileFault, MappingError
    from crm_transfer.exporting import export_records, exporter_for
    from crm_transfer.importing import import_file, import_plan, resume_import
    from crm_transfer.mapping import RowMapping, load_mapping, parse_mapping
    from crm_transfer.plan import Plan, load_plan
    from crm_transfer.report import ImportReport
    from crm_transfer.suggest import Suggestion, suggest, suggest_mapping
    from crm_transfer.update import update_file

__version__ = "0.1.0"

_PLACES = {
    "FileFault": "errors",
    "ImportReport": "report",
    "MappingError": "errors",
    "Plan": "plan",
    "RowMapping": "mapping",
    "export_records": "exporting",
    "exporter_for": "exporting",
    "import_file": "importing",
    "import_plan": "importing",
    "load_mapping": "mapping",
    "load_plan": "plan",
    "parse_mapping": "mapping",
    "resume_import": "importing",
    "Suggestion": "suggest",
    "suggest": "suggest",
    "suggest_mapping": "suggest",
    "update_file": "update",
}

__all__ = [
    "FileFault",
    "ImportReport",
    "MappingError",
    "Plan",
    "RowMapping",
    "Suggestion",
    "export_records",
    "exporter_for",
    "import_file",
    "import_plan",
    "load_mapping",
    "load_plan",
    "parse_mapping",
    "resume_import",
    "suggest",
    "suggest_mapping",
    "update_file",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a command that imports nothing loads none of them."""
    if name not in _PLACES:
        raise AttributeError(f"module 'crm_transfer' has no attribute {name!r}")
    return getattr(import_module(f"crm_transfer.{_PLACES[name]}"), name)
