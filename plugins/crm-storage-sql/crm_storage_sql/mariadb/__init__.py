"""MariaDB: PyMySQL, READ COMMITTED with conditional writes, text by code point (utf8mb4_nopad_bin)."""

from __future__ import annotations
