"""Plain text whose paragraphs are flowed (RFC 3676): lines that end in a space go on."""

from __future__ import annotations


def unflowed(text: str, *, delsp: bool = False) -> str:
    r"""Return a text with each flowed paragraph in one line; quotations keep their depth, signatures their mark.

    >>> unflowed("Hello \nAda\n> quoted \n> text\n-- \nBob")
    'Hello Ada\n> quoted text\n-- \nBob'
    """
    lines: list[str] = []
    flowing, before = False, 0
    for raw in text.replace("\r\n", "\n").split("\n"):
        body = raw.lstrip(">")
        depth = len(raw) - len(body)
        body = body[1:] if body.startswith(" ") else body
        if flowing and depth == before and body != "-- ":
            lines[-1] = f"{lines[-1][:-1] if delsp else lines[-1]}{body}"
        else:
            lines.append(f"{'>' * depth} {body}" if depth else body)
        flowing, before = body.endswith(" ") and body != "-- ", depth
    return "\n".join(lines)
