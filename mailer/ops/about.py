"""What an act is about, with a link to the page that it has. What it names may be gone by then."""

from __future__ import annotations

import re
from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from ..ledger.acts import Action

_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_Page = tuple[re.Pattern[str], str, str]
"""What names it, its endpoint, the parameter of that."""

_EMAIL: _Page = (re.compile(rf"^({_ID})(?= |$)"), "ops.email", "email_id")
_TEST: _Page = (re.compile(rf" ({_ID})$"), "ops.email", "email_id")
_MAILED: _Page = (re.compile(rf"\bbulk=({_ID})(?= |$)"), "ops.bulk_send", "job_id")
_BULK: _Page = (re.compile(rf"^bulk ({_ID})$"), "ops.bulk_send", "job_id")
_JOB: _Page = (re.compile(rf"^(?:\w+ )?({_ID})$"), "ops.job", "job_id")
_WEBHOOK: _Page = (re.compile(rf"^(?:webhook )?({_ID})$"), "ops.webhook", "webhook_id")
_TRANSPORT: _Page = (re.compile(r"^transport (.+)$"), "ops.transport", "name")

_PAGES: dict[Action, tuple[_Page, ...]] = {
    "retry": (_EMAIL, _MAILED),
    "cancel": (_EMAIL, _MAILED),
    "reschedule": (_EMAIL,),
    "resolve: sent": (_EMAIL, _MAILED),
    "resolve: resend": (_EMAIL, _MAILED),
    "send test": (_TRANSPORT, _TEST),
    "pause": (_TRANSPORT,),
    "resume": (_TRANSPORT,),
    "upload file": (_BULK,),
    "start bulk send": (_BULK,),
    "start job": (_JOB,),
    "pause job": (_JOB,),
    "resume job": (_JOB,),
    "stop job": (_JOB,),
    "make webhook": (_WEBHOOK,),
    "change webhook": (_WEBHOOK,),
    "enable webhook": (_WEBHOOK,),
    "disable webhook": (_WEBHOOK,),
    "rotate secret": (_WEBHOOK,),
    "replay events": (_WEBHOOK,),
}


def about(act: Any) -> Markup:
    """Write what an act (a row) is about."""
    text: str = act.about
    for pattern, endpoint, parameter in _PAGES.get(act.action, ()):
        if found := pattern.search(text):
            whose: dict[str, Any] = {parameter: found[1]}
            address = url_for(endpoint, **whose)
            start, end = found.span(1)
            link = Markup('<a href="{}">{}</a>').format(address, found[1])
            return escape(text[:start]) + link + escape(text[end:])
    return escape(text)
