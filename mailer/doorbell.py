"""Doorbells: one coalesced wake-up per lane, from after a commit to before the next claim.

``ring`` publishes a `send_email` task unless the lane's bell is already ringing: then a task
waits or drains that has yet to make a claim after ``answer``, which silences the bell. So what was
committed while it rang is claimed. A lost bell expires, and beat rings anyway: no failure here
loses an email, and none is raised.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import redis
from celery import Celery
from kombu.pools import ProducerPool

from . import impatient
from .burst import Bursts
from .impatient import PATIENCE_SECONDS, QUIET_SECONDS

TASK = "mailer.send_email"
TELL_TASK = "mailer.tell_webhooks"
RUN_TASK = "mailer.run_job"
JOBS = "jobs"
"""The bell and the queue of jobs."""
WEBHOOKS = "webhooks"
"""The bell and the queue of events, apart from the lanes: who is slow to hear of mail does not hold
it up."""
RINGS_FOR_MS = 10_000
"""A bell that nobody answers is forgotten after so long."""
LATER_STEP_SECONDS = 0.25
LATE_MS = 1_000
"""How much later than it was told to a worker may come before others ring."""
BURST_SECONDS = 0.01
"""A burst of commits needs a ring now and then, not one each."""

# Counted where the bell is, so that whoever is asked knows the rings of all. A count that cannot be
# kept (pcall) costs no ring. From the fourth argument on: lanes, and what was missed of each.
_RING = """
local rung = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if not rung then redis.pcall('HINCRBY', KEYS[2], ARGV[3] .. ':ringing', 1) end
for i = 4, #ARGV, 2 do redis.pcall('HINCRBY', KEYS[2], ARGV[i] .. ':missed', ARGV[i + 1]) end
return rung and 1 or 0
"""
RESULTS = ("rung", "ringing", "missed")
"""What comes of a ring: a worker was called; one had been called and was yet to come; Redis or the
broker was away."""

log = logging.getLogger(__name__)


class Doorbell:
    """The bells of one app's lanes."""

    def __init__(
        self,
        celery_app: Celery,
        redis_url: str | None,
        *,
        namespace: str,
        task_seconds: float,
        task: str,
        each: bool = False,
    ) -> None:
        """``redis_url`` None: every ring publishes (a broker that is not Redis). ``task``: what is
        published. ``each``: every id has a bell, and a task with that id, of its own."""
        self._celery = celery_app
        self._redis_url = redis_url
        self._namespace = namespace
        self._task_seconds = task_seconds
        self._task = task
        self._each = each
        self._quiet_until = 0.0
        self._eager = threading.local()
        self._later: dict[str, int] = {}
        """By lane: for when a worker was rung last."""
        self.missed: Counter[str] = Counter()
        """By lane: rings that came to nothing, and that Redis could not be told of yet."""
        self._bursts = Bursts(self.ring, seconds=BURST_SECONDS)
        self._open()

    def _open(self) -> None:
        self._redis = impatient.client(self._redis_url) if self._redis_url else None
        self._ring = self._redis and self._redis.register_script(_RING)
        self._producers: ProducerPool | None = None
        self._lock = threading.Lock()

    def ring_for_commit(self, lane: str, email_id: str) -> None:
        """Wake a worker for what was committed, without waiting for Redis: at once, in a burst
        every now and then and at its end."""
        if self._celery.conf.task_always_eager:
            self._run_here(lane, email_id)
        else:
            self._bursts(lane, email_id)

    def ring(self, lane: str, email_id: str) -> bool:
        """Wake a worker for a lane; return whether a task was published. Raises no failure."""
        if self._celery.conf.task_always_eager:
            return self._run_here(lane, email_id)
        if time.monotonic() < self._quiet_until:
            self.missed[lane] += 1
            return False
        try:
            if not self._begin(lane, self._bell(lane, email_id), email_id, RINGS_FOR_MS):
                return False
            try:
                self._publish(lane, email_id)
            except Exception:
                if self._redis:
                    self._redis.delete(self._bell(lane, email_id))  # no task comes to answer it
                raise
        # Whatever it is, the email is stored and beat will ring: the caller must not fail.
        except Exception as error:  # noqa: BLE001
            self.missed[lane] += 1
            self._failed(lane, error)
            return False
        return True

    def pass_on(self, lane: str, email_id: str) -> bool:
        """Wake one more worker for a lane, also while its bell rings: whoever drains it calls."""
        self.answer(lane, email_id)
        return self.ring(lane, email_id)

    def ring_later(self, lane: str, email_id: str, seconds: float, *, alone: bool) -> None:
        """Wake a worker in some seconds; ``alone``: until then nobody else does. Of several for the
        same quarter of a second one counts. Raises no failure."""
        if self._celery.conf.task_always_eager:
            return
        if time.monotonic() < self._quiet_until:
            self.missed[lane] += 1
            return
        seconds = max(seconds, LATER_STEP_SECONDS)
        step = math.ceil((time.time() + seconds) / LATER_STEP_SECONDS)
        if self._later.get(lane) == step:
            return
        self._later[lane] = step
        milliseconds = round(seconds * 1000) + LATE_MS
        try:
            if self._redis and alone:
                self._redis.set(self._bell(lane), email_id, px=milliseconds)
            later = f"{self._bell(lane)}:{step}"
            if not self._begin(lane, later, email_id, milliseconds):
                return
            self._publish(lane, email_id, countdown=seconds)
        except Exception as error:  # noqa: BLE001 - as above
            self.missed[lane] += 1
            self._failed(lane, error)

    def answer(self, lane: str, email_id: str = "") -> None:
        """Silence a lane's bell: whoever commits from now on rings anew. Never raises."""
        if self._celery.conf.task_always_eager or time.monotonic() < self._quiet_until:
            return
        if self._redis:
            try:
                self._redis.delete(self._bell(lane, email_id))
            except redis.RedisError as error:
                self._failed(lane, error)

    def rings(self, lanes: Iterable[str]) -> dict[tuple[str, str], int] | None:
        """Return how often the bells of lanes were rung, by anybody: (lane, one of `RESULTS`) ->
        number. None: nobody knows."""
        if not self._redis or time.monotonic() < self._quiet_until:
            return None
        asked = [(lane, result) for lane in lanes for result in RESULTS]
        try:
            found: Any = self._redis.hmget(self._counts, [":".join(one) for one in asked])
            return {one: int(number or 0) for one, number in zip(asked, found, strict=True)}
        except (redis.RedisError, ValueError):  # somebody else's values
            return None

    def finish(self, seconds: float) -> bool:
        """Wait until all that was committed has rung. False: not within so many seconds."""
        return self._bursts.finish(seconds)

    def close(self) -> None:
        """Close the connections to Redis; the next ring opens one."""
        if self._redis is not None:
            self._redis.close()

    def forget(self) -> None:
        """Drop the connections inherited by a forked child, and leave to its parent what that has
        still to ring."""
        self._bursts = Bursts(self.ring, seconds=BURST_SECONDS)
        self.missed.clear()
        self._open()

    def _begin(self, lane: str, bell: str, email_id: str, milliseconds: int) -> bool:
        """Have a bell ring for so long. False: it rings already. Raises RedisError."""
        if not self._ring:
            return True
        missed, self.missed = self.missed, Counter()
        told = [part for of_lane in missed.items() for part in of_lane]
        try:
            rung = self._ring(keys=[bell, self._counts], args=[email_id, milliseconds, lane, *told])
        except redis.RedisError:
            self.missed.update(missed)
            raise
        return bool(rung)

    def _publish(self, lane: str, email_id: str, *, countdown: float | None = None) -> None:
        # Of seconds only: what waits for longer than its visibility timeout Redis delivers twice.
        options: dict[str, Any] = {} if countdown is None else {"countdown": countdown}
        if self._each:
            options["task_id"] = email_id
        with self._pool().acquire(block=True, timeout=PATIENCE_SECONDS) as producer:
            self._celery.tasks[self._task].apply_async(
                (email_id,),
                producer=producer,
                queue=queue_name(self._namespace, lane),
                retry=False,
                time_limit=math.ceil(self._task_seconds),
                **options,
            )
        if self._redis:
            with suppress(redis.RedisError):  # the worker is called all the same
                self._redis.hincrby(self._counts, f"{lane}:rung")

    def _pool(self) -> ProducerPool:
        with self._lock:
            if self._producers is None:
                # A web request cannot wait for a broker as long as a worker may: without these a
                # frozen Redis blocks a publish for good.
                connection = self._celery.connection_for_write(
                    transport_options={
                        "socket_timeout": PATIENCE_SECONDS,
                        "socket_connect_timeout": PATIENCE_SECONDS,
                        "max_retries": 1,
                        "interval_start": 0,
                        "interval_step": 0,
                        "connect_retries_timeout": PATIENCE_SECONDS,
                    }
                )
                self._producers = ProducerPool(connections=connection.Pool(limit=20), limit=20)
            return self._producers

    def _run_here(self, lane: str, email_id: str) -> bool:
        # Eager tasks run inside the ring; a drain that rings for its next batch loops anyway.
        draining: set[str] = self._eager.__dict__.setdefault("lanes", set())
        if lane in draining:
            return False
        draining.add(lane)
        try:
            self._celery.tasks[self._task].apply_async(
                (email_id,), task_id=email_id if self._each else None
            )
        finally:
            draining.discard(lane)
        return True

    @property
    def _counts(self) -> str:
        return f"{self._namespace}:rings"

    def _bell(self, lane: str, email_id: str = "") -> str:
        bell = f"{self._namespace}:bell:{lane}"
        return f"{bell}:{email_id}" if self._each else bell

    def _failed(self, lane: str, error: Exception) -> None:
        self._open()  # what else is kept open is as dead, and would fail once more each
        self._quiet_until = time.monotonic() + QUIET_SECONDS
        log.warning("doorbell lane=%s failed, beat will ring: %r", lane, error)


def queue_name(namespace: str, lane: str) -> str:
    """Return the Celery queue of a lane."""
    return f"{namespace}.{lane}"
