"""Segments: customers divided into named groups, with the parameters and policies that drew the lines."""

from __future__ import annotations

from crm_core.services.segments.results import Member, SegmentResult, SummaryRow, score_text
from crm_core.services.segments.service import SegmentService

__all__ = ["Member", "SegmentResult", "SegmentService", "SummaryRow", "score_text"]
