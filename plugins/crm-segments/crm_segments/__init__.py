"""Customer segments for crm-core: ABC with both tie rules, RFM."""

from __future__ import annotations

__version__ = "0.1.0"
