"""The state directory: private, and held by one run at a time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mailer.dev.groups import has_ended
from mailer.dev.state import StateDirectory
from mailer.errors import MailerError

# Holds the lock, with a guardian, over a service that takes half a second to stop.
OWNER = """
import pathlib, subprocess, sys, time
from mailer.dev.guardian import Guardian
from mailer.dev.state import StateDirectory
deaf = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "open('deaf', 'w'); time.sleep(600)"
)
with StateDirectory(pathlib.Path(sys.argv[1])).locked() as lock, open("/dev/null", "wb") as log:
    guardian = Guardian(keep_open=[lock])
    service = guardian.launch([sys.executable, "-c", deaf], log=log, budget=0.5)
    while not pathlib.Path("deaf").exists():
        time.sleep(0.01)
    print(service.pid, flush=True)
    time.sleep(600)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_may_look_inside(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir(mode=0o755)
    state = StateDirectory(tmp_path / "dev")
    state.secret_key()
    assert mode(state.path) == 0o700
    assert mode(state.path / "secret-key") == 0o600


def test_the_secret_key_is_made_once_of_256_bits(tmp_path: Path) -> None:
    key = StateDirectory(tmp_path).secret_key()
    assert StateDirectory(tmp_path).secret_key() == key
    assert len(key) == 43  # 32 bytes in base64, without padding
    assert StateDirectory(tmp_path / "other").secret_key() != key


def test_a_shell_reads_the_apps_settings_from_a_private_file_that_ends_with_the_run(
    tmp_path: Path,
) -> None:
    value = """it's "$HOME" `id`\n; exit 1"""
    (tmp_path / "env").write_text("left by a run that was killed")
    (tmp_path / "env").chmod(0o644)
    settings = {"FLASK_A__b": value, "FLASK_EMPTY": "", "FLASK_A-B": "1", "AWS_KEY": "secret"}
    with StateDirectory(tmp_path).environment_file(settings) as path:
        assert mode(path) == 0o600
        shell = 'set -eu; . "$0"; printf "%s|" "$FLASK_A__b" "$FLASK_EMPTY"'
        done = subprocess.run(
            ["sh", "-c", shell, path], env={}, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{value}||"
        assert "secret" not in path.read_text()
    assert not path.exists()


def test_a_second_run_is_refused_with_the_place_and_the_process(tmp_path: Path) -> None:
    with (
        StateDirectory(tmp_path).locked(),
        pytest.raises(MailerError, match=rf"already runs in {tmp_path} \(process {os.getpid()}\)"),
        StateDirectory(tmp_path).locked(),
    ):
        pass


def test_the_directory_is_free_after_a_run(tmp_path: Path) -> None:
    for _ in range(2):
        with StateDirectory(tmp_path).locked():
            pass


def test_after_a_kill_the_directory_is_free_once_the_services_have_ended(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        service = int(owner.stdout.readline())
        os.kill(owner.pid, signal.SIGKILL)
    began = time.monotonic()
    with StateDirectory(tmp_path).locked():
        assert time.monotonic() - began > 0.3
        assert has_ended(service)
