"""Clocks that are set wrong, for some processes alone, by libfaketime."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shifted(seconds: int) -> dict[str, str]:
    """Return what the environment of a process needs so that its clock is so far off.

    Skips where libfaketime is not installed; in CI, fails.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        reason = "no libfaketime here: install the package faketime to run these tests"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{seconds:+d}s",
        # What counts seconds stays right. Two versions of libfaketime, two names.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
