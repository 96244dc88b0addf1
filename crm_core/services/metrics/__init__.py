"""Metrics: one name, one number, with its parts, what was left out, the policy applied, and the SQL behind it."""

from __future__ import annotations

from crm_core.services.metrics.results import Comparison, Explanation, GroupKey, Result, Results
from crm_core.services.metrics.service import MetricService

__all__ = ["Comparison", "Explanation", "GroupKey", "MetricService", "Result", "Results"]
