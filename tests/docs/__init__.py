"""What the documentation is made of and checked by."""

from __future__ import annotations
