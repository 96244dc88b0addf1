"""The contract is used, whole, and written down as it is."""

from __future__ import annotations

import pytest

from crm_core.host.contract import CONTRACT, Hook
from tests.docs.contract_page import PAGE, page, users


@pytest.mark.parametrize("hook", CONTRACT)
def test_a_hook_ships_only_with_a_user(hook: str) -> None:
    assert [] != users()[hook], f"no plugin and no example implements {hook}"


def test_nobody_uses_a_hook_that_the_contract_lacks() -> None:
    assert set() == set(users()) - set(CONTRACT)


def test_the_page_of_the_contract_is_current() -> None:
    assert page() == PAGE.read_text("utf-8"), "run python -m tests.docs.contract_page"


@pytest.mark.parametrize("hook", CONTRACT.values(), ids=lambda hook: hook.name)
def test_the_page_has_every_hook_with_its_exact_signature_and_an_example(hook: Hook) -> None:
    text = PAGE.read_text("utf-8")
    name = hook.name
    section = text.partition(f"### {name} {{ #{name} }}")[2].partition("\n### ")[0]
    assert f"def {name}(self" in section
    assert 2 == section.count("```python")
