"""Every setting: name, type, default, meaning. Nothing else in the package reads the environment.

Values come from ``app.config``, from ``FLASK_<NAME>`` in the environment and, for the service,
from ``.env``. A wrong value stops the start with the variable, the value and what was expected.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping, MutableMapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from limits import parse as parse_rate
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from . import addresses, dsn
from .destination import Allowed
from .errors import SettingError

PREFIX = "FLASK_"


Parser = Callable[[Any], Any]


def text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # Flask's JSON parsing made a number of it
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def secret(value: Any) -> str:
    """What proves who asks, so that it must not be guessed."""
    if len(text(value)) < 16:
        raise ValueError("at least 16 characters")
    return text(value)


def secrets(value: Any) -> tuple[str, ...]:
    """Several secrets: a list, also in JSON, or in one text with commas or spaces between them."""
    expected = "secrets of at least 16 characters, with commas between them"
    try:
        if isinstance(value, str):
            value = json.loads(value) if value.startswith("[") else value.replace(",", " ").split()
        # A text in the place of the list would make a key of each of its characters.
        if not isinstance(value, (list, tuple)):
            raise ValueError(expected)
        return tuple(secret(one) for one in value)
    except (ValueError, RecursionError):
        raise ValueError(expected) from None


def boolean(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False, "": False}
    if isinstance(value, bool):
        return value
    try:
        return words[str(value).strip().lower()]
    except KeyError:
        raise ValueError("true or false") from None


def whole(low: int, high: int) -> Parser:
    def parse(value: Any) -> int:
        expected = f"a whole number from {low} to {high}"
        if isinstance(value, (bool, float)):
            raise ValueError(expected)
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ValueError(expected) from None
        if not low <= number <= high:
            raise ValueError(expected)
        return number

    return parse


def seconds(low: float, high: float) -> Parser:
    def parse(value: Any) -> float:
        expected = f"seconds, from {low:g} to {high:g}"
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(expected) from None
        if isinstance(value, bool) or not low <= number <= high:
            raise ValueError(expected)
        return number

    return parse


def choice(*words: str) -> Parser:
    def parse(value: Any) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(words))
        return str(value)

    return parse


def base_url(value: Any) -> str:
    url = text(value).rstrip("/")
    if not url.startswith(("http://", "https://")) or any(c in url for c in " \r\n?#"):
        raise ValueError("an address such as https://app.example.com")
    return url


def database_url(value: Any) -> str:
    url = text(value)
    for short in ("postgres://", "postgresql://"):
        if url.startswith(short):
            url = "postgresql+psycopg://" + url.removeprefix(short)
    # Every connection would have a memory of its own, and workers are other processes.
    in_memory = url.removeprefix("sqlite:///") in {"", ":memory:"}
    expected = "sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    if in_memory or not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError(expected)
    try:
        make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(expected) from None
    return url


def redis_url(value: Any) -> str:
    url = text(value)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("redis://HOST:PORT/NUMBER, rediss://... or unix://PATH")
    return url


def namespace(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text(value)):
        raise ValueError("1 to 40 letters, digits, _ or -")
    return str(value)


def allowed_hosts(value: Any) -> tuple[str, ...]:
    entries = value.replace(",", " ").split() if isinstance(value, str) else value
    try:
        Allowed([text(entry) for entry in entries])
    except (TypeError, ValueError):
        raise ValueError("names, addresses and networks such as 10.1.0.0/16") from None
    return tuple(entries)


def networks(value: Any) -> str:
    try:
        for one in text(value).replace(",", " ").split():
            ip_network(one)
    except ValueError:
        raise ValueError("addresses and networks such as 127.0.0.1, 10.1.0.0/16") from None
    return str(value)


def rate(value: Any) -> str:
    try:
        parse_rate(text(value))
    except ValueError:
        raise ValueError("a rate such as 5/hour or 100/day") from None
    return str(value)


def sentry_dsn(value: Any) -> str:
    url = text(value)
    if not re.fullmatch(r"https?://[^@/\s]+@[^@/\s]+/(?:\S*/)?[0-9]+", url):
        raise ValueError("what Sentry calls a DSN: https://KEY@HOST/NUMBER")
    return url


def sender(value: Any) -> str | tuple[str, str]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        value = (text(value[0]), text(value[1]))
    else:
        value = text(value)
    try:
        addresses.parse(value, allow_test_domains=True)
    except ValueError:
        raise ValueError("an address such as 'Acme <hello@acme.example>'") from None
    return value  # type: ignore[no-any-return]


def host(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]+", text(value)):
        raise ValueError("the name or address of a server")
    return str(value)


def ehlo_name(value: Any) -> str:
    if not re.fullmatch(r"[!-~]+", text(value)):
        raise ValueError("a host name, or an address literal such as [192.0.2.7]")
    return str(value)


def existing(kind: str) -> Parser:
    def parse(value: Any) -> str:
        path = Path(text(value))
        expected = f"the path of a {kind} that is there"
        try:
            is_there = path.is_file() if kind == "file" else path.is_dir()
        except (OSError, ValueError):  # too long, or with a null byte
            raise ValueError(expected) from None
        if not is_there:
            raise ValueError(expected)
        return str(path)

    return parse


def topics(value: Any) -> tuple[str, ...]:
    """Names of topics of Amazon SNS."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    expected = "names such as arn:aws:sns:eu-west-1:123456789012:bounces, with spaces between them"
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(expected)
    for one in value:
        if not re.fullmatch(
            r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}", text(one)
        ):
            raise ValueError(expected)
    return tuple(value)


