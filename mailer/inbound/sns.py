"""Amazon SNS: whether a message is from a topic of ours, which its signature proves.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from ..errors import NotAReport, NotAuthentic, Unreachable
from . import documents
from .https import Get

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# The name of a region, and nothing else: `sns.s3-us-west-2.amazonaws.com` is a bucket that
# somebody called `sns`.
_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+){1,2}-[0-9]{1,2})"
_HOST = re.compile(rf"sns\.{_REGION}\.amazonaws\.com(?:\.cn)?")
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{8,64}\.pem")
_KEPT = 16
"""Certificates: one for each region, and the next one while they change."""

_SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SIGNED_CONFIRMATION = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip


class Notification(documents.Document):
    """What SNS posts. Its names are theirs."""

    Type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
    MessageId: str
    TopicArn: str
    Message: str
    Timestamp: str
    SignatureVersion: Literal["1", "2"]
    Signature: str = Field(max_length=2_000)
    SigningCertURL: str = Field(max_length=500)
    Subject: str | None = None
    SubscribeURL: str | None = Field(default=None, max_length=2_000)
    Token: str | None = None


def read(raw: bytes) -> Notification:
    """Return what was posted; nothing is proven yet. Raises NotAReport."""
    return documents.checked(Notification, documents.loads(raw))


class Signers:
    """The certificates that messages are signed with, each fetched once."""

    def __init__(self, get: Get) -> None:
        self.get = get
        self._certificates: dict[str, Certificate] = {}

    def check(self, message: Notification, topics: Collection[str]) -> None:
        """Raise NotAuthentic unless the message is from one of the topics; Unreachable when its
        certificate cannot be fetched."""
        if message.TopicArn not in topics:
            raise NotAuthentic(
                f"TopicArn: expected one of MAILER_SES_TOPICS, got {message.TopicArn[:200]!r}"
            )
        url = message.SigningCertURL
        if not (_is_of_sns(url) and _CERTIFICATE_PATH.fullmatch(urlsplit(url).path)):
            raise NotAuthentic(
                "SigningCertURL: expected https://sns.REGION.amazonaws.com/"
                f"SimpleNotificationService-....pem, got {url[:200]!r}"
            )
        _check_signature(message, self._certificate(url))

    def confirm(self, message: Notification) -> None:
        """Tell SNS that the subscription is wanted. The message is one that was checked. Raises
        NotAuthentic, Unreachable."""
        url = message.SubscribeURL or ""
        if not _is_of_sns(url):
            raise NotAuthentic(
                f"SubscribeURL: expected https://sns.REGION.amazonaws.com/..., got {url[:200]!r}"
            )
        self.get(url)

    def _certificate(self, url: str) -> Certificate:
        from cryptography import x509  # noqa: PLC0415 - 5 MB, for the few that are posted to

        certificate = self._certificates.get(url)
        if certificate is None:
            try:
                certificate = x509.load_pem_x509_certificate(self.get(url))
            except ValueError as error:
                raise Unreachable(f"{url}: expected a certificate there") from error
            while len(self._certificates) >= _KEPT:
                self._certificates.pop(next(iter(self._certificates)), None)
            self._certificates[url] = certificate
        return certificate


def _is_of_sns(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Names and ports before the host would hide where it leads.
        return (
            parts.scheme == "https"
            and _HOST.fullmatch(parts.netloc) is not None
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        return False


def _check_signature(message: Notification, certificate: Certificate) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotAuthentic(f"{message.SigningCertURL}: expected the certificate of an RSA key")
    if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
        raise NotAuthentic(f"{message.SigningCertURL}: the certificate is not valid now")
    # SHA-1 is what version 1 is, and still the default of a topic.
    digest = hashes.SHA256() if message.SignatureVersion == "2" else hashes.SHA1()  # noqa: S303  # nosec B303
    try:
        signature = b64decode(message.Signature, validate=True)
        key.verify(signature, _signed(message), padding.PKCS1v15(), digest)
    except (ValueError, InvalidSignature) as error:
        raise NotAuthentic("Signature: it is not that of this message") from error


def _signed(message: Notification) -> bytes:
    names = _SIGNED if message.Type == "Notification" else _SIGNED_CONFIRMATION
    lines = [(name, getattr(message, name)) for name in names]
    try:
        return "".join(f"{name}\n{value}\n" for name, value in lines if value is not None).encode()
    except UnicodeEncodeError as error:
        raise NotAReport("expected text, got half a surrogate pair") from error
