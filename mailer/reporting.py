"""Keep what mail systems report, and log what followed: for the HTTP API and for mail."""

from __future__ import annotations

import logging

from .inbound.told import Heard
from .ledger import Reported
from .state import State

log = logging.getLogger(__name__)


def keep(state: State, source: str, heard: Heard) -> Reported:
    """Store what is in one message of a source. Raises LedgerUnavailable."""
    reported = Reported(stored=0, known=0, unmatched=0, proven=[])
    if heard.told:
        reported = state.ledger.report(
            heard.told, suppress_bounces=state.config["MAILER_SUPPRESS_BOUNCES"]
        )
    for one in reported.proven:
        log.info("delivery=%d status=sent reason=reported source=%s", one.delivery_id, source)
    log.info(
        "inbound source=%s stored=%d known=%d unmatched=%d ignored=%d malformed=%d",
        source,
        reported.stored,
        reported.known,
        reported.unmatched,
        heard.ignored,
        len(heard.malformed),
    )
    if heard.malformed:
        log.warning("inbound source=%s malformed: %s", source, "; ".join(heard.malformed)[:1000])
    return reported