class Setting(NamedTuple):
    """One row of the table. A default of None means unset."""

    name: str
    parse: Parser
    default: Any
    meaning: str
    secret: bool = False


SETTINGS: tuple[Setting, ...] = (
    # Flask
    Setting("SECRET_KEY", text, None, "signs sessions and links in emails; needed by the service", True),
    Setting("SECRET_KEY_FALLBACKS", secrets, None,
            "what SECRET_KEY was before, the newest first: links that it signed go on working", secret=True),
    # Flask-Mail: how to reach the SMTP server
    Setting("MAIL_SERVER", host, "127.0.0.1", "SMTP server"),
    Setting("MAIL_PORT", whole(1, 65535), 25, "its port"),
    Setting("MAIL_USE_TLS", boolean, False, "STARTTLS, verified; never falls back to plaintext"),
    Setting("MAIL_USE_SSL", boolean, False, "TLS from the first byte, verified (port 465)"),
    Setting("MAIL_USERNAME", text, None, "user name for AUTH"),
    Setting("MAIL_PASSWORD", text, None, "password for AUTH; never sent without TLS but to loopback", True),
    Setting("MAIL_DEFAULT_SENDER", sender, None, "From of emails that name none"),
    Setting("MAIL_MAX_EMAILS", whole(1, 1_000_000), 1000, "emails over one connection before a new one"),
    Setting("MAIL_SUPPRESS_SEND", boolean, None, "record, but do not send (default: only while TESTING)"),
    Setting("MAIL_ASCII_ATTACHMENTS", boolean, False, "reduce the file names of attachments to ASCII"),
    Setting("MAIL_DEBUG", boolean, False, "log every reply of the SMTP server; never a secret"),
    Setting("MAIL_CA_FILE", existing("file"), None, "certificates to trust instead of the system's"),
    Setting("MAIL_LOCAL_HOSTNAME", ehlo_name, None, "name to say in EHLO (default: the address literal)"),
    Setting("MAIL_CONNECT_TIMEOUT_SECONDS", seconds(0.1, 300), 10, "for connecting and the greeting"),
    Setting("MAIL_TIMEOUT_SECONDS", seconds(0.1, 600), 30, "for the reply to each command"),
    Setting("MAIL_FINAL_TIMEOUT_SECONDS", seconds(0.1, 1200), 120, "for the reply after the final dot"),
    # The dispatcher
    Setting("MAILER_TRANSPORTS", dsn.parse, None,
            "servers by name, with limits and rules: docs/transports.md (default: the one of MAIL_*)", secret=True),
    Setting("MAILER_DATABASE_URL", database_url, "sqlite:///mailer.sqlite3",
            "the ledger: SQLite (relative to the instance folder) or PostgreSQL", secret=True),
    Setting("MAILER_SQLITE_SYNCHRONOUS", choice("FULL", "NORMAL"), "FULL",
            "FULL: an accepted email survives a power cut; NORMAL: only a crash, but faster"),
    Setting("MAILER_REDIS_URL", redis_url, None, "doorbells and limits (default: Celery's broker)", secret=True),
    Setting("MAILER_NAMESPACE", namespace, "mailer", "begins the names of queues and of keys in Redis: one for each ledger"),
    Setting("MAILER_BASE_URL", base_url, "http://127.0.0.1:5000", "where links in emails lead"),
    Setting("MAILER_PRODUCT_NAME", text, "Mailer", "name shown in emails and pages"),
    Setting("MAILER_TEMPLATES", existing("folder"), None, "one more folder of email templates, looked at first"),
    Setting("MAILER_ALLOW_TEST_DOMAINS", boolean, False, "accept addresses under .test and localhost"),
    Setting("MAILER_BATCH", whole(1, 1000), 100, "deliveries that a worker claims at once"),
    Setting("MAILER_DRAIN_SECONDS", seconds(0.1, 600), 20, "a task drains so long, then passes on"),
    Setting("MAILER_TASK_SECONDS", seconds(1, 3600), 360, "hard limit of one task"),
    Setting("MAILER_LEASE_SECONDS", seconds(1, 7200), 600, "a claim is given up after so long"),
    Setting("MAILER_SWEEP_SECONDS", seconds(0.5, 60), 5, "how often beat looks for due deliveries"),
    Setting("MAILER_MAX_ATTEMPTS", whole(1, 100), 12, "attempts before a delivery fails"),
    Setting("MAILER_BACKOFF_BASE_SECONDS", seconds(0, 3600), 30, "wait after the first deferral; doubles"),
    Setting("MAILER_BACKOFF_CAP_SECONDS", seconds(0, 86_400), 14_400, "longest wait between attempts"),
    Setting("MAILER_MAX_RECIPIENTS", whole(1, 10_000), 100, "recipients of one email"),
    Setting("MAILER_MAX_CONTEXT_BYTES", whole(1, 10_000_000), 65_536, "size of a context as JSON"),
    Setting("MAILER_MAX_BODY_BYTES", whole(1, 50_000_000), 1_000_000, "size of a text or HTML body given to dispatch"),
    Setting("MAILER_MAX_ATTACHMENT_BYTES", whole(0, 50_000_000), 10_000_000, "attachments of one email, together"),
    Setting("MAILER_MAX_BULK_BYTES", whole(1, 2_000_000_000), 200_000_000, "file of recipients of a bulk send"),
    Setting("MAILER_SUPPRESS_BOUNCES", boolean, True, "mail no more to an address that a server says nobody has (5.1.1)"),
    Setting("MAILER_KEEP_BODIES_DAYS", whole(0, 3650), 7, "content of what is final is erased after so long without a change"),
    Setting("MAILER_KEEP_DAYS", whole(1, 3650), 90, "and the whole email, with its history, after so long"),
    Setting("MAILER_LOG_FORMAT", choice("lines", "json"), "lines", "how web, workers and beat log: docs/observability.md"),
    Setting("MAILER_SENTRY_DSN", sentry_dsn, None, "where bugs are told: docs/observability.md", secret=True),
    Setting("MAILER_WEBHOOK_ALLOW", allowed_hosts, None,
            "hosts where webhooks may be that are not public or have no https: names, addresses, networks"),
    # Reports of mail systems: docs/inbound.md
    Setting("MAILER_SES_TOPICS", topics, None, "SNS topics that may report what became of emails sent over SES"),
    Setting("MAILER_POSTMARK_TOKEN", secret, None, "password with which Postmark reports", secret=True),
    Setting("MAILER_SENDGRID_PUBLIC_KEY", text, None, "verification key of SendGrid's signed event webhook"),
    Setting("MAILER_MAILGUN_SIGNING_KEY", secret, None, "Mailgun's HTTP webhook signing key", secret=True),
    # The console: docs/console.md
    Setting("MAILER_CONSOLE_USER_HEADER", text, None,
            "header in which a proxy in front names who is signed in, such as X-Forwarded-User"),
    Setting("MAILER_CONSOLE_USER_HEADER_FROM", networks, "127.0.0.1, ::1", "addresses of proxies whose word that is"),
    Setting("MAILER_METRICS_TOKEN", secret, None, "what Prometheus shows to read /metrics: docs/metrics.md (default: nobody may)", secret=True),
    # Accounts
    Setting("MAILER_LIMIT_PER_ADDRESS", rate, "5/hour", "account emails that may be asked for one address"),
    Setting("MAILER_LIMIT_PER_CLIENT", rate, "30/hour", "account emails that one client may ask for"),
    Setting("MAILER_TRUSTED_PROXIES", whole(0, 10), 0, "reverse proxies in front that set X-Forwarded-*"),
    Setting("MAILER_CONFIRM_SECONDS", seconds(60, 2_592_000), 172_800, "validity of a confirmation link"),
    Setting("MAILER_RESET_SECONDS", seconds(60, 86_400), 3600, "validity of a reset link"),
)  # fmt: skip

