"""Writes docs/metrics.md from what the plugins hand over: `python -m tests.docs.metrics_page`.

A test compares the file with what this writes, and fails when a metric lacks its formula, population, traps or example.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crm_core import CRM
from crm_core.extend import Metric, Segment

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_INTRODUCTION = """# Metrics and segments

<!-- Written by `python -m tests.docs.metrics_page` from the descriptors of the plugins; a test keeps it current. -->

Each metric has one name and one definition. A result carries its numerator and denominator, what was left out and why,
what is doubtful, and the policies applied; `crm metrics explain NAME` adds the SQL and the rows behind the number.

- A period is half-open, in the workspace's calendar and time zone. Without a period a number is of all time.
- Undefined is a value with a reason (no data, unknown amounts, an incomplete window), never 0. A sum of money
  is 0 where nothing was sold between the first and the last sale that is known; undefined before, after, without any.
- Amounts of several currencies are never added up: there is one result per currency, or, with `reporting_currency` and
  `[rates]` in `crm.toml`, one that is converted at the rate of the day of the sale: of each currency the latest rate up
  to that day, for a day under `[rates]` may name only some. A rate that is missing is named.
- What has no currency, such as a sale without an amount, is in no currency's result; where there is one result per
  currency, one of them counts it: that of the workspace's currency, or the first. So what was left out adds up.
- Deals of several pipelines never mix: each pipeline has its own result.
- Customers are counted once: a person who works for an organisation counts as the organisation (`customer_unit`).

Group by any field of the records a metric is made of, by `owner`, `team` or `customer`, by a field of the customer
behind a deal or sale (`country`, `industry`), and by the team's own fields; what is missing is a group of its own.
"""
_BUNDLED = ("crm-kpi", "crm-segments")
_UNITS = {"ratio": "ratio", "money": "money", "count": "count", "days": "days", "money_per_day": "money a day"}


def page() -> str:
    """Return the whole page."""
    with CRM.open("memory:") as crm:
        mine = metrics_of(crm)
        metrics = "\n".join(map(_metric, mine))
        segments = "\n".join(map(_segment, _handed_over(crm, "register_segments")))
        overview = "\n".join(f"| [`{m.name}`](#{m.name}) | {_UNITS[m.unit]} | {_cell(m.formula)} |" for m in mine)
    table = f"| metric | unit | formula |\n|---|---|---|\n{overview}\n"
    return f"{_INTRODUCTION}\n{table}\n## Metrics\n\n{metrics}\n## Segments\n\n{segments}"


def metrics_of(crm: CRM) -> list[Metric]:
    """Return the metrics of the bundled plugins; an example's, where one is installed, are its own to describe."""
    return _handed_over(crm, "register_metrics")


def _handed_over(crm: CRM, hook: str) -> list[Any]:
    found = [one.item for one in crm.host.collect(hook) if one.distribution in _BUNDLED]
    return sorted(found, key=lambda item: str(item.name))


def _metric(metric: Metric) -> str:
    names = f", also `{'`, `'.join(metric.aliases)}`" if metric.aliases else ""
    policies = f"`{'`, `'.join(metric.policies)}`" if metric.policies else "none"
    return (
        f"### {metric.name}\n\n{metric.label}{names}: {metric.formula}.\n\n"
        f"- Counted: {metric.population}.\n- Beware: {metric.traps}.\n- Example: {metric.example}.\n"
        f"- Policies: {policies}.\n"
    )


def _segment(segment: Segment) -> str:
    rows = "\n".join(f"| `{p.name}` | `{p.default}` | {_cell(p.help)} |" for p in segment.parameters)
    return (
        f"### {segment.name}\n\n{segment.label}: {segment.help}.\n\n"
        f"| parameter | default | meaning |\n|---|---|---|\n{rows}\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
