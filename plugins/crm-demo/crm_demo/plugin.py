"""What crm-demo brings to a CRM: the command `crm demo`."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import Command


class DemoPlugin:
    """The generated company."""

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add `crm demo`."""
        return [Command(name="demo", help="Make a generated company to look at.", target="crm_demo.commands:demo")]


plugin = DemoPlugin()
