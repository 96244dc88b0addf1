"""A corpus of awkward mails: what mailers really write, and what nobody should."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_channel_email.charsets import decoded, header_text
from crm_channel_email.flowed import unflowed
from crm_channel_email.html import text_of
from crm_channel_email.mime import NOBODY, Bounds, mail_of
from crm_core.extend import IncomingMessage

ARRIVED = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SALAM = "سلام، سفارش من کجاست؟"


def read(head: str, body: bytes | str = b"", **more: object) -> IncomingMessage:
    """Read a mail whose head is `head` beside a sender, with CRLF as on the wire."""
    raw = body.encode() if isinstance(body, str) else body
    lines = head.strip().splitlines()
    start = lines if any(each.lower().startswith("from:") for each in lines) else ["From: sara@example.org", *lines]
    content = "\n".join(start).encode("utf-8", "surrogateescape") + b"\n\n" + raw
    return mail_of(content.replace(b"\n", b"\r\n"), Bounds(**more), arrived=ARRIVED).message  # type: ignore[arg-type]


def b64(text: str, charset: str = "utf-8") -> str:
    return base64.b64encode(text.encode(charset)).decode()


@pytest.mark.parametrize(
    ("declared", "real", "text"),
    [
        ("windows-1256", "cp1256", "سلام دنيا"),
        ("CP1256", "cp1256", "سلام دنيا"),
        ("koi8-r", "koi8-r", "Привет, где мой заказ?"),
        ("iso-2022-jp", "iso2022_jp", "こんにちは"),
        ("us-ascii", "iso2022_jp", "こんにちは"),
        ("gb2312", "gb18030", "你好，𠮷"),
        ("big5", "big5", "你好"),
        ("ks_c_5601-1987", "cp949", "안녕하세요"),
        ("shift_jis", "cp932", "①こんにちは"),
        ("iso-8859-1", "cp1252", "naïve – “quoted” €"),
        ("iso-8859-8-i", "iso-8859-8", "שלום"),
        ("armscii-8-is-unknown", "utf-8", "Բարեւ"),
        ("us-ascii", "utf-8", SALAM),
        ("iso-8859-1", "utf-8", SALAM),
        ("windows-1256", "utf-8", SALAM),
        ("windows-1256", "cp1256", "سگ"),
        ("", "utf-8", SALAM),
        ("utf-8", "utf-8-sig", SALAM),
        ("utf-16", "utf-16", SALAM),
        ('"utf-8"', "utf-8", "👋🏽 Բարեւ"),
    ],
)
def test_text_is_read_in_the_charset_that_it_is_in(declared: str, real: str, text: str) -> None:
    assert text == decoded(text.encode(real), declared, "windows-1252")


def test_armenian_of_before_unicode_is_read() -> None:
    assert "Բարի, և։ «Օֆ»՞" == decoded(bytes.fromhex("b4b3f1c7ab20a2a320a7fafda6b1"), "ARMSCII-8", "cp1252")
    assert "Բարեւ" == decoded("Բարեւ".encode(), "armscii-8", "cp1252")
    assert "Բա" == header_text("=?ArmSCII-8?Q?=B4=B3?=", "cp1252")


@pytest.mark.parametrize(
    ("declared", "meta"),
    [
        ("", '<meta http-equiv="Content-Type" content="text/html; charset=windows-1256">'),
        ("; charset=x-unknown", "<META charset='windows-1256'/>"),
    ],
)
def test_a_page_may_say_its_charset_itself(declared: str, meta: str) -> None:
    page = f"<html><head>{meta}</head><body><p>سلام دنيا</p></body></html>".encode("cp1256")
    assert "سلام دنيا" == read(f"Content-Type: text/html{declared}", page).text


def test_base64_in_several_pieces_is_read_to_its_end() -> None:
    head = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64"
    assert f"{SALAM}\nHello" == read(head, f"{b64(SALAM)}\n{b64(chr(10) + 'Hello')}").text
    assert "Hello you" == read(head, "SGVs\nbG8gd\nQ==\n".replace("bG8gd\nQ==", b64("lo you"))).text
    assert "Hello" == read(head, f"{b64('Hello')}\n___\nA list: https://example.org\n").text


def test_what_declares_a_wrong_charset_is_read_in_that_of_the_account() -> None:
    raw = "سلام دنيا".encode("cp1256")
    for declared in ("utf-8", "", "x-unknown", "us-ascii"):
        assert "سلام دنيا" == decoded(raw, declared, "windows-1256")
    hurt = SALAM.encode()[:-1]
    assert SALAM[:-1] + "\ufffd" == decoded(hurt, "utf-8", "windows-1256"), "one broken letter is one broken letter"


@pytest.mark.parametrize("declared", ["utf-7", "unicode-1-1-utf-7", "unicode_escape", "base64", "rot13", "idna", "hex"])
def test_codecs_that_are_no_charsets_of_mails_are_refused(declared: str) -> None:
    assert "+ADw-script+AD4-" == decoded(b"+ADw-script+AD4-", declared, "windows-1252")
    assert "\\u003c" == decoded(b"\\u003c", declared, "windows-1252")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("=?utf-8?B?2LM=?=\r\n =?utf-8?B?2YTYp9mF?=", "سلام"),
        ("=?windows-1256?Q?=D3=E1=C7=E3?= Ada", "سلام Ada"),
        ("=?utf-8?B?2A==?= =?utf-8?B?s9mE2KfZhQ==?=", "سلام"),
        ("=?koi8-r?Q?=F0=D2=C9=D7=C5=D4?= =?utf-8?Q?_Ada?=", "Привет Ada"),
        ("Re: =?utf-8?Q?a_b?=c", "Re: a bc"),
        ("=?utf-8?Q?line=0D=0ABcc:_x@y.z?=", "line Bcc: x@y.z"),
        ("=?utf-8?B?!!?= =?nonsense", "=?nonsense"),
        ("=?x-unknown?Q?plain?=", "plain"),
        ("سلام", "سلام"),
        ("=?utf-8*fa?Q?ok?=", "ok"),
    ],
)
def test_headers_become_one_line_of_text(raw: str, text: str) -> None:
    wire = raw if raw.isascii() else raw.encode().decode("ascii", "surrogateescape")
    assert text == header_text(wire, "windows-1252")


@pytest.mark.parametrize(
    ("line", "value", "name"),
    [
        ("From: Sara <sara@example.org>", "sara@example.org", "Sara"),
        ('From: "Ahmadi, Sara" <sara@example.org>', "sara@example.org", "Ahmadi, Sara"),
        (f"From: =?utf-8?B?{b64('احمدی, سارا')}?= <sara@example.org>", "sara@example.org", "احمدی, سارا"),
        (f'From: "=?utf-8?B?{b64("سارا")}?=" <sara@example.org>', "sara@example.org", "سارا"),
        ("From: سارا <sara@example.org>", "sara@example.org", "سارا"),
        ("From: sara@example.org (Sara)", "sara@example.org", "Sara"),
        ("From: Sara, the boss <sara@example.org>", "sara@example.org", "the boss"),
        ("From: a@example.org, b@example.org", "a@example.org", ""),
        ("From: sara@xn--mgba3a4f16a.ir", "sara@xn--mgba3a4f16a.ir", ""),
        ("From: سارا@ایران.ir", "سارا@ایران.ir", ""),
        ("From: undisclosed\nSender: post@example.org", "post@example.org", ""),
        ("From: <>", NOBODY, ""),
        ("From: [[[", NOBODY, "[[["),
        ("From: \x00\x01", NOBODY, "\x01"),
    ],
)
def test_the_sender_is_found(line: str, value: str, name: str) -> None:
    found = read(f"{line}\nSubject: x", b"hello")
    assert (value, name) == (found.sender.value, found.sender.name)


def test_who_wrote_nothing_that_needs_an_answer() -> None:
    assert "bulk" == read("From: <>").automatic
    own = "desk@example.org"
    assert "bulk" == read(f"From: Desk <{own}>", own=own).automatic
    form = read(f"From: {own}\nReply-To: Sara <sara@example.org>", b"Hello", own=own)
    assert ("sara@example.org", "") == (form.sender.value, form.automatic)


PARTS = f"""--out
Content-Type: multipart/related; boundary=mid

