"""The report's own sections: numbers against the period before, revenue by month, pipeline, win rates by owner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import func, select

from crm_core.errors import UsageError
from crm_core.extend import ReportQuery, ReportSection

_TILES: Final = (
    "revenue",
    "sales_count",
    "average_order_value",
    "new_customers",
    "win_rate",
    "sales_cycle_median",
    "pipeline_value",
    "weighted_forecast",
    "lead_conversion",
    "repeat_purchase_rate",
)
_MOST_OWNERS: Final = 12
_MOST_MONTHS: Final = 60


def _compute(q: ReportQuery, names: str | Sequence[str], **options: Any) -> Any:
    return q.crm.metrics.compute(names, as_of=q.as_of, **{"period": q.period, **options})


def _numbers(q: ReportQuery) -> Mapping[str, Any]:
    now = _compute(q, _TILES)
    before = {_key(row): row for row in _compute(q, _TILES, period=q.previous)} if q.previous else {}
    mixed = now.in_several_currencies()
    tiles = [
        _tile(q, row, before.get(_key(row)), row.metric in mixed)
        for row in now
        if row.value is not None or row.excluded
    ]
    notes = [*now.remarks(), *now.notes]
    if q.previous and any(" from " in tile["detail"] for tile in tiles):
        notes.insert(0, f"Compared with {q.previous.name}.")
    return {"tiles": tiles, "notes": notes}


def _key(row: Any) -> tuple[Any, ...]:
    return row.metric, row.currency, tuple(row.group.items())


def _tile(q: ReportQuery, row: Any, before: Any, several_currencies: bool) -> dict[str, str]:
    of = [key.label for key in row.group.values()]
    if several_currencies and row.value is None:  # the text is "-", which names no currency
        of.append(row.currency)
    tile = {"label": row.label + (f" · {', '.join(of)}" if of else ""), "text": row.text, "detail": "", "trend": ""}
    if row.value is None:
        tile["detail"] = "undefined: see below" if row.excluded else row.undefined or ""
    elif before is not None and before.value and row.unit != "ratio":
        change = (row.exact - before.exact) / before.exact * 100
        tile |= _trend(q, row, float(change), f"{float(change):+.1f}%", before.text)
    elif before is not None and before.value is not None and row.unit == "ratio":
        change = float((row.exact - before.exact) * 100)
        tile |= _trend(q, row, change, f"{change:+.1f} points", before.text)
    return tile


def _trend(q: ReportQuery, row: Any, change: float, text: str, before: str) -> dict[str, str]:
    rises_well = q.crm.metrics.get(row.metric).direction != "down"
    trend = "" if not change else "better" if (change > 0) == rises_well else "worse"
    return {"detail": f"{text} from {before}", "trend": trend}


def _revenue_by_month(q: ReportQuery) -> Mapping[str, Any]:
    unit = "month"
    try:
        results = _compute(q, "revenue", series=unit)
        if len({row.period for row in results}) < 3:
            unit = "week"
            results = _compute(q, "revenue", series=unit)
    except UsageError as error:
        return {"notes": [error.message]}
    by_currency: dict[str, list[Any]] = {}
    for row in results:
        by_currency.setdefault(row.currency or "", []).append(row)
    notes = list(results.notes)
    charts = []
    for currency, rows in by_currency.items():
        shown = rows[-_MOST_MONTHS:]
        if len(shown) < len(rows):
            notes.append(f"The last {_MOST_MONTHS} {unit}s of {len(rows)} are shown.")
        charts.append(
            {
                "kind": "columns",
                "title": currency,
                "labels": [row.period.name for row in shown],
                "values": [float(row.value or 0) for row in shown],
                "texts": [row.text for row in shown],
                "unit": currency,
            }
        )
    return {"charts": charts, "notes": notes}


def _pipeline(q: ReportQuery) -> Mapping[str, Any]:
    deals = q.crm.tables.deals
    statement = select(deals.c.pipeline, deals.c.stage, func.count().label("n")).where(deals.c.status == "open")
    counts = {(row[0], row[1]): row[2] for row in q.crm.run(statement.group_by(deals.c.pipeline, deals.c.stage))}
    if not counts:
        return {"notes": ["No open deals."]}
    results = q.crm.metrics.compute(["pipeline_value", "weighted_forecast"], by=["pipeline", "stage"])
    worth: dict[tuple[Any, Any], dict[str, list[str]]] = {}
    for row in results:
        key = (row.group["pipeline"].id, row.group["stage"].id)
        worth.setdefault(key, {}).setdefault(row.metric, []).append(row.text)
    rows = [
        [
            *([pipeline.label or pipeline.name] if _several(counts) else []),
            stage,
            f"{number:,}",
            *(" + ".join(worth.get(key, {}).get(name, ["-"])) for name in ("pipeline_value", "weighted_forecast")),
        ]
        for key, pipeline, stage, number in _stages(q, counts)
    ]
    columns = [*(["pipeline"] if _several(counts) else []), "stage", "open deals", "value", "weighted"]
    chart = {
        "kind": "bars",
        "labels": [" · ".join(row[: len(columns) - 3]) for row in rows],
        "values": [float(row[len(columns) - 3].replace(",", "")) for row in rows],
        "texts": [f"{row[len(columns) - 3]} deals" for row in rows],
    }
    return {"table": {"columns": columns, "rows": rows}, "charts": [chart], "notes": ["Open deals as they are now."]}


def _several(counts: Mapping[tuple[Any, Any], int]) -> bool:
    return len({pipeline for pipeline, _ in counts}) > 1


def _stages(q: ReportQuery, counts: Mapping[tuple[Any, Any], int]) -> Iterator[tuple[Any, Any, str, int]]:
    for name, pipeline in q.crm.pipelines.items():
        for stage in pipeline.stages:
            if (name, stage.name) in counts:
                yield (name, stage.name), pipeline, stage.label or stage.name, counts[name, stage.name]


def _owners(q: ReportQuery) -> Mapping[str, Any]:
    results = _compute(q, "win_rate", by="owner")
    rows = sorted(
        (row for row in results if row.value is not None), key=lambda row: (-row.exact, -(row.denominator or 0))
    )
    if not rows:
        return {"notes": list(results.notes) or ["No closed deals."]}
    shown = rows[:_MOST_OWNERS]
    chart = {
        "kind": "bars",
        "labels": [" · ".join(key.label for key in row.group.values()) for row in shown],
        "values": [float(row.value) for row in shown],
        "texts": [f"{row.text}  ({row.numerator:,} of {row.denominator:,})" for row in shown],
        "full": 1.0,
    }
    notes = [f"The first {_MOST_OWNERS} of {len(rows)}."] if len(shown) < len(rows) else []
    return {"charts": [chart], "notes": notes}


SECTIONS: Final = (
    ReportSection(name="numbers", title="Key figures", order=10, build=_numbers),
    ReportSection(name="revenue", title="Revenue over time", order=20, build=_revenue_by_month),
    ReportSection(name="pipeline", title="Pipeline", order=30, build=_pipeline),
    ReportSection(name="owners", title="Win rate by owner", order=50, build=_owners),
)
