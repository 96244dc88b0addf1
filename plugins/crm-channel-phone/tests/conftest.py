"""Accounts of phones in a workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from crm_core import CRM
from crm_core.testing import OpenChannel

from .records import ZONE


@pytest.fixture
def account_of() -> Iterator[Callable[[Path], OpenChannel]]:
    """Opens the account `calls`, whose records are in Master.csv."""
    with ExitStack() as stack:

        def open_in(place: Path) -> OpenChannel:
            account = f'type = "phone-cdr"\nfile = "Master.csv"\nzone = "{ZONE}"\n'
            lines = f'[storage]\nurl = "memory:"\n[channels.calls]\n{account}'
            (place / "crm.toml").write_text(lines, "utf-8")
            return stack.enter_context(stack.enter_context(CRM.open(place)).channels.open("calls"))

        yield open_in
