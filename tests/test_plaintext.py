from __future__ import annotations

import pytest

from mailer.plaintext import from_html

LONG = "https://example.com/" + "ab-cd/" * 40


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One\n  two</p><p>three</p>", "One two\n\nthree\n"),
        ("<h1>Title</h1>Loose <b>words</b>", "Title\n\nLoose words\n"),
        ("<div>a</div><div>b</div>", "a\nb\n"),
        ("a<br>b<br/><br>c", "a\nb\n\nc\n"),
        ("a<hr>b", "a\n\n" + "-" * 39 + "\n\nb\n"),
        ("<p>Tom &amp; J&eacute; &lt;3</p>", "Tom & Jé <3\n"),
        ("", ""),
        ("<p> &nbsp; </p>", ""),
        # Lists
        ("<p>x</p><ul><li>a<li>b</ul>y", "x\n\n- a\n- b\n\ny\n"),
        ("<ol start=9><li>a</li><li>b</li></ol>", "9. a\n10. b\n"),
        ("<ul><li>a<ol><li>b</li></ol></li><li>c</li></ul>", "- a\n  1. b\n- c\n"),
        ("<ul><li><p>a</p><p>b</p></li></ul>", "- a\n\n  b\n"),
        ("<blockquote><p>a</p><p>b</p></blockquote>c", "> a\n>\n> b\n\nc\n"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "a\n    b\n"),
        # Tables, also those that only lay out
        (
            "<table><tr><th>Item<th>Price</tr><tr><td>Tea</td><td></td><td>2 €</td></tr></table>",
            "Item | Price\nTea | 2 €\n",
        ),
        (
            "<table><tr><td><table><tr><td><h1>a</h1><p>b</p></td></tr></table></td></tr></table>",
            "a\n\nb\n",
        ),
        # Links and images
        ('<a href="https://x.test/a?b=1&amp;c=2">here</a>.', "here (https://x.test/a?b=1&c=2).\n"),
        ('<a href="https://x.test/">x.test</a>', "https://x.test/\n"),
        ('<a href="https://x.test/a">https://x.test/a</a>', "https://x.test/a\n"),
        ('<a href="mailto:a@x.test">a@x.test</a>', "a@x.test\n"),
        ('<a href="#top">up</a> <a>none</a> <a href="/x"></a>', "up none\n"),
        ('<a href="https://x.test/a"><p>here</p></a>', "here\n\n(https://x.test/a)\n"),
        ('<a href="https://x.test/a"><img src="i" alt="Logo"></a>', "Logo (https://x.test/a)\n"),
        ("<img src=x>a", "a\n"),
        # What is not shown
        ("<head><title>t</title><style>s{}</style></head><body>a</body>", "a\n"),
        ("<head><title>t</title><body>a", "a\n"),
        ("a<script>if (1 < 2) {}</script><!-- c --><![if !mso]>b<![endif]>", "ab\n"),
        ('<div style="display:none;max-height:0">pre<p>header<br></div>a', "a\n"),
        ('<div hidden><div>x</div></div><i aria-hidden="true">x</i>a', "a\n"),
        ('<img style="display: none" alt="x">a', "a\n"),
    ],
)
def test_html_becomes_readable_text(html: str, text: str) -> None:
    assert from_html(html) == text


@pytest.mark.parametrize(("size", "lines"), [(76, 1), (77, 2)])
def test_a_line_is_as_long_as_it_may_be_with_what_indents_it(size: int, lines: int) -> None:
    words = "a " + "x" * (size - 2)
    assert len(from_html(f"<ul><li>{words}</ul>").splitlines()) == lines
    assert len(from_html(f"<p>b {words}").splitlines()) == lines


def test_lines_are_wrapped_at_78_columns() -> None:
    text = from_html("<p>" + "word " * 100 + "</p><ul><li>" + "item " * 40 + "</ul>")
    assert max(map(len, text.splitlines())) in range(70, 79)
    assert "\n- item item" in text
    assert "\n  item item" in text


def test_a_url_is_never_broken() -> None:
    text = from_html(f'<p>{"word " * 12}<a href="{LONG}">look</a> {LONG}</p>')
    assert f"({LONG})" in text
    assert f"\n{LONG}\n" in text


@pytest.mark.parametrize("html", ["<a href='x'", "</ul></li></a>", "<li>a</li>", "<<p>>", "<td>"])
def test_broken_html_is_no_error(html: str) -> None:
    assert isinstance(from_html(html), str)
