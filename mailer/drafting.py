"""Draft: check everything that ``dispatch`` was given, and name every problem at once."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from . import addresses, headers, parts, unsubscribe
from .content import Address, Attachment
from .errors import InvalidEmail, Problem, TemplateError
from .ledger import Draft
from .models import LANES, ON_UNKNOWN, Written
from .state import State
from .template import EmailTemplate

Mailbox = str | tuple[str, str]

TAGS_MAX = 20
HEADERS_MAX = 50
KEY_MAX = 256
FARTHEST = timedelta(days=3660)
CONTEXT_DEPTH_MAX = 50
"""Lists and objects within one another. Reading JSON takes stack: what this process could still
write, a worker that stands deeper could not read, and nobody behind it would be mailed."""
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_LOCALE = re.compile(r"(?=.{2,40}\Z)[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(slots=True, kw_only=True, repr=False)
class Request:
    """The arguments of ``dispatch`` as they came, nothing checked yet. Not to be shown."""

    template: Any = None
    to: Any = ()
    context: Any = None
    cc: Any = ()
    bcc: Any = ()
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    sender: Any = None
    reply_to: Any = None
    headers: Any = None
    attachments: Any = ()
    tags: Any = None
    locale: str | None = None
    lane: str | None = None
    send_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    on_unknown: str | None = None
    category: str | None = None
    is_test: bool = False
    """Accepted with a test key. No argument of ``dispatch``."""
    twice: tuple[str, ...] = ()
    """Arguments that were given beside a Message that has them."""

    def take(self, arguments: Mapping[str, Any]) -> None:
        """Take the arguments that a `flask_mail.Message` stands for."""
        blank = Request()
        names = [*arguments, "context", "locale"]
        self.twice = tuple(n for n in names if getattr(self, n) != getattr(blank, n))
        for name, value in arguments.items():
            setattr(self, name, value)


REQUEST_FIELDS = frozenset(one.name for one in fields(Request)) - {"is_test", "twice"}


def draft(state: State, request: Request) -> Draft:
    """Return ``request`` as a draft. Raises InvalidEmail with every problem that was found."""
    drafting = _Drafting(state, request)
    made = drafting.run()
    if drafting.problems:
        raise InvalidEmail(drafting.problems)
    return made


def required(state: State, template: str, locale: str | None) -> frozenset[str]:
    """Return the variables without which no email is made with a template. Raises TemplateError."""
    if template in state.loaders:
        return frozenset(state.needs.get(template, ()))
    return state.renderer.required(template, locale)


@dataclass(slots=True, repr=False)
class _Drafting:
    state: State
    request: Request
    problems: list[Problem] = field(default_factory=list)

    def run(self) -> Draft:
        request = self.request
        for name in request.twice:
            self._problem(name, "expected none beside a Message, which has its own")
        template = self._template()
        attachments = self._attachments()
        groups = self._addresses()
        lane = self._one_of("lane", request.lane, LANES, template.lane if template else "default")
        on_unknown = self._one_of(
            "on_unknown",
            request.on_unknown,
            ON_UNKNOWN,
            template.on_unknown if template else "resend",
        )
        category = self._category(template, lane)
        self._check_bodies(template)
        self._check_times()
        email: dict[str, Any] = {
            "template": request.template,
            "locale": self._matching("locale", request.locale, _LOCALE, "a locale such as de-AT"),
            "context": self._context(template, category),
            "subject": request.subject,
            "text": request.text,
            "html": request.html,
            "addresses": {name: [list(one) for one in group] for name, group in groups.items()},
            "headers": self._headers(category),
            "tags": self._tags(),
            "lane": lane,
            "has_attachments": bool(attachments),
            "on_unknown": on_unknown,
            "expires_at": request.expires_at,
            "idempotency_key": self._key(),
        }
        if request.is_test:  # not said of others: their fingerprints are of before there was any
            email["is_test"] = True
        email["addresses"].pop("bcc")  # a bcc is a delivery, and stands nowhere else
        if category is not None:  # else it would change the fingerprints of all that is stored
            email["category"] = category
        recipients = self._recipients(groups)
        made = Draft(
            email=email,
            recipients=recipients,
            expires_in=template.expires if template and request.expires_at is None else None,
            send_at=request.send_at,
            attachments=attachments,
        )
        if email["idempotency_key"] is not None and not self.problems:
            email["fingerprint"] = _fingerprint(made)
        return made

    def _problem(self, field_name: str, message: object) -> None:
        self.problems.append(Problem(field_name, str(message)))

    def _check(self, field_name: str, check: Callable[..., None], *values: Any) -> None:
        try:
            check(*values)
        except ValueError as error:
            self._problem(field_name, error)

    def _template(self) -> EmailTemplate | None:
        if self.request.template is None:
            return None
        if not isinstance(self.request.template, str):
            given = headers.shown(self.request.template)
            self._problem("template", f"expected a template's name or None, got {given}")
            return None
        try:
            return self.state.renderer.template(self.request.template)
        except TemplateError as error:
            self._problem("template", error)
            return None

    def _check_bodies(self, template: EmailTemplate | None) -> None:
        request = self.request
        if request.template is None and request.text is None and request.html is None:
            self._problem("template", "expected a template, or a subject with a text or html body")
        if request.template is None and not request.subject:
            self._problem("subject", "expected one, because there is no template to take it from")
        if request.subject is not None:
            self._text("subject", request.subject, headers.check_subject)
        for name in ("text", "html"):
            body = getattr(request, name)
            if body is None:
                continue
            if request.template is not None:
                self._problem(name, f"expected none, because template {request.template!r} has it")
            self._text(name, body, parts.check_body)
            limit = self.state.config["MAILER_MAX_BODY_BYTES"]
            if isinstance(body, str) and len(body) * 4 > limit:
                size = len(body.encode(errors="replace"))
                if size > limit:
                    self._problem(name, f"expected at most {limit} bytes, got {size}")

    def _category(self, template: EmailTemplate | None, lane: str) -> str | None:
        given = self.request.category
        if given is None and template is not None:
            given = template.category
        self._matching("category", given, unsubscribe.CATEGORY, unsubscribe.CATEGORY_FORM)
        if given is not None and lane == "critical":
            self._problem("category", unsubscribe.NOT_CRITICAL)
        elif given is not None and (obstacle := unsubscribe.obstacle(self.state.app)):
            self._problem("category", f"expected none, because {obstacle}")
        return given

    def _text(self, name: str, value: object, check: Callable[[str], None]) -> None:
        if isinstance(value, str):
            self._check(name, check, value)
        else:
            self._problem(name, f"expected text, got {headers.shown(value)}")

    def _addresses(self) -> dict[str, list[Address]]:
        request = self.request
        sender = request.sender or self.state.config["MAIL_DEFAULT_SENDER"]
        if not sender:
            self._problem("sender", "expected one, because MAIL_DEFAULT_SENDER is not set")
        return {
            "from": self._parse("sender", sender)[:1],
            "to": self._parse("to", request.to),
            "cc": self._parse("cc", request.cc),
            "bcc": self._parse("bcc", request.bcc),
            "reply_to": self._parse("reply_to", request.reply_to),
        }

    def _parse(self, name: str, value: Any) -> list[Address]:
        if value in (None, (), []):
            return []
        one_only = isinstance(value, str) or _is_pair(value) or not isinstance(value, Iterable)
        values = [value] if one_only else value
        place = name if one_only else name + "[{}]"
        allow_test = self.state.config["MAILER_ALLOW_TEST_DOMAINS"]
        found = []
        for position, one in enumerate(values):
            try:
                found.append(addresses.parse(one, allow_test_domains=allow_test))
            except ValueError as error:
                self._problem(place.format(position), error)
        return found

    def _recipients(self, groups: dict[str, list[Address]]) -> list[str]:
        # One delivery each, in order: who stands in two fields, or twice in one, gets one copy.
        found = [one.email for name in ("to", "cc", "bcc") for one in groups[name]]
        recipients = list(dict.fromkeys(found))
        limit = self.state.config["MAILER_MAX_RECIPIENTS"]
        wrong = {problem.field.partition("[")[0] for problem in self.problems}
        if not recipients and not wrong & {"to", "cc", "bcc"}:
            self._problem("to", "expected at least one recipient")
        if len(recipients) > limit:
            self._problem("to", f"expected at most {limit} recipients, got {len(recipients)}")
        return recipients

    def _context(
        self, template: EmailTemplate | None, category: str | None
    ) -> dict[str, Any] | None:
        context = self.request.context
        if context is None:
            context = {}
        if not isinstance(context, Mapping) or not all(isinstance(key, str) for key in context):
            self._problem("context", "expected a mapping with text keys")
            return None
        if self.request.template is None:
            if context:
                self._problem("context", "expected none, because there is no template to use it")
            return None
        try:
            # What is stored; also proves that nothing but plain data is in it.
            written = _to_json(context)
            size = len(written.encode())
        except (TypeError, ValueError, RecursionError) as error:
            self._problem("context", f"expected JSON values: {error}")
            return None
        limit = self.state.config["MAILER_MAX_CONTEXT_BYTES"]
        if size > limit:
            self._problem("context", f"expected at most {limit} bytes as JSON, got {size}")
        elif _may_nest(written) and _deeper_than(CONTEXT_DEPTH_MAX, context):
            self._problem("context", f"expected at most {CONTEXT_DEPTH_MAX} levels of nesting")
        if category is not None and unsubscribe.VARIABLE in context:
            words = "which stands for the link of the email's category"
            self._problem("context", f"expected no {unsubscribe.VARIABLE}, {words}")
        if template is not None:
            missing = self._required(template) - context.keys()
            if category is not None:
                missing -= {unsubscribe.VARIABLE}
            if missing:
                names = ", ".join(sorted(missing))
                self._problem("context", f"template {template.name!r} also needs: {names}")
        return Written(context, written)

    def _required(self, template: EmailTemplate) -> frozenset[str]:
        try:
            return required(self.state, template.name, self.request.locale)
        except TemplateError as error:
            self._problem("template", error)
            return frozenset()

    def _mapping(self, name: str, value: Any) -> dict[Any, Any]:
        if value is None or isinstance(value, Mapping):
            return dict(value or {})
        self._problem(name, f"expected a mapping, got {headers.shown(value)}")
        return {}

    def _headers(self, category: str | None) -> dict[str, str]:
        given = self._mapping("headers", self.request.headers)
        if len(given) > HEADERS_MAX:
            self._problem("headers", f"expected at most {HEADERS_MAX}, got {len(given)}")
        seen: set[str] = set()
        for name, value in given.items():
            if not isinstance(name, str) or not isinstance(value, str):
                self._problem("headers", f"expected text, got {headers.shown((name, value))}")
                continue
            self._check("headers", headers.check_header, name, value)
            if category is not None and name.lower().startswith("list-unsubscribe"):
                self._problem("headers", f"expected no {name}, which category {category!r} sets")
            if name.lower() in seen:
                self._problem("headers", f"expected {name} once")
            seen.add(name.lower())
        return given

    def _attachments(self) -> list[Attachment]:
        given = self.request.attachments
        if not isinstance(given, Iterable):
            self._problem("attachments", f"expected a list, got {headers.shown(given)}")
            return []
        ascii_names = self.state.config["MAIL_ASCII_ATTACHMENTS"]
        files = []
        for position, file in enumerate(given):
            place = f"attachments[{position}]"
            if isinstance(file, Attachment) and isinstance(file.data, bytes):
                files.append(_with_ascii_name(file) if ascii_names else file)
                self._check(place, parts.check_attachment, files[-1])
            else:
                self._problem(place, "expected a mailer.Attachment whose data is bytes")
        ids = [file.content_id for file in files if file.content_id]
        if len(ids) > len(set(ids)):
            self._problem("attachments", "expected every content id once")
        limit = self.state.config["MAILER_MAX_ATTACHMENT_BYTES"]
        size = sum(len(file.data) for file in files)
        if size > limit:
            self._problem("attachments", f"expected at most {limit} bytes together, got {size}")
        return files

    def _tags(self) -> dict[str, str]:
        tags = self._mapping("tags", self.request.tags)
        if len(tags) > TAGS_MAX:
            self._problem("tags", f"expected at most {TAGS_MAX}, got {len(tags)}")
        for name, value in tags.items():
            for text in (name, value):
                self._matching("tags", text, _TAG, "1 to 64 of A-Z a-z 0-9 _ . -")
        return tags

    def _key(self) -> str | None:
        key = self.request.idempotency_key
        if key is not None and not (
            isinstance(key, str) and 1 <= len(key) <= KEY_MAX and key.isprintable()
        ):
            expected = f"1 to {KEY_MAX} printable characters"
            self._problem("idempotency_key", f"expected {expected}, got {headers.shown(key)}")
        return key

    def _check_times(self) -> None:
        send_at, expires_at = self.request.send_at, self.request.expires_at
        for name, value in (("send_at", send_at), ("expires_at", expires_at)):
            if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
                self._problem(name, f"expected an aware datetime, got {headers.shown(value)}")
                return
            if value is not None and value - datetime.now(UTC) > FARTHEST:
                self._problem(name, f"expected an instant within {FARTHEST.days} days")
        if expires_at and expires_at <= datetime.now(UTC):
            self._problem("expires_at", f"expected an instant to come, got {expires_at}")
        if send_at and expires_at and expires_at <= send_at:
            self._problem("expires_at", "expected an instant after send_at")

    def _one_of(self, name: str, value: str | None, words: Sequence[str], default: str) -> str:
        if value is None:
            return default
        if value not in words:
            near = difflib.get_close_matches(str(value), words, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            expected = ", ".join(words)
            self._problem(name, f"expected one of {expected}, got {headers.shown(value)}{hint}")
        return value

    def _matching(
        self, name: str, value: str | None, pattern: re.Pattern[str], expected: str
    ) -> str | None:
        if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
            self._problem(name, f"expected {expected}, got {headers.shown(value)}")
        return value


def _is_pair(value: Any) -> bool:
    """Whether ``value`` is one (name, address) tuple rather than two addresses."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(part, str) for part in value)
        and "@" not in value[0]
    )


