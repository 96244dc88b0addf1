"""Customer segments for crm-core: ABC with both tie rules."""

from __future__ import annotations

__version__ = "0.1.0"
