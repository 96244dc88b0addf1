"""Loyalty points for crm-core: a vendor's plugin, whole."""

from __future__ import annotations

__version__ = "0.2.0"
