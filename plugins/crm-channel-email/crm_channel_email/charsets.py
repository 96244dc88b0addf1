"""Bytes of mails to text, whatever charset they declare: the declared one as far as it is true."""

from __future__ import annotations

import binascii
import codecs
import re
from typing import Final

_ALIASES: Final = {
    "ansi_x3.4-1968": "ascii",
    "iso-8859-1": "cp1252",  # as every reader takes it: the bytes 80 to 9f are letters and quotes
    "latin1": "cp1252",
    "iso_8859-1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-6-i": "iso-8859-6",
    "iso-8859-8-i": "iso-8859-8",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "windows-874": "cp874",
    "tis-620": "cp874",
    "utf-8mb4": "utf-8",
    "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
}
# Codecs of Python that are no charsets of mails, or that hide markup from whoever looks at the bytes (UTF-7).
_REFUSED: Final = frozenset({"utf-7", "unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined", "mbcs"})
_WORD: Final = re.compile(r"=\?([^?\s]{1,80})\?([bBqQ])\?([^?\r\n]{0,4000})\?=")
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAMPLE: Final = 1_000
_ENOUGH: Final = 8
_WIDE: Final = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


def _armscii() -> str:
    """Return the upper half of ARMSCII-8, which Python does not know: letters in pairs of a large and a small one."""
    letters = [chr(start + number) for number in range(38) for start in (0x531, 0x561)]
    marks = "\u00a0\ufffd\u0587\u0589)(»«—.՝,-֊…՜՛՞"
    return "".join(chr(code) for code in range(0x80, 0xA0)) + marks + "".join(letters) + "՚\ufffd"


_ARMSCII: Final = "".join(map(chr, range(0x80))) + _armscii()


def codec_of(declared: str) -> str:
    """Return the name of the codec of a declared charset; empty if it is unknown, or refused (UTF-7).

    >>> codec_of("ISO-8859-1"), codec_of("x-unknown"), codec_of("unicode-1-1-utf-7"), codec_of("KOI8-R")
    ('cp1252', '', '', 'koi8-r')
    """
    name = declared.strip().strip("\"'").partition("*")[0].lower()
    name = _ALIASES.get(name, name.removeprefix("x-") if name.startswith("x-windows-") else name)
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return ""
    known = found.name.replace("_", "-")
    # The mark is what `bytes.decode` itself goes by: some codecs make bytes of bytes.
    return "" if known in _REFUSED or not getattr(found, "_is_text_encoding", False) else found.name


def decoded(content: bytes, declared: str, fallback: str) -> str:
    """Return text: by its byte order mark, by UTF-8 where it is, by what it declares, by `fallback`.

    A charset that is declared and not true is what mails have most: UTF-8 is tried wherever it could be meant, as other
    text hardly ever happens to be valid UTF-8. What no charset explains becomes U+FFFD.
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return content.decode(name, "replace")
    if declared.strip().strip("\"'").lower() == "armscii-8" and not _is_utf8(content):
        return codecs.charmap_decode(content, "replace", _ARMSCII)[0]
    codec = codec_of(declared)
    if content.isascii() and codec not in _WIDE and b"\x1b" not in content and codec != "hz":
        return content.decode("ascii")
    order = ["utf-8", codec] if _may_be_utf8(content, codec) else [codec, "utf-8"]
    if b"\x1b$" in content and not codec.startswith("iso2022"):
        order.insert(0, "iso2022_jp_ext")
    if codec == "cp1252":
        order.append("latin-1")
    for name in filter(None, order):
        try:
            return content.decode(name)
        except UnicodeError:
            continue
    hurt = content.decode(codec or "utf-8", "replace")
    foreign = sum(not each.isascii() for each in hurt)
    # One broken letter is a broken letter; many mean another charset.
    return hurt if hurt.count("\ufffd") * 5 <= foreign else content.decode(fallback, "replace")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeError:
        return False
    return True


def _may_be_utf8(content: bytes, codec: str) -> bool:
    """Whether UTF-8 goes before what is declared: text in a charset of single bytes is valid UTF-8 by chance only.

    The chance is a real one for a word or two, such as a Persian one of two letters in windows-1256.
    """
    if codec in ("", "ascii", "cp1252"):
        return True
    single = codec.startswith(("cp125", "iso8859", "koi8", "mac", "cp874"))
    return single and sum(each > 127 for each in content[:_SAMPLE]) >= _ENOUGH


def header_text(raw: str, fallback: str) -> str:
    """Return a header as one line of text: encoded words (RFC 2047) and bytes that nothing declares are decoded.

    Args:
        raw: as the parser of the standard library gives it: bytes that are not ASCII as lone surrogates.
        fallback: the charset of such bytes that are not UTF-8.

    >>> header_text("=?utf-8?B?2LM=?= =?utf-8?B?2YTYp9mF?= Ada", "cp1252")
    'سلام Ada'
    """
    text = raw if raw.isascii() else decoded(raw.encode("utf-8", "surrogateescape"), "", fallback)
    pieces: list[str] = []
    waiting: list[bytes] = []
    charset, end = "", 0
    for word in _WORD.finditer(text):
        between = text[end : word.start()]
        if waiting and (between.strip() or charset != word[1].lower()):
            pieces.append(decoded(b"".join(waiting), charset, fallback))
            waiting = []
        if between.strip() or not end:
            pieces.append(between)
        # Words of one charset are joined as bytes: some mailers cut a letter in two.
        waiting.append(_bytes_of(word[2], word[3]))
        charset, end = word[1].lower(), word.end()
    if waiting:
        pieces.append(decoded(b"".join(waiting), charset, fallback))
    pieces.append(text[end:])
    return one_line("".join(pieces))


def one_line(text: str) -> str:
    """Return a text without line breaks, NUL and half characters."""
    return " ".join(text.replace("\x00", " ").encode("utf-8", "replace").decode("utf-8").split())


def _bytes_of(encoding: str, text: str) -> bytes:
    plain = text.encode("utf-8", "surrogateescape")
    if encoding in "qQ":
        return binascii.a2b_qp(plain, header=True)
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", plain)
    try:
        return binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
    except binascii.Error:
        return binascii.a2b_base64(kept[: len(kept) // 4 * 4])