--mid
Content-Type: multipart/alternative; boundary="in ner"

--in ner
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: base64

{b64(SALAM)}
--in ner
Content-Type: text/html; charset=utf-8

<p>other</p>
--in ner--
--mid
Content-Type: image/png
Content-ID: <logo@x>
Content-Disposition: inline
Content-Transfer-Encoding: base64

iVBORw0KGgo=
--mid--
--out
Content-Type: application/pdf; name="fallback.pdf"
Content-Disposition: attachment;
 filename*0*=utf-8''%D9%81%D8%A7;
 filename*1*=%DA%A9%D8%AA%D9%88%D8%B1.pdf
Content-Transfer-Encoding: base64

JVBERg==
--out
Content-Type: application/ms-tnef; name=winmail.dat
Content-Transfer-Encoding: base64

eJ8+Ig==
--out
Content-Type: message/rfc822

From: b@example.org
Subject: =?utf-8?B?{b64("پیام")}?=

inner
--out
Content-Type: text/calendar; method=REQUEST

BEGIN:VCALENDAR
--out
Content-Type: application/octet-stream; name="=?utf-8?B?{b64("گزارش.xlsx")}?="

x
--out
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="../../etc/passwd"
Content-Transfer-Encoding: nonsense

y
--out
Content-Type: application/octet-stream
Content-Disposition: attachment; filename*=windows-1256''%D3%E1%C7%E3.doc
Content-Transfer-Encoding: x-uuencode

