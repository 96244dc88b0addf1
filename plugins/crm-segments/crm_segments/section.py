"""The report's section on ABC: how many customers bring how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crm_core.errors import UsageError
from crm_core.extend import ReportQuery, ReportSection


def _build(q: ReportQuery) -> Mapping[str, Any]:
    try:
        result = q.crm.segments.run("abc", period=q.period, as_of=q.as_of)
    except UsageError as error:
        return {"notes": [f"{error.message}; {error.hint}"]}
    head, rows = result.table()
    total = sum(row.value or 0 for row in result.summary)
    shares = [f"{(row.value or 0) / total:.1%}" if total else "-" for row in result.summary]
    return {
        "notes": list(result.notes),
        "table": {
            "columns": [*head, "share"],
            "rows": [[*row, share] for row, share in zip(rows, shares, strict=True)],
        },
        "charts": [
            {
                "kind": "bars",
                "labels": [f"{row.label} ({row.customers:,})" for row in result.summary],
                "values": [float(row.value or 0) for row in result.summary],
                "texts": [f"{row[2]}  {share}" for row, share in zip(rows, shares, strict=True)],
            }
        ],
    }


SECTION = ReportSection(name="abc", title="Customers by revenue (ABC)", order=40, build=_build)
