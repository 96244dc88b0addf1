"""E-mail for crm-core: mailboxes by IMAP, sending by SMTP."""

from __future__ import annotations

__version__ = "0.1.0"
