"""The development stack: ports, and settings that give way to the user's."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mailer.dev.ports import choose, free_port
from mailer.dev.redis import find_server
from mailer.dev.stack import Ports, child_environment, choose_ports, development_services
from mailer.dev.state import StateDirectory
from mailer.dev.terminal import Terminal

PORTS = Ports(web=5001, smtp=2526, inbox=8026, redis=21000)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "dev")


def test_a_free_port_is_taken_as_it_is() -> None:
    port = free_port()
    assert choose(port) == port


def test_a_busy_port_gives_way_to_the_next_free_one() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as busy:
        port = busy.getsockname()[1]
        assert port < choose(port) < port + 20


def test_a_port_that_is_bound_but_does_not_listen_is_busy() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", free_port()))
        assert choose(busy.getsockname()[1]) != busy.getsockname()[1]


def test_what_is_not_as_usual_is_said_in_a_line_each() -> None:
    busy = []
    try:
        for port in (5000, 8025, 2525):
            try:
                busy.append(socket.create_server(("127.0.0.1", port)))
            except OSError:
                pass  # Somebody else has it: busy just the same.
        output = io.StringIO()
        ports = choose_ports({}, Terminal(output, colour=False), demo=False)
    finally:
        for listener in busy:
            listener.close()
    assert sorted(output.getvalue().splitlines()) == [
        f"  Port 2525 is busy: smtp takes {ports.smtp}",
        f"  Port 5000 is busy: web takes {ports.web}",
        f"  Port 8025 is busy: inbox takes {ports.inbox}",
    ]


def test_every_service_is_told_of_the_servers_of_the_stack(state: StateDirectory) -> None:
    settings = child_environment({"HOME": "/nonexistent"}, PORTS, state)
    assert settings["HOME"] == "/nonexistent"
    assert settings["FLASK_CELERY__broker_url"] == "redis://127.0.0.1:21000/0"
    assert settings["FLASK_CELERY__result_backend"] == "redis://127.0.0.1:21000/0"
    assert settings["FLASK_CELERY__broker_transport_options"] == '{"polling_interval": 0.2}'
    assert settings["FLASK_MAIL_SERVER"] == "127.0.0.1"
    assert settings["FLASK_MAIL_PORT"] == "2526"
    assert settings["FLASK_MAILER_TRANSPORTS"] == (
        "default=smtp://127.0.0.1:2526, test=smtp://127.0.0.1:2526?for=test"
    )
    assert settings["FLASK_MAILER_BASE_URL"] == "http://127.0.0.1:5001"
    assert settings["FLASK_MAILER_DATABASE_URL"] == f"sqlite:///{state.path}/mailer.sqlite3"
    assert settings["FLASK_SECRET_KEY"] == state.secret_key()


@pytest.mark.parametrize("name", ["FLASK_CELERY__broker_url", "FLASK_CELERY__BROKER_URL"])
def test_with_a_broker_of_ones_own_no_redis_is_started(state: StateDirectory, name: str) -> None:
    mine = {name: "redis://10.0.0.5:6379/3"}
    output = io.StringIO()
    ports = choose_ports(mine, Terminal(output, colour=False), demo=False)
    assert ports.redis is None
    assert "no Redis is started" in output.getvalue()
    settings = child_environment(mine, ports, state)
    celery = {key: value for key, value in settings.items() if "CELERY" in key}
    assert celery == mine
    assert "redis" not in {service.name for service in development_services(ports, state)}


@pytest.mark.parametrize("spelling", [str, str.upper])
def test_broker_options_of_ones_own_are_kept(
    state: StateDirectory, spelling: Callable[[str], str]
) -> None:
    name = spelling("FLASK_CELERY__broker_transport_options")
    settings = child_environment({name: '{"visibility_timeout": 7200}'}, PORTS, state)
    options = {key: value for key, value in settings.items() if "OPTIONS" in key.upper()}
    assert options == {name: '{"visibility_timeout": 7200}'}


def test_with_an_smtp_server_of_ones_own_mail_goes_there(state: StateDirectory) -> None:
    mine = {"FLASK_MAIL_SERVER": "smtp.example.com", "FLASK_MAIL_USE_TLS": "true"}
    output = io.StringIO()
    ports = choose_ports(mine, Terminal(output, colour=False), demo=False)
    assert "smtp.example.com: mail goes there" in output.getvalue()
    settings = child_environment(mine, ports, state)
    assert mine.items() <= settings.items()
    assert "FLASK_MAIL_PORT" not in settings
    assert "catcher" not in {service.name for service in development_services(ports, state)}


def test_the_demo_mails_nobody_but_its_own_catcher(state: StateDirectory) -> None:
    mine = {
        "FLASK_MAIL_SERVER": "smtp.example.com",
        "FLASK_MAIL_USE_TLS": "true",
        "FLASK_MAIL_USERNAME": "ada",
        "FLASK_MAIL_PASSWORD": "secret",
    }
    ports = choose_ports(mine, Terminal(io.StringIO(), colour=False), demo=True)
    assert ports.smtp is not None
    settings = child_environment(mine, ports, state)
    assert settings["FLASK_MAIL_SERVER"] == "127.0.0.1"
    assert settings["FLASK_MAIL_PORT"] == str(ports.smtp)
    assert settings["FLASK_MAIL_USE_TLS"] == "false"
    assert settings["FLASK_MAIL_USERNAME"] == settings["FLASK_MAIL_PASSWORD"] == ""


def test_everything_that_needs_redis_waits_for_it(state: StateDirectory) -> None:
    services = {service.name: service for service in development_services(PORTS, state)}
    assert list(services) == ["redis", "catcher", "worker", "beat", "web"]
    assert services["redis"].command[0] == find_server()
    for name in ("worker", "web"):
        assert "redis" in services[name].after
    assert services["beat"].after == ("worker", "web")


def test_the_budgets_add_up_to_less_than_five_seconds(state: StateDirectory) -> None:
    stages: dict[int, float] = {}
    for service in development_services(PORTS, state):
        stages[service.stage] = max(service.budget, stages.get(service.stage, 0))
    assert sum(stages.values()) < 5
