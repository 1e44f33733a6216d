"""What a page must never do, whoever looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}


PASSWORD = "correct horse battery staple"
"""Of every member."""


def sign_in(page: Page, url: str, name: str, path: str = "/ops/") -> None:
    """Sign in to the console of the service at ``url`` as a person does who wants the page at
    ``path``, and wait for it."""
    page.goto(f"{url}/ops/sign-in?next={path}")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}{path}")


def upload(page: Page, url: str, name: str, people: Path) -> None:
    """Sign in, and have a file of recipients checked for a bulk send."""
    sign_in(page, url, name, "/ops/bulk/new")
    page.get_by_label("File").set_input_files(people)
    page.get_by_label("Template").select_option("welcome")
    assert fits(page)
    page.get_by_role("button", name="Check the file").click()


class Watch:
    """What a page must never do: complain, ask another server, run a script from an email."""

    def __init__(self, page: Page) -> None:
        self.complaints: list[str] = []
        page.on("console", lambda said: self._complain(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self._request(request.url))
        page.on("requestfailed", lambda request: self._refused(request.url, request.failure))

    def _complain(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.complaints.append(text)

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _request(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "about:", "blob:")):
            self.complaints.append(f"request to {url}")

    def _refused(self, url: str, why: str | None) -> None:
        if why == "csp":  # the browser tells of requests that it then did not make
            told = f"request to {url}"
            self.complaints = [line for line in self.complaints if line != told]


def fits(page: Page) -> bool:
    """Whether nothing of the page is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
