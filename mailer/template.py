"""Email templates on disk: which folders are one, and what each says about itself."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .errors import TemplateError
from .models import LANES, ON_UNKNOWN
from .unsubscribe import CATEGORY, CATEGORY_FORM, NOT_CRITICAL

DEFAULT_LOCALE = "en"

_FILE = re.compile(
    r"(?P<part>subject|body)(?:\.(?P<locale>[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*))?"
    r"\.(?P<kind>txt|html)"
)
_KEYS = (
    "description",
    "lane",
    "expires_seconds",
    "on_unknown",
    "category",
    "override_suppressions",
)
# What an unfinished email template lacks, by what it has.
_MISSING = {
    frozenset({"body"}): "subject.txt",
    frozenset({"subject"}): "body.txt or body.html",
}


class Part(NamedTuple):
    """One file of an email template, chosen for a locale."""

    file: str
    """File name within the template's folder."""
    locale: str
    """The language it is written in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailTemplate:
    """A folder with a subject and at least one body, and the defaults of emails made with it."""

    name: str
    path: Path
    description: str
    lane: str
    expires: int | None
    """Seconds after which an email made with it is no longer worth sending; None for never."""
    on_unknown: str
    """What to do when nobody knows whether it arrived: ``resend`` or ``hold``."""
    category: str | None
    """What recipients may unsubscribe from; None: nothing."""
    override_suppressions: bool
    """Whether it goes to suppressed addresses too. Only in the lane ``critical``."""
    locales: tuple[str, ...]
    """Those with a file of their own, sorted."""
    parts: Mapping[str, Mapping[str, Part]]
    """``subject.txt``, ``body.txt``, ``body.html`` -> normalized locale ("" for none) -> part."""

    @property
    def sample(self) -> dict[str, object]:
        """A context to look at the template with: ``sample.json``, read now; empty without one.

        Raises TemplateError. Only who looks at a template needs it: sending never reads it.
        """
        return _sample(self.path / "sample.json")

    def part(self, name: str, locale: str | None) -> Part | None:
        """Return the file for ``de-AT``: that of ``de-AT``, else of ``de``, else of no locale."""
        variants = self.parts.get(name, {})
        wanted = _normalized(locale or "")
        while wanted and wanted not in variants:
            wanted = wanted.rpartition("-")[0]
        return variants.get(wanted)


def find(search_path: Iterable[Path]) -> dict[str, Path]:
    """Return the folders that are email templates by name; the first directory's wins.

    One that cannot be read counts: another of its name must not be sent in its stead.
    """
    found: dict[str, Path] = {}
    for folder in _folders(search_path):
        if folder.name not in found and _present(folder) == {"subject", "body"}:
            found[folder.name] = folder
    return dict(sorted(found.items()))


def load(folder: Path) -> EmailTemplate:
    """Read what the email template in ``folder`` says about itself; raises TemplateError."""
    parts: dict[str, dict[str, Part]] = {}
    try:
        files = sorted(_files(folder), key=lambda each: each[0].name)
    except OSError as error:
        raise TemplateError(f"{folder}: cannot be read: {error.strerror}") from error
    for path, match in files:
        locale = match["locale"] or ""
        variants = parts.setdefault(f"{match['part']}.{match['kind']}", {})
        variants[_normalized(locale)] = Part(
            path.name, locale.replace("_", "-") if locale else DEFAULT_LOCALE
        )
    locales = {part.locale for found in parts.values() for key, part in found.items() if key}
    settings = _settings(folder / "template.toml")
    return EmailTemplate(
        name=folder.name,
        path=folder,
        locales=tuple(sorted(locales)),
        parts=parts,
        description=str(settings.get("description", "")),
        lane=str(settings.get("lane", "default")),
        expires=seconds if isinstance(seconds := settings.get("expires_seconds"), int) else None,
        on_unknown=str(settings.get("on_unknown", "resend")),
        category=str(settings["category"]) if "category" in settings else None,
        override_suppressions=settings.get("override_suppressions") is True,
    )


def unknown(name: str, known: Iterable[str], search_path: Iterable[Path]) -> TemplateError:
    """Return the error for a name that is no email template.

    It says what the folder of that name lacks, else the nearest of the ``known`` names.
    """
    # Compared with what is there, and never made a path: the name may be anyone's.
    for folder in _folders(search_path):
        if folder.name == name and (missing := _MISSING.get(_present(folder))):
            return TemplateError(f"no {missing} in {folder}")
    known = list(known)
    shown = repr(name if len(name) <= 80 else name[:80] + "...")
    if near := difflib.get_close_matches(name[:80], known, n=1):
        return TemplateError(f"no email template is called {shown}; did you mean {near[0]!r}?")
    return TemplateError(
        f"no email template is called {shown}; there are: {', '.join(known) or 'none'}"
    )


def _folders(search_path: Iterable[Path]) -> Iterator[Path]:
    """Yield every folder that may be an email template."""
    for directory in search_path:
        for folder in directory.iterdir() if directory.is_dir() else ():
            if not folder.name.startswith((".", "_")) and folder.is_dir():
                yield folder


def _present(folder: Path) -> frozenset[str]:
    """Return which of subject and body ``folder`` has; both when it cannot be read."""
    try:
        return frozenset(match["part"] for _, match in _files(folder))
    except OSError:
        return frozenset({"subject", "body"})


def _files(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in folder.iterdir():
        match = _FILE.fullmatch(path.name)
        if match and (match["part"], match["kind"]) != ("subject", "html") and path.is_file():
            yield path, match


def _normalized(locale: str) -> str:
    return locale.replace("_", "-").lower()


def _settings(path: Path) -> dict[str, object]:
    try:
        settings: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TemplateError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{path}: expected TOML: {error}") from error
    for key, value in settings.items():
        if expected := _wrong(key, value):
            raise TemplateError(f"{path}: {key}: expected {expected}, got {value!r}")
    lane = settings.get("lane", "default")
    if settings.get("override_suppressions") and lane != "critical":
        raise TemplateError(
            f"{path}: override_suppressions: expected only with lane 'critical', got lane {lane!r}"
        )
    if "category" in settings and lane == "critical":
        raise TemplateError(f"{path}: category: {NOT_CRITICAL}")
    return settings


def _wrong(key: str, value: object) -> str | None:
    """Return what was expected of ``key`` in ``template.toml``; None when ``value`` will do."""
    match key:
        case "description":
            return None if isinstance(value, str) else "text"
        case "lane" | "on_unknown":
            words = LANES if key == "lane" else ON_UNKNOWN
            return None if value in words else f"one of {', '.join(words)}"
        case "expires_seconds":
            whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
            return None if whole else "a whole number of seconds above 0"
        case "category":
            return None if isinstance(value, str) and CATEGORY.fullmatch(value) else CATEGORY_FORM
        case "override_suppressions":
            return None if isinstance(value, bool) else "true or false"
        case _:
            return f"only the keys {', '.join(_KEYS)}"


def _sample(path: Path) -> dict[str, object]:
    try:
        sample = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TemplateError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{path}: expected JSON: {error}") from error
    if not isinstance(sample, dict):
        raise TemplateError(f"{path}: expected a JSON object, got {type(sample).__name__}")
    return sample
