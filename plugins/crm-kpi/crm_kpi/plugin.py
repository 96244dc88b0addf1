"""What crm-kpi hands over; the modules behind it are imported when the CRM first asks."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import Command, Metric, ReportSection


class KpiPlugin:
    """The KPIs of sales, customers, deals, leads and stages, and the report."""

    @hookimpl
    def register_metrics(self) -> Iterable[Metric]:
        """Hand over the metrics."""
        from crm_kpi import customers, deals, forecast, leads, sales, stages

        return [*sales.METRICS, *customers.METRICS, *deals.METRICS, *forecast.METRICS, *leads.METRICS, *stages.METRICS]

    @hookimpl
    def register_report_sections(self) -> Iterable[ReportSection]:
        """Hand over the report's own sections."""
        from crm_kpi import sections

        return sections.SECTIONS

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Hand over `crm report`."""
        return [
            Command(
                name="report",
                help="KPIs, pipeline and segments, as text or one HTML file",
                target="crm_kpi.command:report",
            )
        ]


plugin = KpiPlugin()
