"""Derive the text part of an email from its HTML, for people and programs that read text."""

from __future__ import annotations

import re
import textwrap
from html.parser import HTMLParser

_WIDTH = 78
_CELL = "\x00"
# In place of where a link's words begin: some of them stand in paragraphs already written.
_WRITTEN = -1

_DROPPED = {"head", "script", "style", "template", "title"}
_VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "wbr",
}
_PARAGRAPHS = {
    *("address", "article", "aside", "blockquote", "dl", "fieldset", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "main", "nav", "ol", "p", "pre", "section"),
    *("table", "ul"),
}
_LINES = {"caption", "center", "dd", "div", "dt", "figcaption", "li", "tr"}
_INDENTED = {"blockquote": "> ", "dd": "    ", "li": "", "ol": "", "ul": ""}
_SPACE = re.compile(r"\s+")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def from_html(html: str) -> str:
    """Return readable plain text for ``html``, wrapped at 78 columns; URLs are never broken.

    Links become ``words (URL)``, or the URL alone when the words say the same. What the HTML
    hides, such as a preheader, is left out.
    """
    converter = _Converter()
    converter.feed(html)
    converter.close()
    return converter.text()


class _Converter(HTMLParser):
    """Gathers the words of a paragraph, then writes it as lines when something ends it."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._words: list[str] = []
        self._gap = False
        self._skipped: list[str] = []
        self._links: list[tuple[str, int]] = []
        # Open elements that indent, or number what does: (tag, prefix of each line).
        self._open: list[tuple[str, str]] = []
        self._numbers: list[int | None] = []
        self._bullet = ""

    def text(self) -> str:
        self._flush()
        return "\n".join([*self._lines, ""]) if self._lines else ""

    def updatepos(self, i: int, j: int) -> int:
        """Count no lines: nobody asks where a tag stands, and counting is 7 % of the time."""
        return j

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "body":
            self._skipped.clear()  # </head> may be left out
        hidden = (
            tag in _DROPPED
            or "hidden" in attributes
            or attributes.get("aria-hidden") == "true"
            or _HIDDEN.search(attributes.get("style", ""))
        )
        if self._skipped or hidden:
            if tag not in _VOID:
                self._skipped.append(tag)
            return
        if tag in _PARAGRAPHS:
            self._flush(gap=not self._inside_list(tag))
        elif tag in _LINES:
            self._flush()
        self._begin(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            if tag in self._skipped:
                last = len(self._skipped) - 1 - self._skipped[::-1].index(tag)
                del self._skipped[last:]  # with the unclosed elements inside it
            return
        if tag == "a" and self._links:
            self._end_link(*self._links.pop())
        if tag in _LINES or tag in _PARAGRAPHS:
            self._flush()
        self._close(tag)
        if tag in _PARAGRAPHS:
            self._gap = self._gap or not self._inside_list(tag)

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._words.append(_SPACE.sub(" ", data))

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        match tag:
            case "br":
                self._words.append("\n")
            case "hr":
                self._flush(gap=True)
                self._write("-" * (_WIDTH // 2))
                self._gap = True
            case "img":
                self._words.append(attributes.get("alt", ""))
            case "td" | "th":
                self._words.append(_CELL)
            case "a":
                self._links.append((attributes.get("href", "").strip(), len(self._words)))
            case "ul" | "ol":
                start = attributes.get("start", "1")
                first = int(start) if start.isdecimal() else 1
                self._numbers.append(first if tag == "ol" else None)
                self._open.append((tag, ""))
            case "li":
                self._begin_item()
            case "blockquote" | "dd":
                self._open.append((tag, _INDENTED[tag]))

    def _begin_item(self) -> None:
        if self._open and self._open[-1][0] == "li":
            self._close("li")  # </li> may be left out
        number = self._numbers[-1] if self._numbers else None
        self._bullet = "- "
        if number is not None:
            self._bullet = f"{number}. "
            self._numbers[-1] = number + 1
        self._open.append(("li", " " * len(self._bullet)))

    def _close(self, tag: str) -> None:
        """Close the innermost ``tag`` that indents, and what is still open inside it."""
        if tag not in _INDENTED or all(tag != name for name, _ in self._open):
            return
        closed = ""
        while closed != tag:
            closed, _ = self._open.pop()
            if closed in ("ul", "ol"):
                self._numbers.pop()
            self._bullet = ""

    def _inside_list(self, tag: str) -> bool:
        """Return whether ``tag`` is a list in a list: those stand close together."""
        return tag in ("ul", "ol") and bool(self._numbers)

    def _end_link(self, href: str, begin: int) -> None:
        if not href or href.startswith("#"):
            return
        address = href.removeprefix("mailto:")
        words = " ".join("".join(self._words[max(begin, 0) :]).replace(_CELL, " ").split())
        if begin == _WRITTEN:
            self._words.append(f" ({address})")
        elif words and _bare(words) == _bare(address):
            self._words[begin:] = [" ", address]
        elif words:
            self._words.append(f" ({address})")

    def _flush(self, *, gap: bool = False) -> None:
        """End the paragraph; with ``gap``, a blank line comes before the next one."""
        lines = "".join(self._words).split("\n")
        for number, line in enumerate(lines):
            cells = (" ".join(cell.split()) for cell in line.split(_CELL))
            if words := " | ".join(cell for cell in cells if cell):
                self._write(words)
            elif 0 < number < len(lines) - 1:
                self._gap = True  # two <br> in a row
        self._links = [(href, self._begun(begin)) for href, begin in self._links]
        self._words.clear()
        self._gap = self._gap or gap

    def _begun(self, begin: int) -> int:
        """Return where an open link begins once the words so far are written."""
        return 0 if begin >= 0 and not "".join(self._words[begin:]).strip() else _WRITTEN

    def _write(self, words: str) -> None:
        if self._gap and self._lines:
            self._lines.append("".join(prefix for _, prefix in self._open).rstrip())
        self._gap = False
        later = "".join(prefix for _, prefix in self._open)
        first = later[: len(later) - len(self._bullet)] + self._bullet
        self._bullet = ""
        if len(first) + len(words) <= _WIDTH:
            # Most do, and textwrap takes 6 us each time to find out.
            self._lines.append(first + words)
            return
        self._lines += textwrap.wrap(
            words,
            _WIDTH,
            initial_indent=first,
            subsequent_indent=later,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _bare(address: str) -> str:
    return re.sub(r"^https?://(www\.)?", "", address).rstrip("/")
