"""Messengers and SMS as channels of crm-core."""

from __future__ import annotations

__version__ = "0.1.0"
