"""Deliveries to send again, as the HTTP API takes them, and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from ...ledger import Filters
from .base import Answer, Body, Sought
from .emails import Changed

RETRIED_SHOWN = 100


class RetryMany(Body):
    """Which deliveries to send again. At least one condition, so that it is not about all."""

    states: list[
        Literal["failed", "unknown", "expired", "cancelled", "suppressed", "deferred"]
    ] = []
    """None given: any of them."""
    template: Annotated[Sought | None, Field(examples=["welcome"])] = None
    """The template of the email."""
    lane: Literal["critical", "default", "bulk"] | None = None
    """The lane of the email."""
    recipient: Sought | None = None
    """Whom it is for."""
    code: Annotated[int | None, Field(ge=0, le=999)] = None
    """SMTP code of the last attempt."""
    since: AwareDatetime | None = None
    """Accepted at or after."""
    until: AwareDatetime | None = None
    """Accepted before."""
    dry_run: bool = False
    """Only count them."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        conditions = self.model_dump(exclude={"dry_run"}, exclude_none=True)
        if not any(value != [] for value in conditions.values()):
            raise ValueError("expected at least one condition, so that it is not about everything")
        return self

    def filters(self) -> Filters:
        """Return them for the ledger."""
        return Filters(
            statuses=self.states or None,
            template=self.template,
            lane=self.lane,
            recipient=self.recipient,
            code=self.code,
            since=self.since,
            until=self.until,
        )


class LeftOut(Answer):
    """A delivery that is not sent again."""

    email_id: str
    recipient: str
    reason: str
    """Why its recipient is suppressed."""


class Retried(Changed):
    """An email that is sent again."""

    deliveries: int
    """How many are sent again."""
    suppressed: int
    """How many stay as they are, because their recipients are suppressed."""
    left_out: list[LeftOut]
    """The first 100 of those."""


class RetriedDelivery(Answer):
    email_id: str
    recipient: str


class RetriedMany(Answer):
    object: Literal["retry"] = "retry"
    dry_run: bool
    deliveries: int
    """How many are sent again, or would be."""
    suppressed: int
    """How many stay as they are, because their recipients are suppressed."""
    data: list[RetriedDelivery]
    """The first 100 of those that are sent again, or would be."""
    left_out: list[LeftOut]
    """The first 100 of those that are suppressed."""
