"""Contacts: one form for phone numbers and e-mail addresses, and customers who are there twice, for crm-core."""

from __future__ import annotations

from crm_contacts.records import DistinctPair

__all__ = ["DistinctPair"]
__version__ = "0.1.0"
