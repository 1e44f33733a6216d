"""Every setting: name, type, default, meaning. Nothing else in the package reads the environment.

Values come from ``app.config``, from ``FLASK_<NAME>`` in the environment and, for the service,
from ``.env``. A wrong value stops the start with the variable, the value and what was expected.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

from . import dsn
from .errors import SettingError
from .values import (
    Parser,
    allowed_hosts,
    base_url,
    boolean,
    choice,
    database_url,
    ehlo_name,
    existing,
    host,
    namespace,
    networks,
    rate,
    redis_url,
    seconds,
    secret,
    secrets,
    sender,
    sentry_dsn,
    text,
    topics,
    whole,
)  # fmt: skip

PREFIX = "FLASK_"


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
