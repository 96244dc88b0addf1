"""A channel for crm-core whose messages are files in a folder."""

from __future__ import annotations

__version__ = "0.1.0"
