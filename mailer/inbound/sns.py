"""Amazon SNS: whether a message is from a topic of ours, which its signature proves.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from ..destination import Allowed, Forbidden, checked, parse
from ..errors import NotAReport, NotAuthentic, Unreachable
from ..request import NoAnswer, ask
from . import documents

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

# The name of a region, and nothing else: `sns.s3-us-west-2.amazonaws.com` is a bucket that
# somebody called `sns`.
_HOST = r"https://sns\.[a-z]{2}(?:-[a-z]+){1,2}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE_URL = re.compile(rf"{_HOST}/SimpleNotificationService-[0-9a-f]{{8,64}}\.pem")
_SUBSCRIBE_URL = re.compile(rf"{_HOST}/[!-~]*")

CERTIFICATES_MAX = 16
"""Kept: one for each region, and the next one while they change."""
LOOKED_MAX = 10
"""Fetched in `LOOKED_SECONDS`: anybody who knows a topic may name certificates."""
LOOKED_SECONDS = 60.0
_TIMEOUT_SECONDS = 5.0
_DOCUMENT_MAX = 100_000

Get = Callable[[str], bytes]

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


def fetch(url: str, allowed: Allowed) -> bytes:
    """Return what is there. Raises Unreachable."""
    try:
        destination = parse(url)
        addresses = checked(destination, allowed)
        answer = ask(
            "GET", destination, addresses, seconds=_TIMEOUT_SECONDS, answer_max=_DOCUMENT_MAX
        )
    except (Forbidden, NoAnswer, OSError) as error:
        raise Unreachable(f"{url[:200]} cannot be fetched: {error}") from error
    if answer.code != 200:
        raise Unreachable(f"{url[:200]} cannot be fetched: expected 200, got {answer.code}")
    return answer.body


class _Looked(NamedTuple):
    """What came of fetching a certificate, of which nothing is proven yet."""

    at: float
    found: Certificate | None
    words: str = ""
    """Why there is none."""


class Signers:
    """The certificates that messages are signed with, each fetched once."""

    def __init__(self, get: Get, clock: Callable[[], float] = time.monotonic) -> None:
        self._get = get
        self._clock = clock
        self._lock = threading.Lock()
        self._certificates: dict[str, Certificate] = {}
        """Those that signed a message: what anybody else names takes none of their room."""
        self._looked: dict[str, _Looked] = {}

    def check(self, message: Notification, topics: Collection[str]) -> None:
        """Raise NotAuthentic unless the message is from one of the topics; Unreachable when its
        certificate cannot be fetched."""
        if message.TopicArn not in topics:
            raise NotAuthentic(
                f"TopicArn: expected one of MAILER_SES_TOPICS, got {message.TopicArn[:200]!r}"
            )
        url = message.SigningCertURL
        if not _CERTIFICATE_URL.fullmatch(url):
            raise NotAuthentic(
                "SigningCertURL: expected https://sns.REGION.amazonaws.com/"
                f"SimpleNotificationService-....pem, got {url[:200]!r}"
            )
        certificate = self._certificates.get(url) or self._look(url)
        _check_signature(message, certificate)
        with self._lock:
            while url not in self._certificates and len(self._certificates) >= CERTIFICATES_MAX:
                del self._certificates[next(iter(self._certificates))]
            self._certificates[url] = certificate

    def confirm(self, message: Notification) -> None:
        """Tell SNS that the subscription is wanted. The message is one that was checked. Raises
        NotAuthentic, Unreachable."""
        url = message.SubscribeURL or ""
        if not _SUBSCRIBE_URL.fullmatch(url):
            raise NotAuthentic(
                f"SubscribeURL: expected https://sns.REGION.amazonaws.com/..., got {url[:200]!r}"
            )
        self._get(url)

    def _look(self, url: str) -> Certificate:
        """Return the certificate that is there, or was just now. Raises Unreachable."""
        looked = self._known(url)
        if looked is None:
            looked = self._fetched(url)
            with self._lock:
                self._looked[url] = looked
        if looked.found is None:
            raise Unreachable(looked.words)
        return looked.found

    def _known(self, url: str) -> _Looked | None:
        """Return what is known of a certificate; None: it is the caller's to be fetched."""
        now = self._clock()
        with self._lock:
            for old in [old for old, one in self._looked.items() if one.at < now - LOOKED_SECONDS]:
                del self._looked[old]
            if url in self._looked:
                return self._looked[url]
            if len(self._looked) >= LOOKED_MAX:
                raise Unreachable(
                    f"{url}: expected up to {LOOKED_MAX} certificates in {LOOKED_SECONDS:g} s"
                )
            self._looked[url] = _Looked(now, None, f"{url} is being fetched")
            return None

    def _fetched(self, url: str) -> _Looked:
        from cryptography import x509  # noqa: PLC0415 - 5 MB, for the few that are posted to

        now = self._clock()
        try:
            return _Looked(now, x509.load_pem_x509_certificate(self._get(url)))
        except Unreachable as error:
            return _Looked(now, None, str(error))
        except ValueError:
            return _Looked(now, None, f"{url}: expected a certificate there")


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
