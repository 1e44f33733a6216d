"""The embedded Redis: a real server, its faults, and where it cannot be had."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from mailer.dev.redis import EmbeddedRedis, answers_ping, find_server
from mailer.errors import MailerError, UnsupportedPlatform


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as server:
        yield server


def client(server: EmbeddedRedis) -> Any:
    return redis.Redis.from_url(server.url, socket_timeout=0.5, retry=None)


def test_it_answers_as_soon_as_it_is_started(server: EmbeddedRedis) -> None:
    with client(server) as connection:
        connection.set("key", "value")
        assert connection.get("key") == b"value"


def test_it_listens_on_the_loopback_interface_only(server: EmbeddedRedis) -> None:
    with client(server) as connection:
        assert connection.config_get("bind") == {"bind": "127.0.0.1"}


def test_no_queue_is_ever_evicted(server: EmbeddedRedis) -> None:
    with client(server) as connection:
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_stop_and_a_start_keep_address_and_data(server: EmbeddedRedis) -> None:
    url = server.url
    with client(server) as connection:
        connection.set("key", "value")
    server.stop()
    assert not answers_ping(server.port)
    server.start()
    assert server.url == url
    with client(server) as connection:
        assert connection.get("key") == b"value"


def test_a_kill_loses_nothing_that_was_on_disk(server: EmbeddedRedis) -> None:
    with client(server) as connection:
        connection.set("key", "value")
        local, _ = connection.execute_command("WAITAOF", 1, 0, 3000)
        assert local == 1
    server.kill()
    assert not answers_ping(server.port)
    server.start()
    with client(server) as connection:
        assert connection.get("key") == b"value"


def test_a_frozen_server_answers_nothing_until_it_is_thawed(server: EmbeddedRedis) -> None:
    with client(server) as connection:
        connection.ping()
        server.freeze()
        with pytest.raises(redis.exceptions.TimeoutError):
            connection.ping()
    server.thaw()
    with client(server) as connection:
        assert connection.ping()


def test_a_frozen_server_can_be_stopped(server: EmbeddedRedis) -> None:
    server.freeze()
    server.stop()
    assert server.process is None
    assert not answers_ping(server.port)


def test_a_second_start_is_refused(server: EmbeddedRedis) -> None:
    with pytest.raises(MailerError, match="already running"):
        server.start()


def test_a_busy_port_fails_with_the_words_of_the_server(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    with pytest.raises(MailerError, match=rf"127.0.0.1:{server.port}.*already in use"):
        EmbeddedRedis(tmp_path / "other", port=server.port).start()


def test_it_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from mailer.dev.redis import EmbeddedRedis\n"
        "server = EmbeddedRedis(pathlib.Path(sys.argv[1]))\n"
        "server.start()\n"
        "print(server.port, flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner:
        port = int(owner.stdout.readline())
        assert answers_ping(port)
        os.kill(owner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while answers_ping(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not answers_ping(port)


def test_a_server_on_the_path_serves_where_none_is_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis-server").symlink_to(find_server())
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == str(tmp_path / "redis-server")


def test_a_server_that_does_not_run_here_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    (tmp_path / "redis-server").symlink_to(find_server())
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == str(tmp_path / "redis-server")


@pytest.mark.parametrize(
    ("system", "tool", "words"),
    [
        ("Linux", "apt-get", "apt install redis-server"),
        ("Linux", "apk", "apk add valkey"),
        ("Darwin", "brew", "brew install valkey"),
        ("FreeBSD", "none", "apt install redis-server"),
    ],
)
def test_without_any_server_one_sentence_names_the_package(
    system: str, tool: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / tool).write_text("#!/bin/sh\n")
    (tmp_path / tool).chmod(0o755)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedPlatform) as caught:
        find_server()
    assert words in str(caught.value)
    assert f"{system} riscv64" in str(caught.value)
    assert "\n" not in str(caught.value)