begin 644 x
#86)C
`
end
--out--
epilogue
"""


def test_parts_become_text_and_files() -> None:
    found = read("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=out", PARTS)
    assert SALAM == found.text
    assert [
        ("image-1.png", "image/png"),
        ("فاکتور.pdf", "application/pdf"),
        ("winmail.dat", "application/ms-tnef"),
        ("پیام.eml", "message/rfc822"),
        ("text-5.ics", "text/calendar"),
        ("گزارش.xlsx", "application/octet-stream"),
        ("../../etc/passwd", "application/octet-stream"),
        ("سلام.doc", "application/octet-stream"),
    ] == [(each.name, each.type) for each in found.attachments]
    contents = [each.content for each in found.attachments]
    assert (b"\x89PNG\r\n\x1a\n", b"%PDF", b"abc") == (contents[0], contents[1], contents[-1])
    assert b"inner" in contents[3]
    assert b"Subject: " in contents[3]


def test_html_without_plain_text_becomes_words() -> None:
    body = "<html><head><style>p {}</style></head><body><p>سلام&nbsp;<b>سارا</b></p><script>x()</script>"
    assert "سلام سارا" == read("Content-Type: text/html; charset=utf-8", body).text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<p>a</p>\n<p>b</p>", "a\n\nb"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<blockquote>a<blockquote>b</blockquote></blockquote>c", "> a\n>\n> > b\n\nc"),
        ('see <a href="https://x.example/a?b=1&amp;c=2">here</a>.', "see here <https://x.example/a?b=1&c=2>."),
        ('<a href="https://x.example/">https://x.example</a>', "https://x.example"),
        ('<a href="javascript:alert(1)">here</a>', "here"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("a <!-- <p>b --> c", "a c"),
        ("a <!-- b", "a"),
        ("1 < 2 && 3 > 2", "1 < 2 && 3 > 2"),
        ("<script>if (a < b) { '</p>' }</script>x", "x"),
        ('<div style="display: none">hidden <div>too</div></div>x', "x"),
        ('<p style="display:none">a<p>b', "a\n\nb"),
        ("<html><head><title>t</title><style>p{}</style><body>a", "a"),
        ("<SCRIPT SRC=x>y</SCRIPT >z", "z"),
        ("&lt;script&gt;", "<script>"),
        ("<svg><script>x</script></svg>y", "y"),
        ("", ""),
    ],
)
def test_html_to_text(html: str, text: str) -> None:
    assert text == text_of(html)


@pytest.mark.parametrize(
    ("flowed", "delsp", "text"),
    [
        ("a \nb\nc", False, "a b\nc"),
        ("سـ \nلام", True, "سـلام"),
        (">> a \n>> b\n> c", False, ">> a b\n> c"),
        ("  stuffed\n >not quoted", False, " stuffed\n>not quoted"),
        ("a \n-- \nAda", False, "a \n-- \nAda"),
    ],
)
def test_flowed_text_is_joined(flowed: str, delsp: bool, text: str) -> None:
    assert text == unflowed(flowed, delsp=delsp)
    head = f"Content-Type: text/plain; charset=utf-8; format=flowed; delsp={'yes' if delsp else 'no'}"
    assert text == read(head, flowed).text


def test_ids_and_references() -> None:
    found = read(
        "Message-ID: <a@x>\nIn-Reply-To: <c@x>\nReferences: <first@x>\n <b@x> <c@x>\nAuto-Submitted: auto-replied"
    )
    assert ("<a@x>", "<a@x>", ("<c@x>", "<b@x>", "<first@x>")) == (found.external_id, found.reference, found.replies_to)
    assert "auto-replied" == found.headers["auto-submitted"]
    many = read("References: " + " ".join(f"<{number}@x>" for number in range(400))).replies_to
    assert (50, "<399@x>", "<0@x>") == (len(many), many[0], many[-1])
    assert "a@x" == read("Message-ID: a@x").external_id


def test_a_mail_without_an_id_has_one_by_what_its_copies_have_in_common() -> None:
    head = "Subject: x\nDate: Mon, 1 Jan 2024 10:00:00 +0330\n"
    first = read(f"{head}Received: by a", b"hello\n")
    again = read(f"Received: by b\nX-Spam: no\n{head}", b"hello\n\n")
    other = read(f"{head}Received: by a", b"another\n")
    assert first.external_id == again.external_id != other.external_id
    for broken in ("Message-ID: <>", "Message-ID:", "Message-ID: <1234>", "Message-ID: a b"):
        assert first.external_id == read(f"{head}{broken}", b"hello\n").external_id


@pytest.mark.parametrize(
    ("date", "at"),
    [
        ("Mon, 1 Jan 2024 10:00:00 +0330", datetime(2024, 1, 1, 6, 30, tzinfo=UTC)),
        ("Mon, 1 Jan 2024 10:00:00 -0000", datetime(2024, 1, 1, 10, 0, tzinfo=UTC)),
        ("Thu, 1 Jan 1970 00:00:00 +0000", ARRIVED),
        ("yesterday", ARRIVED),
        ("Mon, 99 Foo 2024 99:99:99 +9999", ARRIVED),
        ("", ARRIVED),
    ],
)
def test_a_date_that_is_none_is_the_time_of_arrival(date: str, at: datetime) -> None:
    assert at == read(f"Date: {date}").at


def nested(depth: int) -> bytes:
    head = b"From: a@example.org\nMessage-ID: <n@x>\n"
    body = b"\n\ndeep"
    for number in reversed(range(depth)):
        border = b"b%d" % number
        body = b"Content-Type: multipart/mixed; boundary=%s\n\n--%s\n%s\n--%s--\n" % (border, border, body, border)
    return head + body


BOMBS = {
    "deep": nested(150),
    "very deep": nested(5_000),
    "many parts": b"From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n"
    + b"--b\n\nx\n" * 100_000
    + b"--b--",
    "mails in mails": b"From: a@example.org\nContent-Type: message/rfc822\n\n" * 20_000,
    "lines": b"From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n" + b"\n" * 12_000_000,
    "a long head": b"From: a@example.org\n" + b"X: y\n" * 200_000 + b"\nhello",
    "boundaries": b"From: a@example.org\nContent-Type: multipart/mixed;" + b" boundary=x;" * 10_000 + b"\n\n--x\n\nx",
    "no line break": b"From: a@example.org\n\n" + b"x" * 5_000_000,
    "words": b"From: a@example.org\nSubject: " + b"=?utf-8?Q?" * 20_000 + b"\n\nx",
    "addresses": b"From: " + b"<" * 60_000 + b"(" * 60_000 + b"\n\nx",
    "comments": b"From: a@example.org\nContent-Type: text/html\n\n" + b"<!--" * 500_000,
    "tags": b"From: a@example.org\nContent-Type: text/html\n\n" + b"<a '<b \"" * 300_000,
    "quotations": b"From: a@example.org\nContent-Type: text/html\n\n" + b"<blockquote>x" * 50_000,
    "parameters": b"From: a@example.org\nContent-Type: text/plain; " + b"a*0*=b;" * 3_000 + b"\n\nx",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_kept_whole_or_read_in_seconds(name: str) -> None:
    started = process_time()
    found = mail_of(BOMBS[name], Bounds()).message
    assert process_time() - started < 8
    whole = [each.content for each in found.attachments if each.name == "message.eml"]
    if found.text.startswith("[This mail was not taken apart"):
        assert [BOMBS[name]] == whole
    else:
        assert found.sender.value in ("a@example.org", NOBODY)
    assert name not in ("deep", "very deep", "many parts", "mails in mails", "lines", "a long head") or whole


def test_bounds_are_those_of_the_account() -> None:
    assert "deep" == mail_of(nested(3), Bounds(max_depth=5)).message.text
    assert "max_depth (2)" in mail_of(nested(3), Bounds(max_depth=2)).message.text
    three = b"From: a@x.org\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 3 + b"--b--"
    assert "x\nx\nx" == mail_of(three, Bounds(max_parts=4)).message.text
    assert "max_parts (2)" in mail_of(three, Bounds(max_parts=2)).message.text


def test_of_a_mail_that_is_too_large_the_head_comes_in() -> None:
    beginning = b"From: sara@example.org\r\nSubject: big\r\nMessage-ID: <b@x>\r\n\r\nxxxx"
    found = mail_of(beginning, Bounds(), size=90_000_000).message
    assert ("<b@x>", "big", "sara@example.org") == (found.external_id, found.subject, found.sender.value)
    assert "90,000,000 bytes" in found.text


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_whatever_the_bytes_are_a_message_comes_of_them(head: bytes, body: bytes) -> None:
    for raw in (head, b"From: a@b.c\nContent-Type: multipart/mixed; boundary=x\n" + head + b"\n\n--x\n" + body):
        first, again = mail_of(raw, Bounds()).message, mail_of(raw, Bounds()).message
        assert first.external_id == again.external_id
        assert "\n" not in first.subject
        assert not first.text.startswith("[This mail was not taken apart: reading it failed")
