"""How many examples: the same ones in every run, unless FAULTS=long asks for more and new ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("FAULTS") == "long"


def examples(number: int, *, steps: int = 50, shrinks: bool = True) -> settings:
    """Return settings for so many examples; twenty times as many in the long form. To shrink what
    fails can take minutes."""
    phases = (Phase.explicit, Phase.generate, *([Phase.shrink] if shrinks else []))
    return settings(
        phases=phases,
        max_examples=number * 20 if LONG else number,
        stateful_step_count=steps,
        derandomize=not LONG,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=LONG,
    )
