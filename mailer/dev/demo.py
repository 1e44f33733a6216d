"""The main job in front of the user: a signup and a reset, and the emails that they cause."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .logs import last_lines
from .terminal import Terminal, printable

_POLL_SECONDS = 0.02

# Without this, urllib asks the user's proxy for 127.0.0.1.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Demo:
    """Does the main job over HTTP against a running stack."""

    def __init__(
        self,
        *,
        app: str,
        inbox: str,
        terminal: Terminal,
        stopping: threading.Event,
        worker_log: Path,
        patience: float = 10,
    ) -> None:
        self._app = app
        self._inbox = inbox
        self._terminal = terminal
        self._stopping = stopping
        self._worker_log = worker_log
        self._patience = patience
        self._seen: set[int] = set()

    def run(self) -> bool:
        """Sign a user up and ask for a reset; return whether both emails arrived."""
        email = f"ada.{secrets.token_hex(3)}@example.com"
        signup = {"email": email, "password": secrets.token_urlsafe(12)}
        return self._step("Sign up", "/signup", signup) and self._step(
            "Reset the password", "/reset", {"email": email}
        )

    def _step(self, title: str, path: str, body: dict[str, str]) -> bool:
        """Post ``body``, then show the answer and the email that it caused."""
        style = self._terminal.style
        hidden = {**body, "password": "..."}  # nosec B105  # what is shown instead of it
        shown = json.dumps(hidden if "password" in body else body)
        self._terminal.lines(
            [
                f"  {style(title, 'bold')}",
                f"    {style('POST', 'cyan')} {self._app}{path}  {style(shown, 'dim')}",
            ]
        )
        began = time.monotonic()
        try:
            status, answer = _post(self._app + path, body)
            answered = time.monotonic()
            self._show_answer(status, answer, answered - began)
            if not status.startswith("2"):
                return self._fail(f"{path} was not accepted, so no email follows.")
            message = self._arrival(body["email"])
        except (OSError, http.client.HTTPException, ValueError) as error:
            return self._fail(f"{path}: {error}")
        if message is None:
            return self._fail(f"No email to {body['email']} arrived within {self._patience:g} s.")
        self._show_email(message, time.monotonic() - began)
        return True

    def _arrival(self, address: str) -> Mapping[str, Any] | None:
        """Wait for an email to the address that was not there before; None: it does not come."""
        deadline = time.monotonic() + self._patience
        url = f"{self._inbox}/api/messages"
        query = urllib.parse.urlencode({"to": address})
        while time.monotonic() < deadline and not self._stopping.is_set():
            for summary in _get(f"{url}?{query}")["messages"]:
                if summary["id"] not in self._seen:
                    self._seen.add(summary["id"])
                    message: Mapping[str, Any] = _get(f"{url}/{summary['id']}")
                    return message
            time.sleep(_POLL_SECONDS)
        return None

    def _show_answer(self, status: str, answer: str, took: float) -> None:
        style = self._terminal.style
        colour = "green" if status.startswith("2") else "red"
        time_shown = style(f"answered after {took * 1000:.0f} ms", "dim")
        self._terminal.lines(
            [
                f"    {style(status, colour)}  {time_shown}",
                *(f"      {printable(line)}" for line in answer.splitlines()[:20]),
            ]
        )

    def _show_email(self, message: Mapping[str, Any], took: float) -> None:
        style = self._terminal.style
        edge = style("│", "dim")
        headers = [
            ("From", _mailbox(message["from"])),
            ("To", ", ".join(map(_mailbox, message["to"]))),
            ("Subject", message["subject"]),
        ]
        text = (message["text"] or "").strip().splitlines()
        self._terminal.lines(
            [
                f"    {style('┌', 'dim')} {style('Email', 'bold')} in the inbox after {took:.2f} s",
                *(
                    f"    {edge} {style(f'{name:<8}', 'dim')}{printable(value)}"
                    for name, value in headers
                ),
                f"    {edge}",
                *(f"    {edge} {printable(line)}" for line in text),
                f"    {edge}",
                f"    {style('└', 'dim')} {self._inbox}/messages/{message['id']}",
                "",
            ]
        )

    def _fail(self, words: str) -> bool:
        if not self._stopping.is_set():
            style = self._terminal.style
            log = last_lines(self._worker_log, 8)
            self._terminal.lines(
                [
                    f"    {style(printable(words), 'red')}",
                    f"    The worker's last lines ({self._worker_log}):",
                    *(f"      {style(printable(line), 'dim')}" for line in log),
                    "",
                ]
            )
        return False


def _mailbox(address: Mapping[str, str] | None) -> str:
    if address is None:
        return ""
    return f"{address['name']} <{address['email']}>" if address["name"] else address["email"]


def _post(url: str, body: Mapping[str, str]) -> tuple[str, str]:
    """Return the status, as in ``202 Accepted``, and the body, with JSON made readable."""
    request = urllib.request.Request(  # noqa: S310 - our own address
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    try:
        response = _opener.open(request, timeout=10)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        text = response.read().decode(errors="replace")
        status = f"{response.status} {http.client.responses.get(response.status, '')}".rstrip()
    try:
        return status, json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return status, text


def _get(url: str) -> Any:
    with _opener.open(url, timeout=5) as response:
        return json.load(response)
