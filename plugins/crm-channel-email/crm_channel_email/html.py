"""HTML mails to plain text: only words come through, no markup, script or style; in time that grows with the length."""

from __future__ import annotations

import re
from html import unescape
from typing import Final

# No quantifier gives back what it took, so that no input makes it try again and again.
_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:]{0,30}+)((?>[^\"'<>]++|\"[^\"]*+\"|'[^']*+')*+)>")
_HREF: Final = re.compile(r"\bhref\s*+=\s*+[\"']?+(https?://[^\s\"'<>]{1,2000})", re.IGNORECASE)
_HIDDEN: Final = re.compile(r"display\s*+:\s*+none", re.IGNORECASE)
_SILENT: Final = frozenset({"script", "style", "title", "template", "svg", "object", "iframe"})
_BREAKS: Final = frozenset({"br", "div", "tr", "li", "dt", "dd", "ul", "ol", "table", "section", "article", "header"})
_PARAGRAPHS: Final = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "hr"})
_VOID: Final = frozenset({"br", "hr", "img", "input", "meta", "link", "col", "wbr", "area", "base"})
_DEEPEST: Final = 20


def text_of(html: str) -> str:
    r"""Return what a person reads of HTML; addresses of links stand behind their words, quotations have `> `.

    >>> text_of('<style>p{}</style><p>Hello&nbsp;<b>Ada</b><blockquote>me &lt;b&gt;</blockquote><script>x()</script>')
    'Hello Ada\n\n> me <b>'
    """
    page = _read(html, hides=True)
    # What is hidden and never ends would hide the whole mail.
    return (_read(html, hides=False) if page.hidden else page).text()


def _read(html: str, *, hides: bool) -> _Page:
    page = _Page(hides=hides)
    at = 0
    while at < len(html):
        start = html.find("<", at)
        if start < 0:
            page.words(html[at:])
            break
        page.words(html[at:start])
        if html.startswith("<!--", start):
            end = html.find("-->", start + 4)
            at = len(html) if end < 0 else end + 3
        elif html.startswith(("<!", "<?"), start):
            end = html.find(">", start)
            at = len(html) if end < 0 else end + 1
        elif tag := _TAG.match(html, start):
            page.tag(tag[2].lower(), tag[3], closes=bool(tag[1]))
            at = tag.end()
        else:
            page.words("<")
            at = start + 1
    return page


class _Page:
    """What was read so far: lines, and in which elements we are."""

    def __init__(self, *, hides: bool) -> None:
        self.hidden = False
        """Whether we are in an element that is not shown."""
        self._hides = hides
        self._lines: list[str] = []
        self._line: list[str] = []
        self._silent = ""
        self._silences = 0
        self._quoted = 0
        self._kept = False
        self._link = ""
        self._label: list[str] = []

    def words(self, raw: str) -> None:
        if self._silent or not raw:
            return
        text = unescape(raw) if "&" in raw else raw
        if self._kept:
            first, *others = text.split("\n")
            self._line.append(first)
            for each in others:
                self._end_line()
                self._line.append(each)
            return
        self._line.append(text)
        if self._link:
            self._label.append(text)

    def tag(self, name: str, attributes: str, *, closes: bool) -> None:
        if self._silent:
            if name == self._silent:
                self._silences += -1 if closes else 1
                if self._silences <= 0:
                    self._silent, self.hidden = "", False
            return
        hidden = self._hides and name not in _VOID and bool(_HIDDEN.search(attributes[:2000]))
        if not closes and (hidden or name in _SILENT):
            self._silent, self._silences, self.hidden = name, 1, name not in _SILENT
        elif name == "a":
            self._follow("" if closes else attributes)
        elif name == "td" and closes:
            self._line.append(" ")
        elif name in _BREAKS:
            if name == "br" or "".join(self._line).strip():
                self._end_line()
        elif name in _PARAGRAPHS:
            self._end_line()
            if name == "blockquote" and closes:
                self._quoted = max(self._quoted - 1, 0)
            self._lines.append(self._mark().rstrip())
            if name == "blockquote" and not closes:
                self._quoted += 1
            if name == "pre":
                self._kept = not closes

    def text(self) -> str:
        self._follow("")
        self._end_line()
        lines: list[str] = []
        for each in self._lines:
            if each.strip("> "):
                lines.append(each)
            elif lines and lines[-1].strip("> "):
                lines.append(each.rstrip())
            elif lines:  # of several empty lines one stays, that of the outermost quotation
                lines[-1] = min(lines[-1], each.rstrip(), key=len)
        while lines and not lines[-1].strip("> "):
            lines.pop()
        return "\n".join(lines)

    def _follow(self, attributes: str) -> None:
        """Begin a link, or end the one before with its address where its words are another text."""
        if self._link and "".join(self._label).strip() not in ("", self._link, self._link.rstrip("/")):
            self._line.append(f" <{self._link}>")
        found = _HREF.search(attributes)
        self._link, self._label = (unescape(found[1]) if found else ""), []

    def _end_line(self) -> None:
        line = "".join(self._line)
        line = line.rstrip() if self._kept else re.sub(r"[ \t\r\n\f\u00a0]+", " ", line).strip()
        self._lines.append(self._mark() + line)
        self._line = []

    def _mark(self) -> str:
        return "> " * min(self._quoted, _DEEPEST)
