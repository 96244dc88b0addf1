"""What crm-transfer brings to a CRM: the formats it reads and writes."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import Command, Exporter, Importer


class TransferPlugin:
    """Import and export."""

    @hookimpl
    def register_importers(self) -> Iterable[Importer]:
        """Read delimited text, JSON lines, spreadsheets and contacts."""
        from crm_transfer.formats.contactcsv import GOOGLE_CONTACTS, OUTLOOK_CONTACTS
        from crm_transfer.formats.vcard import VCARD
        from crm_transfer.formats.xlsx import XLSX
        from crm_transfer.reading import CSV, JSON_LINES

        return [CSV, JSON_LINES, XLSX, VCARD, GOOGLE_CONTACTS, OUTLOOK_CONTACTS]

    @hookimpl
    def register_exporters(self) -> Iterable[Exporter]:
        """Write delimited text, JSON lines, spreadsheets, Parquet and vCards."""
        from crm_transfer.exporting import CSV_EXPORT, JSON_LINES_EXPORT
        from crm_transfer.formats.parquet import PARQUET_EXPORT
        from crm_transfer.formats.vcardwriting import VCARD4_EXPORT, VCARD_EXPORT
        from crm_transfer.formats.xlsxwriting import XLSX_EXPORT

        return [CSV_EXPORT, JSON_LINES_EXPORT, XLSX_EXPORT, PARQUET_EXPORT, VCARD_EXPORT, VCARD4_EXPORT]

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
