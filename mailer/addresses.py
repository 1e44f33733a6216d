"""Turn what a caller calls an address into an `Address`, or say what is wrong with it."""

from __future__ import annotations

import re

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from .content import Address
from .headers import check_text, shown

NAME_MAX = 256
EMAIL_MAX = 254
"""Bytes, RFC 5321, 4.5.3.1.3 with erratum 1690."""
LOCAL_PART_MAX = 64

# The usual address, in its normal form: lower case, no punycode, a top-level domain of letters.
# Whatever it does not match goes to email-validator, which takes ten times as long.
_LOCAL = r"[a-z0-9!#$%&'*+\-/=?^_`{|}~]+"
_LABEL = r"(?=[^.]{1,63}(?:\.|\Z))[a-z0-9]+(?:-[a-z0-9]+)*"
_PLAIN = re.compile(
    rf"(?=[^@]{{1,{LOCAL_PART_MAX}}}@){_LOCAL}(?:\.{_LOCAL})*"
    rf"@(?:{_LABEL}\.)+([a-z]{{1,63}})"
)
_SPECIAL_TOP_LEVELS = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)

# `Name <a@b>` and `"Name" <a@b>`. Outside quotes, a name has none of the characters that begin a
# comment, group, route, list or second address. Dots and non-ASCII letters are allowed, although
# strict RFC 5322 wants quotes around them: people write J. Müller <j@example.com>.
_NAMED = re.compile(
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)" *|(?P<bare>[^"\\<>()\[\]@,:;]*))<(?P<email>[^<>]*)>'
)
# Unicode's Bidi_Control: they make an address look like another one.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def parse(value: str | tuple[str, str], *, allow_test_domains: bool = False) -> Address:
    """Return the one mailbox that ``value`` names.

    ``value`` is ``a@b.example``, ``Name <a@b.example>``, ``"Name" <a@b.example>`` or a tuple of
    name and email. The domain comes back in ASCII (IDNA 2008), runs of spaces in the name as one.
    ``allow_test_domains`` accepts ``.test`` and ``localhost``. Raises ValueError, with what was
    expected and the value, shortened.
    """
    try:
        if isinstance(value, str):
            text = value.strip(" ")
            if _is_plain(text):
                return Address("", text)
            name, email = _split(text)
        elif isinstance(value, tuple) and [type(part) for part in value] == [str, str]:
            name, email = value[0], value[1].strip(" ")
        else:
            raise ValueError("neither text nor a tuple of name and email")
        return Address(_checked_name(name), _checked_email(email, allow_test_domains))
    except ValueError as error:
        raise ValueError(
            'expected one address such as anna@example.com or "Anna, Support" <anna@example.com>, '
            f"got {shown(value)}: {error}"
        ) from error


def _is_plain(email: str) -> bool:
    match = _PLAIN.fullmatch(email)
    return (
        match is not None
        and match[1] not in _SPECIAL_TOP_LEVELS
        and len(email) <= EMAIL_MAX
        and "=?" not in email
    )


def _split(text: str) -> tuple[str, str]:
    if not text.endswith(">"):
        return "", text
    match = _NAMED.fullmatch(text)
    if match is None:
        raise ValueError("not one name and one address (quote names with special characters)")
    quoted = match["quoted"]
    name = match["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return name, match["email"]


def _checked_name(name: str) -> str:
    check_text("a name", name)
    if found := _BIDI.search(name):
        raise ValueError(f"bidirectional control U+{ord(found[0]):04X} in the name")
    # Readers disagree about runs of spaces in a name.
    name = re.sub(" +", " ", name).strip()
    if len(name) > NAME_MAX:
        raise ValueError(f"the name is longer than {NAME_MAX} characters")
    return name


def _checked_email(email: str, allow_test_domains: bool) -> str:
    if _is_plain(email):
        return email
    if len(email) > EMAIL_MAX:
        raise ValueError(f"the email address is longer than {EMAIL_MAX} bytes")
    # It would read as an encoded-word, and so as another address, once in a header.
    if "=?" in email:
        raise ValueError("=? in the email address")
    # email-validator knows no way to allow localhost, so .test stands in for it.
    is_localhost = allow_test_domains and email.lower().endswith(("@localhost", ".localhost"))
    try:
        valid = validate_email(
            email[: -len("localhost")] + "test" if is_localhost else email,
            check_deliverability=False,
            test_environment=allow_test_domains,
        )
    except EmailNotValidError as error:
        raise ValueError(str(error)[:200]) from error
    domain = valid.ascii_domain
    if is_localhost:
        domain = domain[: -len("test")] + "localhost"
    result = f"{valid.local_part}@{domain}"
    # The library counts characters before the @, and only if asked; servers count bytes.
    if len(valid.local_part.encode()) > LOCAL_PART_MAX or len(result.encode()) > EMAIL_MAX:
        raise ValueError(
            f"more than {LOCAL_PART_MAX} bytes before the @ or {EMAIL_MAX} bytes in all"
        )
    return result
