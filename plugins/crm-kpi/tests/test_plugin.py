from __future__ import annotations

from crm_core import CRM
from crm_core.testing import PluginContract

FIRST = (
    "revenue", "sales_count", "average_order_value", "revenue_per_customer", "repeat_purchase_rate", "refund_rate",
    "win_rate", "win_rate_value", "close_rate", "lead_conversion", "lead_conversion_period", "stage_conversion",
    "stage_duration", "stage_duration_median", "sales_cycle", "sales_cycle_median", "first_contact_cycle",
    "pipeline_value", "weighted_forecast", "sales_velocity", "new_customers", "net_new_revenue", "base_growth",
    "retention_rate", "churn_rate",
)  # fmt: skip


class TestPlugin(PluginContract):
    package = "crm_kpi"


def test_the_plugin_brings_the_metrics_of_the_first_set() -> None:
    with CRM.open("memory:") as crm:
        assert set(FIRST) <= {metric.name for metric in crm.metrics.all()}


def test_an_alias_names_the_same_metric() -> None:
    with CRM.open("memory:") as crm:
        assert crm.metrics.get("revenue_per_customer") is crm.metrics.get("average_sale_value")
