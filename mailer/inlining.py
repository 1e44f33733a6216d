"""Put a stylesheet's declarations into the ``style`` attributes of a Jinja template's HTML.

Many mail clients drop or ignore ``<style>``, so the styles must stand on the elements. Doing that
to each email would cost more than rendering it; here it is done to the template, once.

An HTML parser cannot hold Jinja tags, and one that rewrites the template would move or lose them.
So the template is never rewritten: css-inline sees a copy in which Jinja tags are masked and every
start tag is numbered, and says which declarations each number gets. Only those are then inserted
into the original, within the start tag's own line, so every line keeps its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import NamedTuple

import css_inline
import jinja2

from .errors import TemplateError

_MARK = "data-mailer-mark"
_TABLE_PARTS = {"caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr"}
_OPENS = {"autoescape", "block", "call", "filter", "for", "if", "macro", "with"}

# Neither trims nor strips: what it lexes can be found again in the source.
_LEXER = jinja2.Environment(autoescape=True)

_ATTRIBUTE = re.compile(r"""([^\s/>="']+)(\s*=\s*("[^"]*"|'[^']*'|[^\s>]*))?""")
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


class _JinjaTag(NamedTuple):
    start: int
    end: int
    keyword: str
    """First word of a ``{% %}`` tag; empty for an expression or a comment."""
    is_expression: bool


class _StartTag(NamedTuple):
    start: int
    name: str
    text: str
    """With Jinja masked; as long as in the source."""
    line: int


def inline(source: str, css: str, *, file: str) -> str:
    """Return the template ``source`` with ``css`` in its ``style`` attributes.

    ``file`` names the template in errors. A declaration lands on an element only if its selector
    matches whatever the context is: a class under ``{% if %}`` or made by an expression is left
    to the ``<style>`` of the document. What a ``style`` attribute already says comes last and wins.

    Raises TemplateError where a style cannot be placed, and jinja2.TemplateSyntaxError.
    """
    jinja_tags = list(_jinja_tags(source))
    masked = _mask(source, jinja_tags)
    start_tags = _StartTags(masked).found
    styles = _styles([*_certain(start_tags, jinja_tags)], start_tags, masked, css, file)

    pieces: list[str] = []
    done = 0
    for number, tag in enumerate(start_tags):
        if style := styles.get(number):
            begin, end, replacement = _splice(tag, style, source, jinja_tags, file)
            pieces += [source[done:begin], replacement]
            done = end
    result = "".join([*pieces, source[done:]])

    if _skeleton(result) != _skeleton(source):
        raise TemplateError(f"{file}: CSS inlining would have changed a Jinja tag")
    return result


def check_stylesheet(css: str, *, file: str) -> None:
    """Refuse what cannot stand in a ``style`` attribute, rather than lose it in silence."""
    plain = _CSS_COMMENT.sub("", css)
    if rule := re.search(r"(?:^|[{};])\s*(@[\w-]+)", plain):
        raise TemplateError(
            f"{file}: {rule[1]} cannot be inlined; put it into <style> in _layout.html"
        )
    if jinja := re.search(r"\{\{|\{%|\{#", plain):
        raise TemplateError(f"{file}: expected plain CSS, got the Jinja delimiter {jinja[0]}")


def _jinja_tags(source: str) -> Iterator[_JinjaTag]:
    """Yield where Jinja's own lexer sees tags in ``source``."""
    position = 0
    begin, kind, keyword = 0, "", ""
    for _, lexeme, value in _LEXER.lex(source):
        # The lexer leaves out white space before a tag that begins with "{%-".
        start = source.index(value, position)
        position = start + len(value)
        if lexeme in ("raw_begin", "raw_end"):
            yield _JinjaTag(start, position, "", is_expression=False)
        elif lexeme in ("block_begin", "variable_begin", "comment_begin"):
            begin, kind, keyword = start, lexeme, ""
        elif lexeme == "name" and not keyword and kind == "block_begin":
            keyword = value
        elif lexeme in ("block_end", "variable_end", "comment_end"):
            yield _JinjaTag(begin, position, keyword, is_expression=kind == "variable_begin")


def _skeleton(source: str) -> list[tuple[int, str, str]]:
    """Return everything Jinja would act on, with its line."""
    return [token for token in _LEXER.lex(source) if token[1] != "data"]


def _mask(source: str, tags: list[_JinjaTag]) -> str:
    """Return ``source`` with inert text of the same length and lines for each Jinja tag."""
    pieces: list[str] = []
    done = 0
    for tag in tags:
        # An expression may print part of a word: `btn-{{ kind }}` must not become `btn-`.
        inert = "x" if tag.is_expression else " "
        pieces += [source[done : tag.start], _blank(source[tag.start : tag.end], inert)]
        done = tag.end
    return "".join([*pieces, source[done:]])


def _blank(text: str, inert: str = " ") -> str:
    return re.sub(r"[^\n]", inert, text)


class _StartTags(HTMLParser):
    """Collects the start tags of masked HTML with their places."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[_StartTag] = []
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", html))]
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line, column = self.getpos()
        start = self._line_starts[line - 1] + column
        self.found.append(_StartTag(start, tag, self.get_starttag_text() or "", line))


class _Marked(HTMLParser):
    """Collects the ``style`` of each numbered element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.styles: dict[int, str] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if (number := attributes.get(_MARK)) is not None:
            style = re.sub(r"\s+", " ", attributes.get("style") or "")
            self.styles[int(number)] = style.strip().rstrip(";")


def _conditional(tag: _StartTag, jinja_tags: list[_JinjaTag]) -> Iterator[tuple[int, int]]:
    """Yield the spans within ``tag.text`` that only stand there under some Jinja condition."""
    depth = opened = 0
    for jinja in jinja_tags:
        if not tag.start <= jinja.start < tag.start + len(tag.text):
            continue
        if jinja.keyword in _OPENS:
            depth += 1
            if depth == 1:
                opened = jinja.end - tag.start
        elif jinja.keyword.startswith("end") and depth:
            depth -= 1
            if depth == 0:
                yield opened, jinja.start - tag.start


def _certain(start_tags: list[_StartTag], jinja_tags: list[_JinjaTag]) -> Iterator[str]:
    """Yield each start tag as css-inline is to see it: no conditions, no styles of its own."""
    for tag in start_tags:
        text = tag.text
        for begin, end in _conditional(tag, jinja_tags):
            text = text[:begin] + _blank(text[begin:end]) + text[end:]
        while style := _style_attribute(text):
            text = text[: style.start()] + _blank(style[0]) + text[style.end() :]
        yield text


def _style_attribute(tag_text: str) -> re.Match[str] | None:
    attributes = _ATTRIBUTE.finditer(tag_text, pos=_name_end(tag_text))
    return next((match for match in attributes if match[1].lower() == "style"), None)


def _name_end(tag_text: str) -> int:
    match = re.match(r"<[^\s/>]+", tag_text)
    return match.end() if match else len(tag_text)


def _styles(
    certain: list[str], start_tags: list[_StartTag], masked: str, css: str, file: str
) -> dict[int, str]:
    """Ask css-inline which declarations each start tag gets."""
    inliner = css_inline.CSSInliner(
        inline_style_tags=False,
        keep_style_tags=True,
        keep_link_tags=True,
        load_remote_stylesheets=False,
        extra_css=css,
    )
    # HTML has no place for a <tr> outside a table, yet macros and blocks begin with one.
    # Wherever a part of a table was dropped, open a table for it and look again.
    context = [""] * len(start_tags)
    while True:
        pieces: list[str] = []
        done = 0
        for number, (tag, text) in enumerate(zip(start_tags, certain, strict=True)):
            name_end = _name_end(text)
            mark = f' {_MARK}="{number}"'
            pieces += [masked[done : tag.start], context[number]]
            pieces += [text[:name_end], mark, text[name_end:]]
            done = tag.start + len(text)
        styles = _Marked(inliner.inline("".join([*pieces, masked[done:]]))).styles
        lost = next((n for n in range(len(start_tags)) if n not in styles), None)
        if lost is None:
            return styles
        tag = start_tags[lost]
        if tag.name not in _TABLE_PARTS or context[lost]:
            raise TemplateError(
                f"{file}, line {tag.line}: CSS cannot be inlined into this <{tag.name}>: "
                "HTML does not allow it here"
            )
        context[lost] = "<table>"


def _splice(
    tag: _StartTag, style: str, source: str, jinja_tags: list[_JinjaTag], file: str
) -> tuple[int, int, str]:
    """Return which span of ``source`` to replace with what, to give ``tag`` its ``style``."""
    style = style.replace("&", "&amp;")
    own = _style_attribute(tag.text)
    if own is None:
        place = tag.start + _name_end(tag.text)
        return place, place, ' style="{}"'.format(style.replace('"', "&quot;"))
    if any(begin <= own.start() < end for begin, end in _conditional(tag, jinja_tags)):
        raise TemplateError(
            f"{file}, line {tag.line}: the stylesheet has styles for this <{tag.name}>, so its own "
            'style attribute cannot be conditional; put the condition inside: style="{% if ... %}"'
        )
    raw = source[tag.start + own.start(3) : tag.start + own.end(3)] if own[3] else ""
    quoted = raw[:1] in ("'", '"')
    quote, kept = (raw[0], raw[1:-1]) if quoted else ('"', raw)
    style = style.replace(quote, "&quot;" if quote == '"' else "&#39;")
    declarations = f"{style}; {kept}" if kept.strip() else style
    return tag.start + own.start(), tag.start + own.end(), f"style={quote}{declarations}{quote}"
