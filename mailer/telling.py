"""Tell webhooks what is due, until nothing is or the time is over.

The caller's thread alone has the ledger, and never while the network is used: threads post. A
receiver that takes its time keeps its own few threads busy, and those of no other.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from . import notice, shutdown
from .destination import Allowed, Forbidden, checked, parse
from .doorbell import WEBHOOKS
from .ledger.telling import Telling, Told
from .request import Answer, NoAnswer, ask
from .state import State
from .words import one_line

EACH = 16
"""Events of one webhook that are told at once."""
AT_ONCE = 64
"""Events of all webhooks that are told at once."""
LOOK_SECONDS = 0.25
"""How often is looked for new events while receivers take their time."""
GATHER_SECONDS = 0.02
"""For so long answers are gathered: a transaction for each would be in the way of the mail."""
TIMEOUT_SECONDS = 15.0
"""Within so long an event must be answered."""
BASE_SECONDS = 10.0
"""The wait after an event's first failure; doubles."""
CAP_SECONDS = 8 * 3600.0
RETRY_AFTER_MAX_SECONDS = 3600.0
"""As long as that a receiver may ask to be left alone."""

log = logging.getLogger(__name__)


def tell(state: State) -> int:
    """Tell due events for a bounded time; return how many attempts were made."""
    ends = time.monotonic() + state.config["MAILER_DRAIN_SECONDS"]
    allowed = Allowed(state.config["MAILER_WEBHOOK_ALLOW"] or ())
    busy: Counter[str] = Counter()
    hand: set[Future[Told]] = set()
    made = 0
    answered = False
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mailer-tell") as threads:
        while True:
            goes_on = time.monotonic() < ends and not shutdown.announced()
            room = AT_ONCE - len(hand) if goes_on else 0
            tellings = state.ledger.claim_events(busy, each=EACH, limit=room) if room else ()
            for telling in tellings:
                busy[telling.webhook_id] += 1
                hand.add(threads.submit(attempt, telling, allowed))
            made += len(tellings)
            if not hand:
                if answered or not goes_on:
                    break
                # As a drain does: what is committed from here on rings anew, and what was before
                # is found by one more look.
                state.events_bell.answer(WEBHOOKS)
                answered = True
                continue
            answered = False
            if wait(hand, LOOK_SECONDS, FIRST_COMPLETED).done:
                time.sleep(GATHER_SECONDS)
            done = {one for one in hand if one.done()}
            hand -= done
            told = [one.result() for one in done]
            for one in told:
                busy[one.telling.webhook_id] -= 1
            _settle(state, told)
    if not answered and state.ledger.events_are_due():
        state.events_bell.pass_on(WEBHOOKS, "")
    return made


def attempt(telling: Telling, allowed: Allowed) -> Told:
    """Tell an event once. Raises nothing: one that cannot be told is in the way of no other."""
    began = time.monotonic()
    answer: Answer | None = None
    try:
        body = notice.body(telling)
        destination = parse(telling.url)
        addresses = checked(destination, allowed)
        answer = ask(
            "POST",
            destination,
            addresses,
            notice.headers(telling, body),
            body,
            seconds=TIMEOUT_SECONDS,
        )
        words = _words(answer)
    except Forbidden as error:
        words = one_line(f"not told: {error}")
    except (NoAnswer, OSError) as error:
        words = one_line(str(error))
    except Exception:  # a bug
        log.exception("event=%s webhook=%s", telling.event_id, telling.webhook_id)
        words = "not told: an error of the dispatcher, see its log"
    return judged(telling, answer, words, round((time.monotonic() - began) * 1000))


def judged(
    telling: Telling,
    answer: Answer | None,
    words: str,
    milliseconds: int,
    random: Callable[[], float] = random.random,
) -> Told:
    """Return what an answer means for an event and its webhook."""
    code = answer.code if answer else None
    rest = _retry_after(answer) if answer else 0.0
    return Told(
        telling=telling,
        ok=code is not None and 200 <= code < 300,
        code=code,
        words=words,
        milliseconds=milliseconds,
        delay=max(rest, backoff(telling.attempt, telling.age, random)),
        rest=rest,
        gone=code == 410,
    )


def backoff(attempt: int, age: float, random: Callable[[], float] = random.random) -> float:
    """Return seconds to wait after failed attempt number ``attempt`` (from 1) of an event that is
    ``age`` seconds old.

    Doubles up to 8 hours, then takes a random 50-100 %. One that was replayed counts on, but is
    young again: it does not wait for hours after its first failure.
    """
    seconds: float = min(
        BASE_SECONDS * 2 ** min(attempt - 1, 20), max(BASE_SECONDS, age), CAP_SECONDS
    )
    return seconds * (0.5 + random() / 2)


def _words(answer: Answer) -> str:
    if 300 <= answer.code < 400:
        where = answer.headers.get("location", "nowhere")
        return one_line(f"redirects are not followed: it leads to {where}")
    return one_line(answer.body.decode("utf-8", "replace"))


def _retry_after(answer: Answer) -> float:
    """Return for how many seconds a receiver wants to be left alone."""
    given = answer.headers.get("retry-after", "").strip()
    if answer.code not in {429, 503} or not re.fullmatch(r"[0-9]{1,9}", given):
        return 0.0
    return min(float(given), RETRY_AFTER_MAX_SECONDS)


def _settle(state: State, told: list[Told]) -> None:
    if not told:
        return
    settled = state.ledger.settle_events(told)
    for one in told:
        telling = one.telling
        status = settled.statuses.get(telling.event_id, "lost")
        log.info(
            "event=%s webhook=%s type=%s attempt=%s status=%s code=%s ms=%s",
            telling.event_id, telling.webhook_id, telling.type, telling.attempt, status,
            one.code or "-", one.milliseconds,
        )  # fmt: skip
    for webhook_id, reason in settled.disabled.items():
        log.warning("webhook=%s status=disabled reason=%s", webhook_id, reason)
