"""Bulk sends, as the HTTP API takes and shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ...bulk import stage
from .base import Answer, Body, Shown
from .sending import Addresses, Tag

_Lane = Literal["critical", "default", "bulk"]


class SendBulk(Body):
    """One email to each of many recipients."""

    template: str | None = None
    """The name of a template, instead of ``subject`` with ``html`` or ``text``."""
    recipients: Annotated[
        list[dict[str, Any]], Field(min_length=1, examples=[[{"to": "ada@example.com"}]])
    ]
    """For each `to` or `email`; `name` and `locale`; and `variables` of the template, or these
    beside the others."""
    from_: str | None = Field(default=None, alias="from")
    """Whom it comes from; else the service's own sender."""
    reply_to: Addresses = Field(default_factory=list)
    """Where replies go, if not to the sender."""
    subject: Annotated[str | None, Field(examples=["News"])] = None
    """Needed, unless a template has it."""
    html: str | None = None
    """The HTML body. Without `text`, one is made of it."""
    text: Annotated[str | None, Field(examples=["Here is what is new."])] = None
    """The plain text body."""
    tags: list[Tag] = Field(default_factory=list)
    """At most 20, each name once."""
    locale: str | None = None
    """The language of the template, for rows that name none."""
    lane: _Lane | None = None
    """How urgent it is; else `bulk`."""
    category: str | None = None
    """What recipients may unsubscribe from; else the template's."""
    confirm: bool = False
    """Start by itself after the check, unless rows are bad."""
    skip_bad: bool = False
    """Leave bad rows out, and start all the same."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``dispatch``."""
        return {
            "template": self.template,
            "sender": self.from_,
            "reply_to": self.reply_to,
            "subject": self.subject,
            "html": self.html,
            "text": self.text,
            "tags": {tag.name: tag.value for tag in self.tags},
            "locale": self.locale,
            "lane": self.lane,
            "category": self.category,
        }


class SendFile(BaseModel):
    """What stands in the address of a file of recipients."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    template: Annotated[str, Field(examples=["welcome"])]
    """The name of a template."""
    name: Annotated[str, Field(max_length=200)] = ""
    """What the file is called."""
    from_: str | None = Field(default=None, alias="from")
    """Whom it comes from; else the service's own sender."""
    reply_to: str | None = None
    """Where replies go, if not to the sender."""
    subject: str | None = None
    """Instead of the template's."""
    locale: str | None = None
    """The language of the template, for rows that name none."""
    lane: _Lane | None = None
    """How urgent it is; else `bulk`."""
    category: str | None = None
    """What recipients may unsubscribe from; else the template's."""
    confirm: bool = False
    """Start by itself after the check, unless rows are bad."""
    skip_bad: bool = False
    """Leave bad rows out, and start all the same."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``dispatch``."""
        values = self.model_dump(exclude={"name", "from_", "confirm", "skip_bad"})
        return {**values, "sender": self.from_}


class Start(BaseModel):
    """How to start."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    skip_bad: bool = False
    """Leave bad rows out."""


class Cancel(BaseModel):
    """What to cancel."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    unsent: bool = False
    """Also what was accepted and is still queued."""


class BulkId(Answer):
    """The file is stored, and will be checked."""

    id: str


class ChangedBulk(Answer):
    """A bulk send that was steered."""

    object: Literal["bulk"] = "bulk"
    id: str
    changed: bool
    """False: it was so already, or had ended."""


class Bulk(Answer):
    """A bulk send, and how far it is."""

    object: Literal["bulk"] = "bulk"
    id: str
    name: Annotated[str, Field(examples=["people.csv"])]
    """What the file is called."""
    template: Annotated[str, Field(examples=["newsletter"])]
    """Its name; empty: none."""
    status: Annotated[str, Field(examples=["sending"])]
    """`checking`, `checked`, `sending`, `paused`, `done`, `cancelled` or `failed`."""
    words: str
    """Why it failed, or what is to be mended before it is resumed."""
    created_at: Shown
    started_at: Shown
    ended_at: Shown
    current: int
    """How far it is; in lines while it is checked, then in emails."""
    total: int
    accepted: int
    """Emails that were stored, and are or will be sent."""
    rows: int
    """Of the file, as far as it was checked."""
    bad: int
    duplicate: int
    suppressed: int
    test: bool
    """Sent with a test key: it goes to no recipient."""

    @classmethod
    def of(cls, job: Any, **more: Any) -> Self:
        """Return a job of the ledger."""
        found = {name: job.found[name] for name in ("rows", "bad", "duplicate", "suppressed")}
        return cls(
            id=job.id,
            name=job.details["name"],
            template=job.details["request"]["template"] or "",
            status=stage(job),
            words=job.words or "",
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            current=job.done,
            total=job.total,
            accepted=job.changed,
            test=job.details["request"]["is_test"],
            **found,
            **more,
        )


class LeftOut(Answer):
    """A row that is not mailed."""

    line: Annotated[int, Field(examples=[17])]
    """Of the file."""
    address: Annotated[str, Field(examples=["ada@example.com"])]
    """Empty: there is none that can be read."""
    because: Annotated[str, Field(examples=["duplicate"])]
    """`bad`, `duplicate` or `suppressed`."""
    words: Annotated[str, Field(examples=["the address of line 2 again"])]

    @classmethod
    def all(cls, rows: Iterable[Any]) -> list[Self]:
        """Return rows of the ledger."""
        return [
            cls(
                line=row.line,
                address=row.address or "",
                because=row.left_out,
                words=row.reason or "",
            )
            for row in rows
        ]


class WholeBulk(Bulk):
    """A bulk send, with what its check found."""

    left_out: list[LeftOut]
    """The first 1,000 rows that are not mailed; the report has all."""
