"""The HTML of a web form, to be pasted into a page."""

from __future__ import annotations

from html import escape
from typing import Final

from crm_channel_web.forms import FormSettings, pairs_of

_LABELS: Final = {"name": "Name", "email": "E-mail", "phone": "Phone", "subject": "Subject", "message": "Message"}
_TYPES: Final = {"email": "email", "phone": "tel"}
_REQUIRED: Final = frozenset({"email", "message"})
_SCRIPT: Final = (
    "<script>(function(f){fetch(f.action).then(function(r){return r.text()})"
    ".then(function(t){f.elements.token.value=t})})(document.currentScript.previousElementSibling)</script>"
)
"""Asks for the token when the page is shown, which is how long filling in takes."""


def form_html(settings: FormSettings, url: str) -> str:
    """Return the form; `url` is that of its webhook as the world sees it."""
    labels = {**_LABELS, **pairs_of(settings.labels)}
    lines = [f'<form method="post" action="{escape(url)}" accept-charset="utf-8" dir="auto">']
    for part, field in pairs_of(settings.fields).items():
        said, name = escape(labels.get(part, part)), escape(field)
        needed = " required" if part in _REQUIRED else ""
        if part == "message":
            control = f'<textarea name="{name}" rows="6" dir="auto"{needed}></textarea>'
        else:
            control = f'<input type="{_TYPES.get(part, "text")}" name="{name}" dir="auto"{needed}>'
        lines.append(f"  <p><label>{said}<br>{control}</label></p>")
    if settings.consent:
        box = f'<input type="checkbox" name="consent" value="{escape(settings.consent_version)}">'
        lines.append(f"  <p><label>{box} {escape(settings.consent_text)}</label></p>")
    trap = f'<input name="{escape(settings.trap)}" tabindex="-1" autocomplete="off">'
    lines += [
        f'  <p style="position:absolute;left:-99em" aria-hidden="true">{trap}</p>',
        f"  <p><button>{escape(settings.button)}</button></p>",
        '  <input type="hidden" name="token">',
        "</form>",
    ]
    return "\n".join(lines) + _SCRIPT + "\n"
