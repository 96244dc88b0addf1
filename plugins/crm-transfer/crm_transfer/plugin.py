"""What crm-transfer brings to a CRM: the formats it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import Command, Exporter, Importer


class TransferPlugin:
    """Import and export."""

    @hookimpl
    def register_importers(self) -> Iterable[Importer]:
        """Read delimited text and JSON lines."""
        from crm_transfer.reading import CSV, JSON_LINES

        return [CSV, JSON_LINES]

    @hookimpl
    def register_exporters(self) -> Iterable[Exporter]:
        """Write delimited text and JSON lines."""
        from crm_transfer.exporting import CSV_EXPORT, JSON_LINES_EXPORT

        return [CSV_EXPORT, JSON_LINES_EXPORT]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add `crm import` and `crm export`."""
        return [
            Command(
                name="import",
                help="Bring records in from a file, or files by a plan.",
                target="crm_transfer.commands:import_",
            ),
            Command(name="export", help="Write records to a file.", target="crm_transfer.commands:export"),
        ]


plugin = TransferPlugin()
