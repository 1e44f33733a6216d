"""Whatever a server does to messages that travel at once, what is sent is what it accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import event, given
from hypothesis import strategies as st

from mailer.outcome import Kind, Outcome
from mailer.smtp import Envelope

from ..smtp_server import CLOSE, GOOD, HANG, RESET, VANISH, Do, SMTPServer
from ..test_group import FEATURES, Script, group_to
from ..test_transport import envelopes
from .conftest import examples

MANY = 30
LARGE = 4_000_000
"""Bytes that do not fit into the buffers of a loopback connection."""

refusals = [Do(b"451 4.3.0 later\r\n"), Do(b"550 5.1.1 never\r\n"), Do(b"421 4.7.0 not now\r\n")]
losses = [
    *(CLOSE, RESET, VANISH, HANG),
    Do(b"250 2.0", "close"),
    Do(b"421 4.3.2 closing\r\n", "close"),
    Do(b"550 5.7.1 never\r\n", "close"),
    Do(b"421-4.3.2 closing\r\n421 4.3.2 now\r\n", "reset"),
]
confusion = [
    Do(b"hello there\r\n"),
    Do(b"354 go on\r\n"),
    Do(b"250 2.0.0 ok\r\n250 2.0.0 and one too many\r\n"),
]
silence = Do(b"")
"""No reply, and the next is taken for it. (To a message: nobody can tell from that to RSET.)"""
after_all = [Do(b"250 2.0.0 queued\r\n", "close"), Do(b"", "vanish", accept=True)]


def scripts(faults: Sequence[Do]) -> st.SearchStrategy[list[Do]]:
    """Return what happens at one stage of each message: now and then a fault."""
    seldom = st.integers(0, 9).flatmap(lambda n: st.sampled_from(faults) if n == 9 else good)
    return st.lists(seldom, min_size=MANY, max_size=MANY)


good = st.just(GOOD)
honest = st.fixed_dictionaries(
    {
        "rset": scripts(losses),
        "mail": scripts([*refusals, *losses]),
        "rcpt": scripts([*refusals, *losses]),
        "body": scripts([CLOSE, RESET, VANISH]),
        "dot": scripts([*refusals, *losses, *after_all]),
    }
)


@st.composite
def confused(draw: st.DrawFn) -> dict[str, list[Do]]:
    """Return the script of a server that refuses now and then, and loses count once: of one that
    does it again, or breaks off as well, nothing can be known. It answers a group at one go: a
    reply too many that comes after all were taken for heard is one that nobody can see."""
    script = {stage: draw(scripts(refusals)) for stage in ("mail", "rcpt", "dot")}
    stage = draw(st.sampled_from(["rset", "mail", "rcpt", "dot"]))
    fault = draw(st.sampled_from([*confusion, *([] if stage == "dot" else [silence])]))
    script.setdefault(stage, [GOOD] * MANY)[draw(st.integers(0, MANY - 1))] = fault
    return script


features = st.sampled_from([FEATURES, FEATURES, FEATURES[:1]])


def emails(other: str) -> st.SearchStrategy[list[Envelope]]:
    kinds = st.sampled_from([*[""] * 9, other, "alone", "unfit"])
    return st.lists(kinds, min_size=MANY, max_size=MANY).map(varied)


def varied(kinds: list[str]) -> list[Envelope]:
    messages = envelopes(MANY)
    for position, kind in enumerate(kinds):
        if kind == "large":
            messages[position] = messages[position]._replace(message=bytes(LARGE))
        elif kind == "alone":
            messages[position] = messages[position]._replace(alone=True)
        elif kind == "unfit":
            messages[position] = messages[position]._replace(recipient=f"no address {position}")
    return messages


@examples(120, shrinks=False)
@given(
    case=st.tuples(honest, emails("large")) | st.tuples(confused(), emails("")),
    most=st.sampled_from([1000, 1000, 7]),
    offers=st.lists(features, min_size=1, max_size=4),
    denied=st.none() | st.integers(0, MANY),
)
def test_what_is_sent_was_accepted_once_and_what_was_accepted_is_sent_or_in_doubt(
    case: tuple[Script, list[Envelope]],
    most: int,
    offers: list[tuple[str, ...]],
    denied: int | None,
) -> None:
    script, given = case
    told: list[Outcome] = []

    def may_start() -> bool:
        smtp.features = list(offers[len(smtp.sessions) % len(offers)])
        return denied is None or len(told) < denied

    with (
        SMTPServer(features=FEATURES) as smtp,
        group_to(smtp, most=most, timeout=0.2, final_timeout=0.2) as transport,
    ):
        for stage, items in script.items():
            smtp.then(stage, *items)
        for outcome in transport.send(given, may_start=may_start):
            told.append(outcome)
    accepted = Counter(smtp.recipients)
    assert len(told) == MANY
    for envelope, outcome in zip(given, told, strict=True):
        copies = accepted.pop(envelope.recipient, 0)
        event(f"{outcome.kind}")
        if outcome.kind is Kind.SENT:
            assert copies == 1, envelope.recipient
        elif outcome.kind is Kind.AMBIGUOUS:
            assert copies <= 1, envelope.recipient
        else:
            assert copies == 0, (envelope.recipient, outcome)
    assert not accepted
