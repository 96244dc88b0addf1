"""What `--where 'amount > 5000'` leaves unsaid: amounts in other currencies are not compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from crm_core.console import note
from crm_core.query.ast import And, Compare, IsNull, Not
from crm_core.query.text import Comparison, Condition, Conjunction, Disjunction, Membership, Negation, parse
from crm_core.records import RecordType
from crm_core.values import strip_marks

if TYPE_CHECKING:
    from crm_core.crm import CRM


def note_other_currencies(crm: CRM, kind: RecordType, where: str) -> None:
    """Say once which currency a bare number was compared in, where there are amounts in another one."""
    currency = crm.settings.currency
    for path, typed in _compared(parse(where).root):
        field = kind.fields.get(path)
        if field is None or field.declaration.kind != "money" or any(letter.isalpha() for letter in typed):
            continue
        in_another = And((Not(IsNull(field.column)), Not(Compare(f"{field.column}_currency", "=", currency))))
        if crm.records(kind.name).find(in_another, limit=1).records:
            example = f'{path} > "{strip_marks(typed).strip()} {"EUR" if currency == "USD" else "USD"}"'
            others = f"{kind.plural} in other currencies are left out"
            note(f"{path} was compared in {currency}; {others}, write such as {example}")
            return


def _compared(condition: Condition) -> Iterator[tuple[str, str]]:
    """Yield the fields that are compared with a value, each with what was typed."""
    match condition:
        case Comparison(field, _, value):
            yield field, value.text
        case Membership(field, values):
            yield from ((field, value.text) for value in values)
        case Negation(part):
            yield from _compared(part)
        case Conjunction(parts) | Disjunction(parts):
            for part in parts:
                yield from _compared(part)
