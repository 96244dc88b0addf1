"""SQL storage for crm-core: SQLite, embedded and durable by default, PostgreSQL and MariaDB."""

from __future__ import annotations

__version__ = "0.1.0"
