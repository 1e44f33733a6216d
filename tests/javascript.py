"""Programs of Node, with the packages of tests/node."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .worker import CHECKOUT

FOLDER = CHECKOUT / "tests" / "node"
OLDEST = 20


def missing() -> str | None:
    """Return why no program can be run here. None: nothing is missing."""
    node = shutil.which("node")
    if node is None:
        return "no Node here: install the packages nodejs and npm to run these tests"
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.lstrip("v").partition(".")[0]) < OLDEST:
        return f"Node {OLDEST} or newer is needed, and this is {told.strip()}"
    if not (FOLDER / "node_modules").is_dir():
        return "the packages of tests/node are not installed: make .venv/node.stamp"
    return None


def require() -> None:
    """Skip the test where Node is missing; in CI let it fail."""
    if reason := missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def run(script: Path, given: str = "", **environ: str) -> str:
    """Run a script to its end, which must be a good one; return what it printed."""
    done = subprocess.run(
        ["node", str(script)],
        input=given,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{script.name}: {done.stdout}{done.stderr}"
    return done.stdout