def _may_nest(written: str) -> bool:
    """Whether there are enough brackets in JSON to be nested too deeply: rarely, and at once."""
    return written.count("{") + written.count("[") > CONTEXT_DEPTH_MAX


def _deeper_than(depth: int, value: Mapping[str, Any]) -> bool:
    """Whether more than ``depth`` containers stand within one another. Without recursion."""
    level: list[Any] = [value]
    for _ in range(depth):
        inner = [
            one
            for outer in level
            for one in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
        level = [one for one in inner if isinstance(one, Mapping | list | tuple)]
        if not level:
            return False
    return True


def _with_ascii_name(file: Attachment) -> Attachment:
    name = unicodedata.normalize("NFKD", file.filename).encode("ascii", "ignore").decode()
    return Attachment(
        filename=" ".join(name.split()) or "attachment",
        data=file.data,
        content_type=file.content_type,
        content_id=file.content_id,
    )


def _fingerprint(made: Draft) -> str:
    """Return a digest of all that makes this email what it is, whatever it is stored as.

    Without its times: whoever tries again says "in an hour" an instant later.
    """
    content = {
        **{name: value for name, value in made.email.items() if name != "expires_at"},
        "recipients": made.recipients,
        "attachments": [
            [file.filename, file.content_type, file.content_id, sha256(file.data).hexdigest()]
            for file in made.attachments
        ],
    }
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
