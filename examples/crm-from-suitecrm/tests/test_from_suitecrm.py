from __future__ import annotations

from pathlib import Path

import pytest

from crm_core import CRM
from crm_core.testing import ImporterContract, ImportSample, PluginContract, RefusedFile

HEADER = (
    '"ID","First Name","Last Name","Title","Account Name","Email Address","Office Phone","Lead Source","Date Created",'
    '"Deleted"\n'
)
CONTACTS = (
    HEADER + '"a1","Ada","Lovelace","Engineer","Acme","ada@example.org","+44 20 1234","Web","2024-05-01 10:00:00","0"\n'
    '"a2","سارا","کاظمی","","Acme","","no number","Fair","2024-05-02 10:00:00","0"\n'
    '"a3","Գրիգոր","Պետրոսյան","","","grigor@example.org","","","2024-05-03 10:00:00","0"\n'
)
GONE = '"a4","Old","Contact","","Acme","old@example.org","","","2020-01-01 00:00:00","1"\n'


class TestThePlugin(PluginContract):
    package = "crm_from_suitecrm"


@pytest.mark.database("sqlite")
class TestTheImporter(ImporterContract):
    importer = "suitecrm"

    def samples(self) -> list[ImportSample]:
        wrong = {3: ("Office Phone", "+98 912 345 67 89")}
        return [
            ImportSample(name="Contacts.csv", content=CONTACTS.encode(), numbers=(2, 3, 4), rejected=wrong),
            ImportSample(
                name="all.csv", content=(CONTACTS + GONE).encode("utf-8-sig"), numbers=(2, 3, 4, 5), rejected=wrong
            ),
        ]

    def refused(self) -> list[RefusedFile]:
        return [
            RefusedFile(name="empty.csv", content=b"", says="no export of SuiteCRM"),
            RefusedFile(name="cut.csv", content=CONTACTS.encode()[:-2], says="damaged or was cut off"),
            RefusedFile(name="other.csv", content=b"no,name\n1,Ada\n", says="it has no Account Name"),
            RefusedFile(
                name="latin.csv", content=CONTACTS.replace("Ada", "Zoë").encode("latin-1", "replace"), says="UTF-8"
            ),
        ]


def test_a_contact_that_was_deleted_there_is_left_out(tmp_path: Path) -> None:
    contract = TestTheImporter()
    path = tmp_path / "gone.csv"
    path.write_text(HEADER + GONE, encoding="utf-8")
    contract.bring(tmp_path / "w", path, contract.samples()[0])
    with CRM.open(tmp_path / "w") as crm:
        assert 0 == crm.customers.count()
