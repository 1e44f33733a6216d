"""The pages as a person uses them, in a real browser."""

from __future__ import annotations

from email.message import EmailMessage
from smtplib import SMTP

from playwright.sync_api import Page, expect

from mailer.dev.catcher import Catcher

from .browser import Watch, fits

PASSWORD = "correct horse battery staple"


def test_a_person_signs_up_confirms_and_resets_a_password_by_the_links_in_the_emails(
    page: Page, site: str, catcher: Catcher
) -> None:
    watch = Watch(page)
    inbox = page.context.new_page()
    inbox_watch = Watch(inbox)
    inbox.goto(catcher.url)

    page.goto(f"{site}/signup")
    assert fits(page)
    page.get_by_label("Email address").fill("ada@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("inbox")

    # The inbox shows it without a reload.
    inbox.get_by_text("Confirm your email address").first.click()
    with inbox.context.expect_page() as opened:
        inbox.frame_locator("iframe").get_by_role("link", name="Confirm email address").click()
    confirm = opened.value
    confirm_watch = Watch(confirm)
    confirm.get_by_role("button", name="Confirm").click()
    expect(confirm.get_by_role("heading", level=1)).to_contain_text("all set")
    catcher.wait_for(2, to="ada@example.com")

    page.goto(f"{site}/reset")
    page.get_by_label("Email address").fill("ada@example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("inbox")
    (reset,) = catcher.wait_for(3, to="ada@example.com")[-1:]
    link = next(word for word in reset.text.split() if f"{site}/reset/" in word)
    page.goto(link)
    assert fits(page)
    page.get_by_label("New password").fill(PASSWORD + " two")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("changed")
    catcher.wait_for(4, to="ada@example.com")
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_contain_text("no longer works")

    # A link that was used answers 410, which the browser notes on the console.
    assert [line for line in watch.complaints if "410" not in line] == []
    assert inbox_watch.complaints == []
    assert confirm_watch.complaints == []


def test_the_documentation_of_the_api_is_whole_without_another_server(
    page: Page, site: str
) -> None:
    watch = Watch(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{site}/api/docs")
        assert fits(page)
    width = page.viewport_size["width"] if page.viewport_size else 0
    if width < 992:
        page.get_by_text("Contents", exact=True).click()
    page.get_by_role("link", name="Send an email").locator("visible=true").first.click()
    expect(page.get_by_role("heading", name="Send an email", exact=True)).to_be_in_viewport()
    page.locator("#emails_send summary").filter(has_text="attachments").click()
    expect(page.locator("#emails_send").get_by_text("filename", exact=True)).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert fits(page)
    assert watch.complaints == []


HOSTILE = [
    "<script>alert('subject')</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(2)>',
    "javascript:alert(3)",
]
HTML = """
<script>alert('html')</script><img src=x onerror="alert(4)">
<a href="javascript:alert(5)">click</a><form action="http://evil.example"><button>go</button></form>
<iframe srcdoc="<script>parent.alert(6)</script>"></iframe>
<meta http-equiv="refresh" content="0;url=http://evil.example/"><base href="http://evil.example/">
<img src="http://evil.example/pixel.png"><link rel="stylesheet" href="http://evil.example/x.css">
<style>@import url(http://evil.example/y.css); body{background:url(http://evil.example/z.png)}</style>
"""


def test_a_hostile_email_runs_nothing_and_asks_nobody_in_the_inbox(
    page: Page, catcher: Catcher
) -> None:
    with SMTP("127.0.0.1", catcher.smtp_port) as smtp:
        for words in HOSTILE:
            message = EmailMessage()
            message["Subject"] = words
            message["From"] = "eve@example.com"
            message["To"] = "ada@example.com"
            message.set_content(words)
            message.add_alternative(HTML, subtype="html")
            message.add_attachment(b"x", maintype="text", subtype="html", filename=f"{words}.html")
            smtp.send_message(message)
    watch = Watch(page)
    for caught in catcher.messages():
        page.goto(f"{catcher.url}/messages/{caught.id}")
        frame = page.frame_locator("iframe")
        expect(frame.get_by_text("click")).to_be_visible()
        frame.get_by_text("click").click()
        for tab in ("Text", "Headers", "Source", "Files"):
            page.get_by_role("tab", name=tab).or_(page.get_by_role("link", name=tab)).first.click()
            assert fits(page)
    # The policy's own refusals are reported on the console: they show that it holds.
    refused = ("Content Security Policy", "sandboxed", "Blocked", "ERR_BLOCKED")
    assert [line for line in watch.complaints if not any(words in line for words in refused)] == []
