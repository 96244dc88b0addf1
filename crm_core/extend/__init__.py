"""What plugins hand over: the contract of a storage, and frozen descriptors of everything else."""

from __future__ import annotations

from crm_core.extend.app import BadRow, Command, DataMigration, ExportColumn, Exporter, Importer, Source, SourceRow
from crm_core.extend.metric import (
    CalendarSystem,
    Cell,
    Measure,
    Metric,
    MetricQuery,
    ProfileSection,
    ReportQuery,
    ReportSection,
)
from crm_core.extend.pipeline import DEFAULT_PIPELINE, Pipeline, Stage, Topic
from crm_core.extend.segment import Assignment, Division, Parameter, Segment, SegmentQuery
from crm_core.extend.storage import Capability, Storage, StorageScheme, StorageStatus, TableRows, Update

__all__ = [
    "DEFAULT_PIPELINE",
    "Assignment",
    "BadRow",
    "CalendarSystem",
    "Capability",
    "Cell",
    "Command",
    "DataMigration",
    "Division",
    "ExportColumn",
    "Exporter",
    "Importer",
    "Measure",
    "Metric",
    "MetricQuery",
    "Parameter",
    "Pipeline",
    "ProfileSection",
    "ReportQuery",
    "ReportSection",
    "Segment",
    "SegmentQuery",
    "Source",
    "SourceRow",
    "Stage",
    "Storage",
    "StorageScheme",
    "StorageStatus",
    "TableRows",
    "Topic",
    "Update",
]
