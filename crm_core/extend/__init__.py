"""What plugins hand over: the contract of a storage, and frozen descriptors of everything else."""

from __future__ import annotations

from crm_core.extend.app import BadRow, Command, DataMigration, ExportColumn, Exporter, Importer, Source, SourceRow
from crm_core.extend.channel import (
    Address,
    Attachment,
    Channel,
    ChannelAccount,
    ChannelCapability,
    ChannelType,
    IncomingMessage,
    OutgoingMessage,
    Receipt,
    Received,
    StatusReceipt,
    WebhookRequest,
)
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
from crm_core.extend.storage import Capability, Storage, StorageScheme, StorageStatus, Update

__all__ = [
    "DEFAULT_PIPELINE",
    "Address",
    "Assignment",
    "Attachment",
    "BadRow",
    "CalendarSystem",
    "Capability",
    "Cell",
    "Channel",
    "ChannelAccount",
    "ChannelCapability",
    "ChannelType",
    "Command",
    "DataMigration",
    "Division",
    "ExportColumn",
    "Exporter",
    "Importer",
    "IncomingMessage",
    "Measure",
    "Metric",
    "MetricQuery",
    "OutgoingMessage",
    "Parameter",
    "Pipeline",
    "ProfileSection",
    "Receipt",
    "Received",
    "ReportQuery",
    "ReportSection",
    "Segment",
    "SegmentQuery",
    "Source",
    "SourceRow",
    "Stage",
    "StatusReceipt",
    "Storage",
    "StorageScheme",
    "StorageStatus",
    "Topic",
    "Update",
    "WebhookRequest",
]
