"""Who signed a message of Amazon SNS, and from where its certificate is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from mailer import request
from mailer.destination import Allowed, Destination
from mailer.errors import NotAuthentic, Unreachable
from mailer.inbound import sns
from mailer.request import ask

from ..receiver import drip, receiver
from ..smtp_server import Certificates
from .conftest import Serve, Web
from .reports import Sns, ses

TOPICS = (Sns.topic, "arn:aws:sns:us-gov-west-1:123456789012:other")
PATH = urlsplit(Sns.url).path


@pytest.fixture(scope="module")
def amazon() -> Sns:
    return Sns()


@pytest.fixture(autouse=True)
def authorities() -> Iterator[None]:
    """Have each test read anew whom it trusts."""
    yield
    request._context.cache_clear()


def fetched_from(web: Web) -> sns.Get:
    """Return what takes a server of ours for the hosts of Amazon."""

    def get(url: str) -> bytes:
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        answer = ask(
            "GET",
            Destination("http", "127.0.0.1", web.port, target),
            ["127.0.0.1"],
            seconds=5,
            answer_max=100_000,
        )
        if answer.code != 200:
            raise Unreachable(f"{url}: {answer.code}")
        return answer.body

    return get


def signers(web: Web, **more: Any) -> sns.Signers:
    return sns.Signers(fetched_from(web), **more)


def read(message: Any) -> sns.Notification:
    return sns.read(json.dumps(message).encode())


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("more", [{}, {"Subject": "Notice"}])
def test_a_signature_of_either_version_is_good_and_the_certificate_is_fetched_once(
    serve: Serve, amazon: Sns, version: str, more: dict[str, str]
) -> None:
    web = serve({PATH: (200, amazon.certificate)})
    checked = signers(web)
    for words in ("one", "zwei\n¡tres!"):
        checked.check(read(amazon.notification(words, version=version, **more)), TOPICS)
    assert web.asked == [PATH]


@pytest.mark.parametrize("changed", ["Message", "MessageId", "Timestamp", "Subject", "Signature"])
def test_a_message_that_was_changed_is_refused(serve: Serve, amazon: Sns, changed: str) -> None:
    message = amazon.notification(ses(), Subject="Notice")
    message[changed] = "Y2hhbmdlZA=="
    with pytest.raises(NotAuthentic, match="Signature"):
        signers(serve({PATH: (200, amazon.certificate)})).check(read(message), TOPICS)


def test_a_signature_of_somebody_else_is_refused(serve: Serve, amazon: Sns) -> None:
    with pytest.raises(NotAuthentic, match="Signature"):
        signers(serve({PATH: (200, Sns().certificate)})).check(
            read(amazon.notification(ses())), TOPICS
        )


def test_a_certificate_that_has_ended_is_refused(serve: Serve) -> None:
    ended = Sns(ended=True)
    with pytest.raises(NotAuthentic, match="not valid now"):
        signers(serve({PATH: (200, ended.certificate)})).check(
            read(ended.notification(ses())), TOPICS
        )


def test_a_topic_that_was_not_set_is_refused_before_anything_is_fetched(
    serve: Serve, amazon: Sns
) -> None:
    web = serve({PATH: (200, amazon.certificate)})
    message = read(amazon.notification(ses(), TopicArn=Sns.topic + "2"))
    with pytest.raises(NotAuthentic, match="TopicArn"):
        signers(web).check(message, TOPICS)
    assert web.asked == []


@pytest.mark.parametrize(
    "url",
    [
        Sns.url.replace("https://", "http://"),
        Sns.url.replace("amazonaws.com", "amazonaws.com.evil.example"),
        Sns.url.replace("sns.eu-west-1", "evil.example/sns.eu-west-1"),
        Sns.url.replace("sns.eu-west-1", "sns.s3-us-west-2"),
        Sns.url.replace("sns.eu-west-1", "sns.eu-west-1.evil"),
        Sns.url.replace("amazonaws.com", "amazonaws.com:8443"),
        Sns.url.replace("https://", "https://evil.example@"),
        Sns.url.replace("https://", "https://evil.example\\@"),
        Sns.url.replace("amazonaws.com/", "amazonaws.com/../"),
        Sns.url.replace("/Simple", "/other/Simple"),
        Sns.url + "\n",
        Sns.url + "?1",
        Sns.url + "#1",
        Sns.url.replace(".com", ".com\r\nHost: evil.example"),
        "https://[",
        "https://127.0.0.1/SimpleNotificationService-0123456789abcdef.pem",
        "",
    ],
)
def test_no_certificate_is_taken_from_elsewhere(serve: Serve, amazon: Sns, url: str) -> None:
    web = serve({PATH: (200, amazon.certificate)})
    message = {**amazon.notification(ses()), "SigningCertURL": url}
    with pytest.raises(NotAuthentic, match="SigningCertURL"):
        signers(web).check(read(message), TOPICS)
    assert web.asked == []


@pytest.mark.parametrize("region", ["us-gov-west-1", "ap-southeast-3", "us-iso-east-1"])
def test_every_region_has_its_certificate(serve: Serve, amazon: Sns, region: str) -> None:
    message = {**amazon.notification(ses()), "SigningCertURL": Sns.url.replace("eu-west-1", region)}
    signers(serve({PATH: (200, amazon.certificate)})).check(read(message), TOPICS)


def certificate_url(number: int) -> str:
    return Sns.url.replace(PATH, f"/SimpleNotificationService-{number:032x}.pem")


def test_what_is_no_certificate_is_not_asked_for_again_for_a_minute(
    serve: Serve, amazon: Sns
) -> None:
    answers = {PATH: (200, b"<html>")}
    now = [0.0]
    web = serve(answers)
    checked = signers(web, clock=lambda: now[0])
    message = read(amazon.notification(ses()))
    for _ in range(2):
        with pytest.raises(Unreachable, match="expected a certificate"):
            checked.check(message, TOPICS)
    assert web.asked == [PATH]
    answers[PATH] = (200, amazon.certificate)
    now[0] += sns.LOOKED_SECONDS + 1
    checked.check(message, TOPICS)
    assert web.asked == [PATH] * 2


def test_naming_ever_other_certificates_makes_us_fetch_a_few(serve: Serve, amazon: Sns) -> None:
    web = serve({PATH: (200, amazon.certificate)})
    now = [0.0]
    checked = signers(web, clock=lambda: now[0])
    checked.check(read(amazon.notification(ses())), TOPICS)
    for number in range(3 * sns.LOOKED_MAX):
        message = {**amazon.notification(ses()), "SigningCertURL": certificate_url(number)}
        with pytest.raises(Unreachable):
            checked.check(read(message), TOPICS)
    assert len(web.asked) == sns.LOOKED_MAX
    checked.check(read(amazon.notification(ses())), TOPICS)
    now[0] += sns.LOOKED_SECONDS + 1
    with pytest.raises(Unreachable, match="404"):
        checked.check(read(message), TOPICS)


def test_a_certificate_that_signed_gives_way_to_none_that_did_not(
    serve: Serve, amazon: Sns
) -> None:
    urls = [certificate_url(number) for number in range(2 * sns.CERTIFICATES_MAX)]
    others = dict.fromkeys((urlsplit(url).path for url in urls), (200, Sns().certificate))
    web = serve({PATH: (200, amazon.certificate), **others})
    now = [0.0]
    checked = signers(web, clock=lambda: now[0])
    checked.check(read(amazon.notification(ses())), TOPICS)
    for url in urls:
        now[0] += sns.LOOKED_SECONDS
        with pytest.raises(NotAuthentic, match="Signature"):
            checked.check(read({**amazon.notification(ses()), "SigningCertURL": url}), TOPICS)
    checked.check(read(amazon.notification(ses())), TOPICS)
    assert web.asked.count(PATH) == 1


def test_of_two_messages_at_once_one_fetches(serve: Serve, amazon: Sns) -> None:
    message = read(amazon.notification(ses()))
    web = serve({PATH: (200, amazon.certificate)})

    def get(url: str) -> bytes:
        with pytest.raises(Unreachable, match="is being fetched"):
            checked.check(message, TOPICS)
        return fetched_from(web)(url)

    checked = sns.Signers(get)
    checked.check(message, TOPICS)
    assert web.asked == [PATH]


def test_a_subscription_is_confirmed_where_it_was_signed_to_be(serve: Serve, amazon: Sns) -> None:
    asked = f"/?Action=ConfirmSubscription&TopicArn={Sns.topic}&Token=2336412f37"
    web = serve({PATH: (200, amazon.certificate), asked: (200, b"<Confirm/>")})
    message = read(amazon.confirmation())
    checked = signers(web)
    checked.check(message, TOPICS)
    checked.confirm(message)
    assert web.asked == [PATH, asked]
    elsewhere = read(amazon.confirmation(SubscribeURL="https://evil.example/?Action=Confirm"))
    checked.check(elsewhere, TOPICS)
    with pytest.raises(NotAuthentic, match="SubscribeURL"):
        checked.confirm(elsewhere)


def test_what_is_fetched_comes_over_verified_tls_from_the_host_itself(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = serve({"/": (200, b"not to be read")}, certificates.server("good"))
    answers: dict[str, Any] = {
        "/small": (200, b"x" * 50_000),
        "/large": (200, b"x" * 5_000_000),
        "/moved": (302, f"https://127.0.0.1:{elsewhere.port}/"),
        "/broken": (500, b""),
    }
    web = serve(answers, certificates.server("good"))
    here = Allowed(["127.0.0.1"])
    with pytest.raises(Unreachable, match="its certificate is refused"):
        sns.fetch(f"https://127.0.0.1:{web.port}/small", here)
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca_file)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{elsewhere.port}")
    request._context.cache_clear()
    assert len(sns.fetch(f"https://127.0.0.1:{web.port}/small", here)) == 50_000
    assert len(sns.fetch(f"https://127.0.0.1:{web.port}/large", here)) == 100_000
    for where, told in (("/moved", "got 302"), ("/broken", "got 500")):
        with pytest.raises(Unreachable, match=told):
            sns.fetch(f"https://127.0.0.1:{web.port}{where}", here)
    asked = len(web.asked)
    with pytest.raises(Unreachable, match="expected a public address"):
        sns.fetch(f"https://127.0.0.1:{web.port}/small", Allowed())
    with pytest.raises(Unreachable, match="expected https"):
        sns.fetch("file:///etc/passwd", here)
    other = serve({"/": (200, b"")}, certificates.server("other-host"))
    with pytest.raises(Unreachable, match="its certificate is refused"):
        sns.fetch(f"https://127.0.0.1:{other.port}/", here)
    assert (len(web.asked), elsewhere.asked, other.asked) == (asked, [], [])


def test_what_drips_is_not_waited_for(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca_file)
    monkeypatch.setattr(sns, "_TIMEOUT_SECONDS", 1.0)
    request._context.cache_clear()
    with (
        receiver(
            drip("X-Drip: 1\r\n", "HTTP/1.1 200 OK\r\n"), context=certificates.server("good")
        ) as slow,
        pytest.raises(Unreachable, match="longer than 1 s"),
    ):
        sns.fetch(f"https://127.0.0.1:{slow.port}/", Allowed(["127.0.0.1"]))
