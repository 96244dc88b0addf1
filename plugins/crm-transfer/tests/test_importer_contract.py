"""Every format that crm-transfer reads keeps the contract that vendors' formats keep."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from openpyxl import Workbook

from crm_core.testing import ImporterContract, ImportSample, RefusedFile

MAPPING = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
first_contact_at = "since"
[[record]]
type = "contact_point"
key = ["no", { const = "phone" }]
when = { column = "phone", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
kind = { const = "phone" }
value = "phone"
"""
ROWS = [
    ["1", "Ada", "2020-01-01", "+44 20 1234"],
    ["2", "سارا کاظمی", "2020-02-30", "۰۹۱۲ ۳۴۵"],
    ["3", "Արամ", "", ""],
]
WRONG = {3: ("since", "2020-02-29")}
HEAD = ["no", "name", "since", "phone"]


def sheet(rows: Sequence[Sequence[object]]) -> bytes:
    book = Workbook()
    active = book.active
    assert active is not None
    for row in rows:
        active.append(list(row))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


@pytest.mark.database("sqlite")
class TestCsv(ImporterContract):
    importer = "csv"

    def samples(self) -> list[ImportSample]:
        text = "\n".join(";".join(row) for row in [HEAD, *ROWS]) + "\n"
        return [
            ImportSample(name="p.csv", content=text.encode(), numbers=(2, 3, 4), rejected=WRONG, mapping=MAPPING),
            ImportSample(
                name="q.txt", content=text.encode("utf-16"), numbers=(2, 3, 4), rejected=WRONG, mapping=MAPPING
            ),
        ]

    def refused(self) -> list[RefusedFile]:
        return [
            RefusedFile(name="empty.csv", content=b"", says="is empty"),
            RefusedFile(name="quote.csv", content=b'no,name\n1,"Ada\n', says="is never closed"),
            RefusedFile(name="sheet.csv", content=sheet(ROWS), says="Excel"),
        ]


@pytest.mark.database("sqlite")
class TestJsonLines(ImporterContract):
    importer = "jsonl"

    def samples(self) -> list[ImportSample]:
        import json

        lines = [json.dumps(dict(zip(HEAD, row, strict=True)), ensure_ascii=False) for row in ROWS]
        text = "\n".join([lines[0], "", *lines[1:]]) + "\n"
        wrong = {3: WRONG[3]}
        return [ImportSample(name="p.jsonl", content=text.encode(), numbers=(1, 3, 4), rejected=wrong, mapping=MAPPING)]

    def refused(self) -> list[RefusedFile]:
        return [
            RefusedFile(name="empty.jsonl", content=b"", says="is empty"),
            RefusedFile(name="bytes.jsonl", content=b'{"no": "1", "name": "\xff"}\n', says="row 1"),
        ]


