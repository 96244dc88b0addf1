"""What crm-from-suitecrm hands over."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import Importer


class SuiteCrmPlugin:
    """One importer."""

    @hookimpl
    def register_importers(self) -> Iterable[Importer]:
        """Read the contacts that SuiteCRM exports."""
        from crm_from_suitecrm.contacts import SUITECRM

        return [SUITECRM]


plugin = SuiteCrmPlugin()
