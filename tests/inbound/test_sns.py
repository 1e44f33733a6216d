"""Who signed a message of Amazon SNS, and from where its certificate is taken."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from mailer.errors import NotAuthentic, Unreachable
from mailer.inbound import https, sns

from ..smtp_server import Certificates
from .conftest import Serve, Web
from .reports import Sns, ses

TOPICS = (Sns.topic, "arn:aws:sns:us-gov-west-1:123456789012:other")
PATH = urlsplit(Sns.url).path


@pytest.fixture(scope="module")
def amazon() -> Sns:
    return Sns()


def signers(web: Web) -> sns.Signers:
    """Return signers for whom the hosts of Amazon are a server of ours."""

    def get(url: str) -> bytes:
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        with urlopen(f"http://127.0.0.1:{web.port}{parts.path}{query}", timeout=5) as answer:
            body: bytes = answer.read()
        return body

    return sns.Signers(get)


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


def test_a_certificate_that_is_none_is_asked_for_again(serve: Serve, amazon: Sns) -> None:
    answers = {PATH: (200, b"<html>")}
    checked = signers(serve(answers))
    message = read(amazon.notification(ses()))
    with pytest.raises(Unreachable, match="expected a certificate"):
        checked.check(message, TOPICS)
    answers[PATH] = (200, amazon.certificate)
    checked.check(message, TOPICS)


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


def test_a_get_reads_what_is_there_over_verified_tls(
    serve: Serve, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = serve({"/": (200, b"not to be read")}, certificates.server("good"))
    answers: dict[str, Any] = {
        "/small": (200, b"x" * https.LONGEST_BYTES),
        "/large": (200, b"x" * (https.LONGEST_BYTES + 1)),
        "/moved": (302, f"https://127.0.0.1:{elsewhere.port}/"),
        "/broken": (500, b""),
    }
    web = serve(answers, certificates.server("good"))
    with pytest.raises(Unreachable, match="cannot be fetched"):
        https.get(f"https://127.0.0.1:{web.port}/small")
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca_file)
    assert len(https.get(f"https://127.0.0.1:{web.port}/small")) == https.LONGEST_BYTES
    for path in ("/large", "/moved", "/broken"):
        with pytest.raises(Unreachable):
            https.get(f"https://127.0.0.1:{web.port}{path}")
    assert elsewhere.asked == []
    with pytest.raises(ValueError, match="expected https"):
        https.get("file:///etc/passwd")
    other = serve({"/": (200, b"")}, certificates.server("other-host"))
    with pytest.raises(Unreachable):
        https.get(f"https://127.0.0.1:{other.port}/")
