"""The columns by which Google Contacts and Outlook write contacts as CSV."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

import attrs

from crm_transfer.formats.contacts import Point, contacts_mapping, one_line

SEVERAL: Final = ":::"
"""What Google puts between several values of one cell."""


@attrs.frozen(kw_only=True)
class Dialect:
    """One program's file of contacts: what its columns are called. Lists are in the order of what is preferred.

    `signs` are sets of columns that together say that a file is of this kind; `points` are patterns of the columns with
    addresses, which may have a number in the place of `#`, each with those of its label or the label itself. `places`
    are columns of city, region and country; `addresses` are columns that are made of others. `whole` is the column of
    an address that may be empty though its parts, the columns behind it in the order of `one_line`, are not.
    """

    name: str
    help: str
    signs: tuple[frozenset[str], ...]
    person: tuple[str, ...]
    full_name: tuple[str, ...]
    company: tuple[str, ...]
    title: tuple[str, ...]
    birthday: str
    notes: str
    tags: tuple[str, ...]
    tag_separator: str
    points: tuple[tuple[str, str, tuple[str, ...]], ...]
    places: tuple[tuple[str, str, str], ...]
    addresses: tuple[tuple[str, tuple[str, ...]], ...] = ()
    whole: tuple[str, tuple[str, ...]] = ("", ())
    language: str = ""

    def recognises(self, head: bytes) -> bool:
        """Say whether the first line of a file names such columns."""
        return self.fits(_header(head))

    def fits(self, columns: Iterable[str]) -> bool:
        """Say whether these columns are those of such a file."""
        given = set(columns)
        return any(sign <= given for sign in self.signs)

    def columns_with_addresses(self, columns: Sequence[str]) -> list[Point]:
        """Return the columns of a file that hold addresses, in the order of the file, the better kinds first."""
        given, found = set(columns), []
        for pattern, kind, label in self.points:
            shape = re.compile(re.escape(pattern).replace(r"\#", r"(\d+)") + r"(?: \(\d+\))?")
            for column in columns:
                match = shape.fullmatch(column)
                if match:
                    named = [each.replace("#", match[1]) if "#" in each else each for each in label]
                    label_column = next((each for each in named if each in given), "")
                    fixed = next((each for each in label if "#" not in each), "")
                    found.append(Point(kind, column, label_column, fixed))
        return found

    def build_addresses(self, columns: Sequence[str], cells: list[str], *, back: bool = False) -> None:
        """Put what the parts of an address say where it stands as a whole, if nothing does; `back` takes it out."""
        whole, parts = self.whole
        if not whole:
            return
        for at, column in enumerate(columns):
            number = column.removeprefix(whole.partition("#")[0]).partition(" ")[0]
            if column != whole.replace("#", number) or bool(cells[at].strip()) is not back:
                continue
            named = [part.replace("#", number) for part in parts]
            told = [cells[columns.index(name)].split(SEVERAL) if name in columns else [""] for name in named]
            built = [one_line(*(" ".join(each.split()) for each in one)) for one in zip_longest(*told, fillvalue="")]
            text = f" {SEVERAL} ".join(filter(None, built))
            cells[at] = text if not back else "" if cells[at] == text else cells[at]

    def mapping(self, columns: Sequence[str]) -> str:
        """Return the mapping of a file with these columns."""
        points = self.columns_with_addresses(columns)
        title = next((column for column in self.title if column in columns), "")
        return contacts_mapping(self.name, columns, points, language=self.language, title=title, note=self.notes)


def _header(head: bytes) -> list[str]:
    """Return the cells of the first line of a file, whatever parts them."""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    line = next(iter(head.decode(encoding, "ignore").splitlines()), "")
    delimiter = max(",;\t", key=line.count)
    try:
        return [" ".join(cell.split()) for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


GOOGLE: Final = Dialect(
    name="google-contacts",
    help="the contacts that Google exports as CSV",
    signs=(
        frozenset({"First Name", "Last Name", "Organization Name", "Labels"}),
        frozenset({"Given Name", "Family Name", "Group Membership"}),
        frozenset({"Name", "Given Name", "E-mail 1 - Value"}),
        frozenset({"Name", "Given Name", "Phone 1 - Value"}),
    ),
    person=(
        "Name Prefix", "First Name", "Given Name", "Middle Name", "Additional Name", "Last Name", "Family Name",
        "Name Suffix",
    ),
    full_name=("Name", "File As", "Nickname"),
    company=("Organization Name", "Organization 1 - Name"),
    title=("Organization Title", "Organization 1 - Title"),
    birthday="Birthday",
    notes="Notes",
    tags=("Labels", "Group Membership"),
    tag_separator=SEVERAL,
    points=(
        ("E-mail # - Value", "email", ("E-mail # - Label", "E-mail # - Type")),
        ("Phone # - Value", "phone", ("Phone # - Label", "Phone # - Type")),
        ("Address # - Formatted", "postal", ("Address # - Label", "Address # - Type")),
        ("Website # - Value", "web", ("Website # - Label", "Website # - Type")),
    ),
    places=(
        ("Address 1 - City", "Address 1 - Region", "Address 1 - Country"),
        ("Address 2 - City", "Address 2 - Region", "Address 2 - Country"),
    ),
    whole=(
        "Address # - Formatted",
        tuple(
            f"Address # - {part}"
            for part in ("Street", "Extended Address", "PO Box", "Postal Code", "City", "Region", "Country")
        ),
    ),
    language="Language",
)  # fmt: skip
OUTLOOK: Final = Dialect(
    name="outlook-contacts",
    help="the contacts that Outlook exports as CSV",
    signs=(
        frozenset({"First Name", "Last Name", "E-mail Address", "Mobile Phone"}),
        frozenset({"First Name", "Last Name", "E-mail Address", "Business Phone"}),
    ),
    person=("First Name", "Middle Name", "Last Name", "Suffix"),
    full_name=(),
    company=("Company",),
    title=("Job Title",),
    birthday="Birthday",
    notes="Notes",
    tags=("Categories",),
    tag_separator=";",
    points=(
        ("E-mail Address", "email", ()),
        ("E-mail # Address", "email", ()),
        ("Mobile Phone", "phone", ("mobile",)),
        ("Business Phone", "phone", ("work",)),
        ("Business Phone #", "phone", ("work",)),
        ("Company Main Phone", "phone", ("company",)),
        ("Home Phone", "phone", ("home",)),
        ("Home Phone #", "phone", ("home",)),
        ("Primary Phone", "phone", ("main",)),
        ("Other Phone", "phone", ("other",)),
        ("Car Phone", "phone", ("car",)),
        ("Assistant's Phone", "phone", ("assistant",)),
        ("Business Fax", "phone", ("work fax",)),
        ("Home Fax", "phone", ("home fax",)),
        ("Other Fax", "phone", ("fax",)),
        ("Business Address", "postal", ("work",)),
        ("Home Address", "postal", ("home",)),
        ("Other Address", "postal", ("other",)),
        ("Web Page", "web", ()),
        ("Personal Web Page", "web", ("personal",)),
    ),
    places=tuple(
        (f"{where} City", f"{where} State", f"{where} {country}")
        for where in ("Business", "Home", "Other")
        for country in ("Country/Region", "Country")
    ),
    addresses=tuple(
        (
            f"{where} Address",
            tuple(
                f"{where} {part}"
                for part in (
                    "Street",
                    "Street 2",
                    "Street 3",
                    "Postal Code",
                    "City",
                    "State",
                    "Country/Region",
                    "Country",
                )
            ),
        )
        for where in ("Business", "Home", "Other")
    ),
)