_BY_NAME = {setting.name: setting for setting in SETTINGS}


def load(config: MutableMapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Type and check every setting in ``config``; unset ones get their default.

    A value that came from the environment is parsed from the raw text, because Flask's JSON
    parsing has by then turned a password of digits into a number and left "False" truthy.
    Raises SettingError.
    """
    _refuse_unknown(
        [*config, *(key.removeprefix(PREFIX) for key in environ if key.startswith(PREFIX))]
    )
    for setting in SETTINGS:
        raw = environ.get(PREFIX + setting.name)
        value = config.get(setting.name)
        # A value that the code set differs from what Flask made of the environment's.
        if raw is not None and (value is None or value in (raw, _flask_parsed(raw))):
            value = raw
        # In the environment, and in Flask's own defaults, empty means unset.
        if value is None or value == "":
            config[setting.name] = setting.default
            continue
        try:
            config[setting.name] = setting.parse(value)
        except ValueError as error:
            shown = "a secret value" if setting.secret else repr(value)
            raise SettingError(f"{setting.name}: expected {error}, got {shown}") from None
    config["CELERY"] = celery_settings(config.get("CELERY") or {})
    if config["MAIL_SUPPRESS_SEND"] is None:
        config["MAIL_SUPPRESS_SEND"] = bool(config.get("TESTING"))
    _check_relations(config)


def celery_settings(given: Any) -> dict[str, Any]:
    """Celery's settings under the lower-case names that Celery reads.

    ``FLASK_CELERY__BROKER_URL`` arrives as ``{"BROKER_URL": ...}``, which Celery would ignore.
    """
    if not isinstance(given, Mapping):
        raise SettingError(f"CELERY: expected a mapping of Celery's settings, got {given!r}")
    settings = {str(key).lower(): value for key, value in given.items()}
    options = settings.get("broker_transport_options")
    if isinstance(options, Mapping):
        settings["broker_transport_options"] = {str(k).lower(): v for k, v in options.items()}
    return settings


def message_budget(config: Mapping[str, Any]) -> float:
    """Seconds that one email is reckoned to take at worst, from connecting to the last reply."""
    servers = [one.server(config) for one in transports(config)]
    return max(one.connect_timeout + one.message_timeout for one in servers)


def message_timeout(config: Mapping[str, Any]) -> float:
    """Seconds that a message may take once its first byte has left, to the last reply."""
    return max(one.server(config).message_timeout for one in transports(config))


def transports(config: Mapping[str, Any]) -> tuple[dsn.Dsn, ...]:
    """Return the transports in their order: those of MAILER_TRANSPORTS, or the one of MAIL_*."""
    named: tuple[dsn.Dsn, ...] | None = config["MAILER_TRANSPORTS"]
    return named or (
        dsn.Dsn(
            name="default",
            security="tls"
            if config["MAIL_USE_SSL"]
            else "starttls"
            if config["MAIL_USE_TLS"]
            else "none",
            host=config["MAIL_SERVER"],
            port=config["MAIL_PORT"],
            username=config["MAIL_USERNAME"],
            password=config["MAIL_PASSWORD"],
        ),
    )


def _flask_parsed(raw: str) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw


def _refuse_unknown(names: list[str]) -> None:
    for name in names:
        if name.startswith("MAILER_") and name not in _BY_NAME:
            near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0)[0]
            raise SettingError(f"{name}: there is no such setting; did you mean {near}?")


def _check_relations(config: Mapping[str, Any]) -> None:
    if config["MAIL_USE_TLS"] and config["MAIL_USE_SSL"]:
        raise SettingError("MAIL_USE_TLS and MAIL_USE_SSL: expected at most one of them to be true")
    if bool(config["MAIL_USERNAME"]) != bool(config["MAIL_PASSWORD"]):
        raise SettingError("MAIL_USERNAME and MAIL_PASSWORD: expected both or neither")
    options = config["CELERY"].get("broker_transport_options") or {}
    visibility = options.get("visibility_timeout", 3600)
    if not isinstance(visibility, (int, float)):
        raise SettingError(f"CELERY: visibility_timeout: expected seconds, got {visibility!r}")
    chain = (
        (
            "the time one email may take (timeouts of MAIL_* and MAILER_TRANSPORTS)",
            message_budget(config),
        ),
        ("MAILER_TASK_SECONDS", config["MAILER_TASK_SECONDS"]),
        ("MAILER_LEASE_SECONDS", config["MAILER_LEASE_SECONDS"]),
        ("Celery's visibility_timeout", visibility),
    )
    for (low, less), (high, more) in itertools.pairwise(chain):
        if less >= more:
            raise SettingError(f"{low}: expected less than {high} ({more:g} s), got {less:g} s")
    if config["MAILER_BACKOFF_BASE_SECONDS"] > config["MAILER_BACKOFF_CAP_SECONDS"]:
        raise SettingError(
            "MAILER_BACKOFF_BASE_SECONDS: expected at most MAILER_BACKOFF_CAP_SECONDS "
            f"({config['MAILER_BACKOFF_CAP_SECONDS']:g}), got "
            f"{config['MAILER_BACKOFF_BASE_SECONDS']:g}"
        )
    if config["MAILER_KEEP_BODIES_DAYS"] > config["MAILER_KEEP_DAYS"]:
        raise SettingError(
            "MAILER_KEEP_BODIES_DAYS: expected at most MAILER_KEEP_DAYS "
            f"({config['MAILER_KEEP_DAYS']}), got {config['MAILER_KEEP_BODIES_DAYS']}"
        )
    if config["MAILER_DRAIN_SECONDS"] + message_budget(config) > config["MAILER_TASK_SECONDS"]:
        room = config["MAILER_TASK_SECONDS"] - message_budget(config)
        raise SettingError(
            f"MAILER_DRAIN_SECONDS: expected at most {room:g}, so that a task which starts its last "
            f"email then still ends in time, got {config['MAILER_DRAIN_SECONDS']:g}"
        )
