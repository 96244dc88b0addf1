from __future__ import annotations

import re
from pathlib import Path

from crm_transfer import load_plan, parse_mapping
from crm_transfer.conditions import _KEYS as _CONDITION_KEYS
from crm_transfer.expressions import OPERATIONS, SHAPES
from crm_transfer.fieldmaps import _FIELD_KEYS
from crm_transfer.grouping import _KEYS as _GROUP_KEYS
from crm_transfer.grouping import _MATCH_KEYS, POLICIES
from crm_transfer.mapping import _FILE_KEYS, _RECORD_KEYS, _RULE_KEYS

PAGE = Path(__file__).parents[3] / "docs" / "import.md"


def test_the_mapping_and_the_plan_of_the_page_are_read(tmp_path: Path) -> None:
    for name, text in re.findall(r'^```toml title="(.*?)"\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), re.M | re.S):
        (tmp_path / name).write_text(text, encoding="utf-8")
    mapping = parse_mapping((tmp_path / "customers.toml").read_text(encoding="utf-8"))
    assert ["customer", "contact_point"] == [record.type for record in mapping.records]
    orders = parse_mapping((tmp_path / "orders.toml").read_text(encoding="utf-8"))
    assert ["group", "line"] == [record.per for record in orders.records]
    assert "customers.csv" == load_plan(tmp_path / "plan.toml").files[0].file


def test_every_key_of_a_mapping_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    known = (_FILE_KEYS | _RECORD_KEYS | _FIELD_KEYS | _CONDITION_KEYS) - {"fields"}
    known |= _GROUP_KEYS | _MATCH_KEYS | _RULE_KEYS | set(POLICIES) | set(OPERATIONS)
    known |= {key for shape in SHAPES.values() for key in shape.keys}
    missing = {key for key in known if not re.search(rf"`{key}`|\b{key} = ", page)}
    assert set() == missing
