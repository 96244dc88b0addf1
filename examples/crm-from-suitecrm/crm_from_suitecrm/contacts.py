"""The contacts that SuiteCRM exports: comma-separated UTF-8 in quotation marks, with ids of its own."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crm_core.errors import CrmError
from crm_core.extend import BadRow, Importer, Source, SourceRow

_SIGNS: Final = frozenset({"ID", "First Name", "Last Name", "Account Name", "Email Address", "Deleted"})
"""The columns by which a file is recognised."""
MAPPING: Final = """
[file]
format = "suitecrm"
system = "suitecrm"

[[record]]  # the account that a contact belongs to
type = "customer"
key = "Account Name"
system = "suitecrm-accounts"
when = [{ column = "Account Name", given = true }, { column = "Deleted", not = "1" }]
repeats = true
[record.fields]
name = "Account Name"
kind = { const = "organisation" }

[[record]]
type = "customer"
key = "ID"
when = { column = "Deleted", not = "1" }
[record.fields]
name = { template = "{First Name} {Last Name}" }
source = "Lead Source"
first_contact_at = { column = "Date Created", format = "%Y-%m-%d %H:%M:%S", zone = "UTC" }

[[record]]
type = "contact_point"
key = ["ID", { const = "email" }]
when = [{ column = "Email Address", given = true }, { column = "Deleted", not = "1" }]
[record.fields]
customer_id = { column = "ID", ref = "customer" }
kind = { const = "email" }
value = "Email Address"

[[record]]
type = "contact_point"
key = ["ID", { const = "phone" }]
when = [{ column = "Office Phone", given = true }, { column = "Deleted", not = "1" }]
[record.fields]
customer_id = { column = "ID", ref = "customer" }
kind = { const = "phone" }
value = "Office Phone"
label = { const = "work" }

[[record]]
type = "relation"
key = ["ID", { const = "works for" }]
when = [{ column = "Account Name", given = true }, { column = "Deleted", not = "1" }]
[record.fields]
customer_id = { column = "ID", ref = "customer" }
other_id = { column = "Account Name", ref = "customer", system = "suitecrm-accounts" }
kind = { const = "works for" }
title = "Title"
"""


def open_contacts(path: Path, options: Mapping[str, Any]) -> Source:
    """Open an export: the whole file is looked through before anybody takes a row of it.

    Raises:
        CrmError: it is no such export, or was cut off.
    """
    total = 0
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 16):
                digest.update(block)
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, strict=True)
            columns = tuple(next(reader, ()))
            total = sum(1 for cells in reader if cells)
    except OSError as error:
        raise CrmError(f"{path}: cannot be read: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError as error:
        raise CrmError(f"{path.name} is not UTF-8", hint="export it again, with UTF-8 as its encoding") from error
    except csv.Error as error:
        raise CrmError(f"{path.name} is damaged or was cut off: {error}", hint="export it again") from error
    if not _SIGNS <= set(columns):
        missing = ", ".join(sorted(_SIGNS - set(columns)))
        raise CrmError(f"{path.name} is no export of SuiteCRM's contacts: it has no {missing}", hint="export it again")
    return Source(
        columns=columns, guesses={}, rows=_rows(path, columns), total=total, digest=digest.hexdigest(), options=options
    )


def write_contacts(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
) -> None:
    """Write rejected rows in the form of an export."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def is_export(head: bytes) -> bool:
    """Say whether a file begins with the header of such an export."""
    first = next(iter(head.decode("utf-8-sig", "ignore").splitlines()), "")
    return set(next(csv.reader([first]), [])) >= _SIGNS


SUITECRM: Final = Importer(
    name="suitecrm",
    suffixes=(),
    open=open_contacts,
    write=write_contacts,
    help="The contacts that SuiteCRM exports.",
    recognises=is_export,
    mapping=lambda columns: MAPPING,
)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[SourceRow | BadRow]:
    width = len(columns)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        next(reader)
        number = reader.line_num + 1
        for cells in reader:
            if len(cells) == width:
                yield SourceRow(number, cells)
            elif cells:
                padded = [*cells, *[""] * width][:width]
                yield BadRow(number, padded, "columns", f"the row has {len(cells)} cells, the header {width}")
            number = reader.line_num + 1
