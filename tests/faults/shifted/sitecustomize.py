"""Found by each Python with a shifted clock, before anything else runs.

libfaketime 0.9.10 cannot sleep on a monotonic clock that it leaves alone: Python's `time.sleep`
raises EINVAL. `select` can.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep  # type: ignore[assignment]