@pytest.mark.database("sqlite")
class TestXlsx(ImporterContract):
    importer = "xlsx"

    def samples(self) -> list[ImportSample]:
        typed: list[list[object]] = [
            ["no", "name", "since", "phone"],
            [1.0, "Ada", dt.date(2020, 1, 1), "+44 20 1234"],
            [],
            [2, "سارا کاظمی", "2020-02-30", "۰۹۱۲ ۳۴۵"],
            [3, "Արամ", None, None],
        ]
        wrong = {4: WRONG[3]}
        return [
            ImportSample(name="p.xlsx", content=sheet(typed), numbers=(2, 4, 5), rejected=wrong, mapping=MAPPING),
            ImportSample(
                name="error.xlsm",
                content=sheet([HEAD, [1, "#REF!", None, None], [2, "Bob", None, None]]),
                numbers=(2, 3),
                rejected={2: ("name", "Ada")},
                mapping=MAPPING,
            ),
        ]

    def refused(self) -> list[RefusedFile]:
        whole = sheet([HEAD, *ROWS])
        return [
            RefusedFile(name="empty.xlsx", content=b"", says="is empty"),
            RefusedFile(name="cut.xlsx", content=whole[: len(whole) // 2], says="damaged or was cut off"),
            RefusedFile(name="text.xlsx", content=b"no,name\n1,Ada\n", says="is text, not a spreadsheet"),
            RefusedFile(name="page.xlsx", content=b"<html><table></table></html>", says="is a web page"),
            RefusedFile(name="old.xlsx", content=b"\xd0\xcf\x11\xe0" + bytes(600), says="an old Excel file"),
            RefusedFile(name="nothing.xlsx", content=sheet([]), says="not even a header line"),
        ]


CARDS = """BEGIN:VCARD
VERSION:4.0
UID:urn:uuid:1
FN:Ada Lovelace
N:Lovelace;Ada;;;
TEL;VALUE=uri;TYPE="voice,home":tel:+44-20-555-5555;ext=12
EMAIL;TYPE=work:ada@example.org
ORG:Acme\\, Inc.;Research
END:VCARD
BEGIN:VCARD
VERSION:3.0
FN:سارا کاظمی
TEL;TYPE=CELL:no number
END:VCARD
BEGIN:VCARD
VERSION:3.0
FN:Acme\\, Inc.
ORG:Acme\\, Inc.
UID:acme
END:VCARD
"""


@pytest.mark.database("sqlite")
class TestVCard(ImporterContract):
    importer = "vcard"

    def samples(self) -> list[ImportSample]:
        wrong = {10: ("TEL 1", "+98 912 345 67 89")}
        return [
            ImportSample(name="people.vcf", content=CARDS.encode(), numbers=(1, 10, 15), rejected=wrong),
            ImportSample(
                name="export.vcf",
                content=CARDS.replace("\n", "\r\n").encode("utf-16"),
                numbers=(1, 10, 15),
                rejected=wrong,
            ),
        ]

    def refused(self) -> list[RefusedFile]:
        return [
            RefusedFile(name="empty.vcf", content=b"", says="is empty"),
            RefusedFile(name="cut.vcf", content=CARDS.encode()[:-5], says="begins in line 15 is never ended"),
            RefusedFile(name="csv.vcf", content=b"no,name\n1,Ada\n", says="outside of any card"),
            RefusedFile(name="bytes.vcf", content=CARDS.encode().replace(b"FN:Ada", b"FN:\xc7"), says="the byte 0xC7"),
        ]

    def put_right(self, rejects: Path, sample: ImportSample) -> None:
        text = rejects.read_text(encoding="utf-8")
        assert "X-CRM-ERROR-COLUMN:TEL 1" in text
        rejects.write_text(text.replace("no number", "+98 912 345 67 89"), encoding="utf-8")


GOOGLE = (
    "First Name,Middle Name,Last Name,Organization Name,Organization Title,Birthday,Notes,Labels,E-mail 1 - Label,"
    "E-mail 1 - Value,Phone 1 - Label,Phone 1 - Value,Address 1 - Formatted,Address 1 - City\n"
    "Ada,,Lovelace,Acme,Engineer,1815-12-10,likes numbers,* myContacts ::: Friends,* Work,"
    "ada@example.org ::: countess@example.org,Mobile,+44 20 1234,12 Main St,London\n"
    "سارا,,کاظمی,,, --03-21,,,,,Home,no number,,\n"
    ",,,Acme,,,,,,,Work,+1 555 0100,,\n"
)
GOOGLE_BEFORE_2024 = (
    "Name,Given Name,Additional Name,Family Name,Birthday,Group Membership,E-mail 1 - Type,E-mail 1 - Value,"
    "Phone 1 - Type,Phone 1 - Value,Organization 1 - Name,Organization 1 - Title\n"
    "Ada Lovelace,Ada,,Lovelace,1815-12-10,* myContacts,* Home,ada@example.org,Mobile,no number,Acme,Engineer\n"
    "Grace Hopper,Grace,,Hopper, --12-09,* myContacts ::: Friends,Work,grace@example.org,Mobile,+1 555 0100,,\n"
)


@pytest.mark.database("sqlite")
class TestGoogleContacts(ImporterContract):
    importer = "google-contacts"

    def samples(self) -> list[ImportSample]:
        wrong = ("Phone 1 - Value", "+98 912 345 67 89")
        before = GOOGLE_BEFORE_2024.encode("utf-16")
        return [
            ImportSample(name="contacts.csv", content=GOOGLE.encode(), numbers=(2, 3, 4), rejected={3: wrong}),
            ImportSample(name="google.csv", content=before, numbers=(2, 3), rejected={2: wrong}),
        ]

    def refused(self) -> list[RefusedFile]:
        return [
            RefusedFile(name="other.csv", content=b"no,name\n1,Ada\n", says="has not the columns"),
            RefusedFile(name="cut.csv", content=GOOGLE.encode()[:-3] + b',"', says="is never closed"),
        ]


OUTLOOK = (
    "Title,First Name,Middle Name,Last Name,Suffix,Company,Job Title,Business Street,Business City,"
    "Business Country/Region,Home City,Business Phone,Mobile Phone,E-mail Address,E-mail 2 Address,Birthday,Categories,"
    "Notes\n"
    "Dr,Ada,,Lovelace,,Acme,Engineer,12 Main St,London,United Kingdom,,+44 20 1234,,ada@example.org,,12/31/1990,"
    "Friends;VIP,\n"
    ",سارا,,کاظمی,,,,,,,تهران,no number,,sara@example.org,,0/0/00,,hello\n"
    ",,,,,Acme,,,,,,+1 555 0100,,,,,,\n"
)


@pytest.mark.database("sqlite")
class TestOutlookContacts(ImporterContract):
    importer = "outlook-contacts"

    def samples(self) -> list[ImportSample]:
        wrong = {3: ("Business Phone", "+98 912 345 67 89")}
        return [
            ImportSample(name="outlook.csv", content=OUTLOOK.encode("utf-8-sig"), numbers=(2, 3, 4), rejected=wrong)
        ]

    def refused(self) -> list[RefusedFile]:
        return [RefusedFile(name="other.csv", content=GOOGLE.encode(), says="has not the columns")]
