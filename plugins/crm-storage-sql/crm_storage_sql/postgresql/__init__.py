"""PostgreSQL: psycopg 3, binary COPY for many rows, READ COMMITTED with conditional writes."""

from __future__ import annotations
