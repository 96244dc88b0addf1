"""Templates: what a message says, per language, filled in with what is known of a customer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_core import Customer, User
from crm_core.errors import InvalidValue, NotFound
from crm_core.query.ast import Compare
from crm_inbox.records import MessageTemplate
from crm_inbox.sandbox import Known, fill_in, read

if TYPE_CHECKING:
    from crm_core import CRM

_PARTS: Final = ("subject", "body", "html")
_FACTS: Final = ("name", "kind", "language", "country", "region", "city", "industry")
_RIGHT_TO_LEFT: Final = frozenset(
    {"ar", "arc", "azb", "ckb", "dv", "fa", "he", "ks", "ku", "nqo", "pnb", "ps", "sd", "syr"}
)
_RIGHT_TO_LEFT_SCRIPTS: Final = frozenset({"arab", "hebr", "nkoo", "syrc", "thaa"})
_RIGHT_TO_LEFT_BY_DEFAULT: Final = frozenset({"ug", "ur", "yi"})
_FILLED_IN: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_BEGINNING: Final = 2_000
"""Characters of a template whose first words tell how it is written."""
_MARK: Final = "\u200f"
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Letter:
    """What a template became for somebody: one line of subject, plain text, and HTML where the template has any."""

    subject: str
    text: str
    html: str = ""
    language: str = ""
    direction: str = "ltr"


def versions(crm: CRM, name: str) -> list[MessageTemplate]:
    """Return a template in all its languages.

    Raises:
        NotFound: there is none of that name.
    """
    found = list(crm.records(MessageTemplate).find(Compare("name", "=", name), sort="id", limit=None))
    if not found:
        known = sorted({each.name for each in crm.records(MessageTemplate).find(limit=None)})
        raise NotFound(
            f"there is no template {name!r}",
            hint=f"crm templates add {name} makes it; there are: {', '.join(known) or 'none'}",
        )
    return found


def in_language(found: list[MessageTemplate], language: str | None) -> MessageTemplate:
    """Return the version of a template for "fa-IR", else for "fa", else for any language, else the first made."""
    by_tag = {each.language.casefold(): each for each in found}
    parts = (language or "").casefold().replace("_", "-").split("-")
    for end in range(len(parts), 0, -1):
        if (tag := "-".join(parts[:end])) and tag in by_tag:
            return by_tag[tag]
    return by_tag.get("", found[0])


def require_readable(template: MessageTemplate, places: Mapping[str, str] = _NOTHING) -> None:
    """Read the parts of a template.

    Args:
        template: the template.
        places: what errors call its parts, where they come from files.

    Raises:
        InvalidValue: one is not understood; the message names the part, or file, and the line.
    """
    for part in _PARTS:
        source = getattr(template, part)
        if source:
            read(source, places.get(part) or _place(template, part), html=part == "html")


def letter(
    crm: CRM,
    template: MessageTemplate,
    customer: Customer | None,
    values: Mapping[str, Any] = _NOTHING,
    owners: Mapping[int, User] | None = None,
) -> Letter:
    """Fill in a template.

    Args:
        crm: the CRM.
        template: one version of a template.
        customer: whom it is for; None for nobody who is known.
        values: further names that it may use: texts and numbers.
        owners: the users who may look after the customer, of who fills in many; without it the owner is looked up.

    Raises:
        InvalidValue: it uses what is not known, or becomes too long, or nothing; the message names part and line.
    """
    known = {**facts(crm, customer, owners), **values}
    made = {part: _filled(template, part, known) for part in _PARTS}
    direction = _direction(template, customer)
    language = template.language
    subject = " ".join(made["subject"].split())
    if len(subject) > 1000:
        raise InvalidValue(f"{_place(template, 'subject')}: it becomes longer than 1,000 characters", field="subject")
    if not made["body"].strip():
        raise InvalidValue(f"{_place(template, 'body')}: it says nothing", field="body")
    text = made["body"]
    if direction == "rtl":
        subject, text = _marked(subject), _marked(text)
    html = _page(made["html"], language, direction) if made["html"].strip() else ""
    return Letter(subject=subject, text=text, html=html, language=language, direction=direction)


def facts(crm: CRM, customer: Customer | None, owners: Mapping[int, User] | None = None) -> dict[str, Any]:
    """Return what templates may use: `customer` with its fields, `owner`, `today`; what is empty is not known."""
    today = crm.clock.now().astimezone(crm.zone).date().isoformat()
    if customer is None:
        return {"today": today, "customer": Known({}, "the customer"), "owner": Known({}, "the owner")}
    about = {name: value for name in _FACTS if (value := getattr(customer, name))}
    own = {name: _plain(value) for name, value in customer.fields.items()}
    about |= {"tags": list(customer.tags), "fields": Known(own, "the customer's fields")}
    if owners is None:
        owners = {each.id: each for each in crm.users.get_many([customer.owner_id or 0])}
    owner = owners.get(customer.owner_id or 0)
    looks_after = {name: value for name in ("name", "email") if (value := getattr(owner, name, None))}
    return {
        "today": today,
        "customer": Known(about, "the customer"),
        "owner": Known(looks_after, "the owner"),
    }


def direction_of(language: str) -> str:
    """Return how a language is written, "rtl" or "ltr"; a script in the tag outweighs the language.

    >>> direction_of("fa-IR"), direction_of("de"), direction_of("az-Arab"), direction_of("ku-Latn"), direction_of("")
    ('rtl', 'ltr', 'rtl', 'ltr', 'ltr')
    """
    first, *others = language.casefold().replace("_", "-").split("-")
    script = next((each for each in others if len(each) == 4 and each.isalpha()), "")
    written = script in _RIGHT_TO_LEFT_SCRIPTS if script else first in _RIGHT_TO_LEFT | _RIGHT_TO_LEFT_BY_DEFAULT
    return "rtl" if written else "ltr"


def _direction(template: MessageTemplate, customer: Customer | None) -> str:
    """Return how a template is written: as its language is, without one as its own words are, not what is filled in."""
    if not template.language:
        first = _first_strong(_FILLED_IN.sub("", template.body[:_BEGINNING]), ("L", "R", "AL"))
        if first:
            return "ltr" if first == "L" else "rtl"
    return direction_of(template.language or (customer.language if customer is not None else "") or "")


def _first_strong(text: str, kinds: tuple[str, ...]) -> str:
    """Return of the characters that have a direction which one the first has; empty if there are none."""
    strong = (unicodedata.bidirectional(each) for each in text)
    return next((each for each in strong if each in kinds), "")


def _filled(template: MessageTemplate, part: str, known: Mapping[str, Any]) -> str:
    source = getattr(template, part)
    return fill_in(source, _place(template, part), known, html=part == "html") if source else ""


def _place(template: MessageTemplate, part: str) -> str:
    language = f" ({template.language})" if template.language else ""
    return f"template {template.name!r}{language}, {'text' if part == 'body' else part}"


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _marked(text: str) -> str:
    """Mark lines that begin with a name or number of the other direction, which would turn them around."""

    def turns(line: str) -> bool:
        return _first_strong(line, ("L", "R", "AL", "EN", "AN")) in ("L", "EN")

    return "\n".join(f"{_MARK}{line}" if turns(line) else line for line in text.split("\n"))


def _page(html: str, language: str, direction: str) -> str:
    """Return HTML that says its language and direction; a whole page is left as it is."""
    if html.lstrip()[:20].casefold().startswith(("<!doctype", "<html")):
        return html
    lang = f' lang="{escape(language)}"' if language else ""
    head = '<head><meta charset="utf-8"></head>'
    return f'<!DOCTYPE html>\n<html{lang} dir="{direction}">{head}<body>{html}</body></html>\n'
