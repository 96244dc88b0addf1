"""Cards as text: RFC 6350 (vCard 4.0), RFC 2426 (3.0) and the older 2.1, card by card in constant memory.

Not by a library: vobject 0.9 knows no 4.0 (types in quotation marks, `tel:` addresses) and stops at the
quoted-printable lines of 2.1.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from crm_transfer.errors import BadCell, FileFault

VERSIONS: Final = ("2.1", "3.0", "4.0")
EMPLOYER: Final = "X-CRM-EMPLOYER"
"""The property in which a card that we wrote has the key of the company, which `ORG` only names."""
PRODUCT: Final = "-//crm-core//crm-transfer//EN"
"""The `PRODID` of a card that we wrote: it has whole addresses and labels, and says which ones are the main ones."""
BINARY: Final = frozenset({"PHOTO", "LOGO", "SOUND", "KEY"})
"""Properties that are not text: they are left out, and take no memory."""
_LONGEST: Final = 1 << 20
_FOLD: Final = 75
_LINE: Final = re.compile(
    r'(?:(?P<group>[A-Za-z0-9_-]+)\.)?(?P<name>[A-Za-z0-9-]+)(?P<parameters>(?:;(?:[^":;]|"[^"]*")*)*):(?P<value>.*)',
    re.DOTALL,
)
_PARAMETER: Final = re.compile(r';((?:[^";]|"[^"]*")*)')
_PARTS: Final = re.compile(r'(?:[^",]|"[^"]*")+')
_START: Final = re.compile(r"(?:[A-Za-z0-9_-]+\.)?(?P<name>[A-Za-z0-9-]+)[;:]")


@attrs.frozen(kw_only=True)
class Property:
    """One line of a card: its name and the names of its parameters in capitals, its value as written."""

    name: str
    value: str
    group: str = ""
    parameters: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    @property
    def types(self) -> tuple[str, ...]:
        """What it is for, in small letters: home, work, cell."""
        return tuple(each.lower() for each in self.parameters.get("TYPE", ()))

    @property
    def preference(self) -> int:
        """How preferred it is among its like: 1 comes first, 101 is not said."""
        given = next(iter(self.parameters.get("PREF", ())), "")
        if given.isdecimal() and given.isascii():
            return min(int(given), 100) if int(given) else 1
        return 1 if "pref" in self.types else 101


@attrs.define
class Card:
    """One card: the line it begins in, its lines put together again, its version, what is wrong with it.

    `told` is what an earlier import said is wrong, by column of a reject file.
    """

    number: int
    lines: list[str] = attrs.field(factory=list)
    size: int = 0
    version: str = ""
    fault: BadCell | None = None
    binaries: int = 0
    told: dict[str, str] = attrs.field(factory=dict)

    def properties(self) -> list[Property]:
        """Return its properties.

        Raises:
            BadCell: one of them is not written as it must be.
        """
        if self.fault is not None:
            raise self.fault
        if self.version not in VERSIONS:
            raise BadCell(
                "version", f"is no version that is known ({', '.join(VERSIONS)})", column="VERSION", value=self.version
            )
        return [_property(line, self.version) for line in self.lines]


def cards(lines: Iterable[str], name: str, encoding: str) -> Iterator[Card]:
    """Yield the cards of a file, whose lines were decoded with `surrogateescape` where they are not in its encoding.

    Raises:
        FileFault: there is something else in it, or the last card is cut off.
    """
    card: Card | None = None
    depth, skipping, found = 0, False, False
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        upper = line.strip().upper()
        if card is None:
            if upper == "BEGIN:VCARD":
                card, depth, skipping, found = Card(number), 1, False, True
            elif upper.strip("\ufeff"):
                raise FileFault(
                    f"{name}: line {number} is outside of any card: {line.strip()[:40]!r}",
                    hint="a vCard file has cards only: BEGIN:VCARD ... END:VCARD",
                    file=name,
                    rule="file",
                )
            continue
        if upper in ("BEGIN:VCARD", "END:VCARD"):
            depth += 1 if upper == "BEGIN:VCARD" else -1
            if not depth:
                yield card
                card = None
            continue
        if depth == 1:
            skipping = _take(card, line, number, skipping=skipping, encoding=encoding, file=name)
    if card is not None:
        raise FileFault(
            f"{name}: the card that begins in line {card.number} is never ended: the file was cut off",
            hint="export it again",
            file=name,
            rule="damaged",
        )
    if not found:
        raise FileFault(
            f"{name} has no card in it", hint="export it again, or leave it out of the plan", file=name, rule="file"
        )


def _take(card: Card, line: str, number: int, *, skipping: bool, encoding: str, file: str) -> bool:
    """Add a line of a file to a card; return whether what follows belongs to something that is left out."""
    folded = line[:1] in (" ", "\t")
    soft = bool(card.lines) and card.lines[-1].endswith("=") and _is_quoted_printable(card.lines[-1])
    if not soft:
        start = _START.match(line)
        if skipping and (folded or start is None):
            return True
        if start is not None and not folded and start["name"].upper() in BINARY:
            card.binaries += 1
            return True
        if not line.strip():
            return False
    card.size += len(line)
    if card.size > _LONGEST:
        card.fault = card.fault or BadCell("size", "the card has more than a million characters, without its pictures")
        return False
    text = _decoded(line, number, encoding=encoding, file=file, card=card)
    if soft:
        card.lines[-1] = card.lines[-1][:-1] + text
    elif folded and card.lines:
        # 2.1 breaks a line before white space that stays; later versions add one character, which goes.
        card.lines[-1] += text if card.version == "2.1" else text[1:]
    else:
        card.lines.append(text)
        if text[:8].upper() == "VERSION:":
            card.version = text[8:].strip()
    return False


def _decoded(line: str, number: int, *, encoding: str, file: str, card: Card) -> str:
    if line.isascii() or not any("\udc80" <= c <= "\udcff" for c in line):
        return line
    match = _LINE.match(line) or _LINE.match(card.lines[-1] if card.lines else "")
    declared = re.search(r";CHARSET=([A-Za-z0-9_-]+)", match["parameters"], re.IGNORECASE) if match else None
    byte = next(ord(c) - 0xDC00 for c in line if "\udc80" <= c <= "\udcff")
    if declared is None:
        raise FileFault(
            f"{file}: line {number}: the byte 0x{byte:02X} is not {encoding.upper()}",
            hint="name the encoding: --encoding windows-1252 (western), windows-1256 (Persian, Arabic) ...",
            file=file,
            rule="encoding",
        )
    try:
        return line.encode(encoding, "surrogateescape").decode(declared[1])
    except (LookupError, UnicodeDecodeError):
        card.fault = card.fault or BadCell("encoding", f"is not {declared[1]}, as the card says", value=line[:20])
        return line.encode("ascii", "replace").decode()


def _is_quoted_printable(line: str) -> bool:
    return "QUOTED-PRINTABLE" in line.partition(":")[0].upper()


def _property(line: str, version: str) -> Property:
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadCell("line", "is no line of a card: it has no name and colon", value=line[:60])
    parameters = _parameters(match["parameters"], version)
    name, value = match["name"].upper(), match["value"]
    if any(each.upper() == "QUOTED-PRINTABLE" for each in parameters.get("ENCODING", ())):
        value = _unquoted(value, next(iter(parameters.get("CHARSET", ())), "utf-8"), name)
    return Property(name=name, value=value, group=match["group"] or "", parameters=parameters)


def _unquoted(value: str, charset: str, name: str) -> str:
    try:
        text = quopri.decodestring(value.encode("ascii")).decode(charset)
    except (LookupError, UnicodeError, binascii.Error):
        raise BadCell("encoding", f"is not {charset} in quoted-printable", column=name, value=value[:60]) from None
    return text.replace("\r\n", "\n")


def _parameters(text: str, version: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for match in _PARAMETER.finditer(text):
        name, equals, values = match[1].partition("=")
        if not equals:  # 2.1 writes TEL;HOME;PREF and leaves out what they are
            upper = name.strip().upper()
            name, values = ("ENCODING", upper) if upper in ("QUOTED-PRINTABLE", "BASE64", "8BIT") else ("TYPE", name)
        key = name.strip().upper()
        parts = [each.strip().strip('"').strip() for each in _PARTS.findall(values)]
        if key == "TYPE":  # the one list that is written within quotation marks: TYPE="voice,cell"
            parts = [part.strip() for each in parts for part in each.split(",")]
        if version == "4.0":
            parts = [_uncaret(part) for part in parts]
        found[key] = (*found.get(key, ()), *(part for part in parts if part))
    return found


def _uncaret(text: str) -> str:
    """Undo RFC 6868, which writes in parameters what their syntax has no place for."""
    return re.sub(r"\^([n^'])", lambda m: {"n": "\n", "^": "^", "'": '"'}[m[1]], text) if "^" in text else text


def careted(text: str) -> str:
    r"""Return a text as a parameter within quotation marks has it (RFC 6868).

    >>> careted('Weg 1 "B"\n^')
    "Weg 1 ^'B^'^n^^"
    """
    return text.replace("^", "^^").replace("\n", "^n").replace('"', "^'")


def unescaped(value: str, version: str = "4.0") -> str:
    r"""Return a text value with its escapes undone.

    >>> unescaped(r"a\, b\nc\\n")
    'a, b\nc\\n'
    """
    if "\\" not in value:
        return value
    if version == "2.1":
        return re.sub(r"\\([;,:\\])", r"\1", value)
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] in "nN" else match[1], value)


def split(value: str, separator: str) -> list[str]:
    r"""Return the parts of a structured value, escapes kept.

    >>> split(r"a\;b;c", ";")
    ['a\\;b', 'c']
    """
    if "\\" not in value:
        return value.split(separator)
    parts, begin, at = [], 0, 0
    while at < len(value):
        if value[at] == "\\":
            at += 1
        elif value[at] == separator:
            parts.append(value[begin:at])
            begin = at + 1
        at += 1
    return [*parts, value[begin:]]


def escaped(text: str) -> str:
    r"""Return a text as a value of a card.

    >>> escaped("a, b;\nc")
    'a\\, b\\;\\nc'
    """
    clean = text.replace("\r\n", "\n").replace("\r", "\n")
    for character in "\\,;":
        clean = clean.replace(character, "\\" + character)
    return clean.replace("\n", "\\n")


def folded(line: str) -> Iterator[str]:
    """Yield a line cut into pieces of at most 75 bytes of UTF-8, each after the first with a space in front."""
    data = line.encode("utf-8", "surrogatepass")
    begin, limit, lead = 0, _FOLD, ""
    while len(data) - begin > limit:
        end = begin + limit
        while data[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        yield lead + data[begin:end].decode("utf-8", "surrogatepass")
        begin, limit, lead = end, _FOLD - 1, " "
    yield lead + data[begin:].decode("utf-8", "surrogatepass")


def card_lines(properties: Iterable[str]) -> Iterator[str]:
    """Yield the lines of one card, folded, with the line ends of the standard."""
    for line in ("BEGIN:VCARD", *properties, "END:VCARD"):
        for piece in folded(line):
            yield piece + "\r\n"
