"""A storage for crm-core in plain text: JSON lines in a folder, no database."""

from __future__ import annotations

__version__ = "0.1.0"
