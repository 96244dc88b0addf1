"""What crm-segments hands over; the modules behind it are imported when the CRM first asks."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import ReportSection, Segment


class SegmentsPlugin:
    """ABC and RFM analysis, and the part of the report on ABC."""

    @hookimpl
    def register_segments(self) -> Iterable[Segment]:
        """Hand over the segments."""
        from crm_segments.abc import ABC
        from crm_segments.rfm import RFM

        return [ABC, RFM]

    @hookimpl
    def register_report_sections(self) -> Iterable[ReportSection]:
        """Hand over the report's section on ABC."""
        from crm_segments.section import SECTION

        return [SECTION]


plugin = SegmentsPlugin()
