"""A generated company for crm-core, imported like any other data."""

from __future__ import annotations

__version__ = "0.1.0"
