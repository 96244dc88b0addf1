"""What a request to a webhook brings beside messages: records to be stored with them, and what a browser is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from crm_core.extend import IncomingMessage, Received


@attrs.frozen(kw_only=True)
class Brought(Received):
    """What `parse` of a channel returns that brings more than messages and receipts.

    Args:
        store: called with the CRM and the account's name after the messages were stored, in their transaction. It may
            be called again with the same content, and must then change nothing.
        otherwise: the message that is stored instead, with the reason, when a rule of the workspace refuses what
            `store` writes; without it the service is asked to come again.
        origin: the web page that may read the answer, as its header `Origin` says it; empty for none.
        location: where a browser goes on to; empty: it stays.
        page: whether `reply` is a page of HTML for a browser.
    """

    store: Callable[[Any, str], None] | None = None
    otherwise: IncomingMessage | None = None
    origin: str = ""
    location: str = ""
    page: bool = False
