"""What is too large, too deep or too long is refused before it can hold up anybody else."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from mailer import InvalidEmail, delivery, dispatch
from mailer.dev.catcher import Catcher
from mailer.drafting import CONTEXT_DEPTH_MAX
from mailer.state import of

from ..conftest import AppFactory


def nested(levels: int, kind: type) -> Any:
    """Return a context of so many containers within one another."""
    value: Any = "x"
    for _ in range(levels - 1):
        value = [value] if kind is list else {"a": value}
    return {"start_url": value}


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("levels", [CONTEXT_DEPTH_MAX + 1, 900, 990, 100_000])
def test_a_context_nested_too_deeply_is_refused_in_words(
    make_app: AppFactory, levels: int, kind: type
) -> None:
    app = make_app(CELERY={"broker_url": "memory://"})
    with app.app_context(), pytest.raises(InvalidEmail, match=r"nesting|recursion"):
        dispatch("welcome", to="a@b.example", context=nested(levels, kind), idempotency_key="one")


@pytest.mark.parametrize("kind", [list, dict])
def test_the_deepest_context_is_read_by_a_worker_far_down_its_stack(
    make_app: AppFactory, catcher: Catcher, kind: type
) -> None:
    app = make_app(MAIL_PORT=catcher.smtp_port, CELERY={"broker_url": "memory://"})

    def far_down(frames: int) -> int:
        return far_down(frames - 1) if frames else delivery.drain(of(app), "default")

    with app.app_context():
        context = nested(CONTEXT_DEPTH_MAX, kind)
        dispatch("welcome", to="ann@example.com", context=context, idempotency_key="one")
        dispatch("welcome", to="bob@example.com", context={"start_url": "https://a.example"})
        far_down(sys.getrecursionlimit() // 3)
    assert {one.recipients for one in catcher.messages()} == {
        ("ann@example.com",),
        ("bob@example.com",),
    }


def test_a_locale_that_no_column_holds_is_refused(
    make_app: AppFactory, postgresql_url: str
) -> None:
    app = make_app(MAILER_DATABASE_URL=postgresql_url, CELERY={"broker_url": "memory://"})
    email: dict[str, Any] = {"to": "a@b.example", "subject": "x", "text": "x"}
    longest = "de" + "-abcdefgh" * 4
    with app.app_context():
        dispatch(**email, locale=longest)
        with pytest.raises(InvalidEmail, match="locale"):
            dispatch(**email, locale=longest + "-abc")
