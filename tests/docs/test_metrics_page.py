"""docs/metrics.md says what the metrics say of themselves."""

from __future__ import annotations

from crm_core import CRM
from tests.docs.metrics_page import PAGE, metrics_of, page


def test_the_page_is_current() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "run python -m tests.docs.metrics_page"


def test_every_metric_says_what_it_is() -> None:
    with CRM.open("memory:") as crm:
        for metric in metrics_of(crm):
            words = (metric.label, metric.formula, metric.population, metric.subject, metric.traps, metric.example)
            assert all(words), f"{metric.name} lacks one of label, formula, population, subject, traps, example"
