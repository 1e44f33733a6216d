from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer import template
from mailer.errors import TemplateError


def folder(path: Path, *files: str) -> Path:
    path.mkdir(parents=True)
    for name in files:
        (path / name).write_text("x")
    return path


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["subject.txt", "body.txt"], True),
        (["subject.txt", "body.html"], True),
        (["subject.de.txt", "body.pt-BR.html"], True),
        (["subject.txt"], False),
        (["body.txt", "body.html"], False),
        (["subject.html", "body.html"], False),
        (["subject.txt", "body.htm", "mybody.txt", "body.txt.bak"], False),
        ([], False),
    ],
)
def test_a_folder_is_an_email_template_if_it_has_a_subject_and_a_body(
    tmp_path: Path, files: list[str], found: bool
) -> None:
    folder(tmp_path / "note", *files)
    (tmp_path / "subject.txt").write_text("not a folder")
    assert list(template.find([tmp_path])) == (["note"] if found else [])


def test_without_settings_the_defaults_hold(tmp_path: Path) -> None:
    loaded = template.load(folder(tmp_path / "note", "subject.txt", "body.txt"))
    assert (loaded.name, loaded.description, loaded.lane) == ("note", "", "default")
    assert (loaded.expires, loaded.on_unknown, loaded.sample) == (None, "resend", {})
    assert (loaded.locales, loaded.path) == ((), tmp_path / "note")


def test_settings_and_sample_are_read(tmp_path: Path) -> None:
    path = folder(tmp_path / "note", "subject.txt", "body.de.txt", "subject.pt_BR.txt", "body.txt")
    (path / "template.toml").write_text(
        'description = "Über"\nlane = "bulk"\nexpires_seconds = 60\non_unknown = "hold"\n',
        encoding="utf-8",
    )
    (path / "sample.json").write_text('{"a": [1]}')
    loaded = template.load(path)
    assert (loaded.description, loaded.lane, loaded.expires) == ("Über", "bulk", 60)
    assert (loaded.on_unknown, loaded.sample) == ("hold", {"a": [1]})
    assert loaded.locales == ("de", "pt-BR")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('lane = "fast"', "lane: expected one of critical, default, bulk, got 'fast'"),
        ("lane = 1", "lane: expected one of critical, default, bulk, got 1"),
        ('on_unknown = ""', "on_unknown: expected one of resend, hold, got ''"),
        ("description = 1", "description: expected text, got 1"),
        ('expires_seconds = "60"', "expires_seconds: expected a whole number .*, got '60'"),
        ("expires_seconds = 0", "expires_seconds: expected a whole number .*, got 0"),
        ("expires_seconds = true", "expires_seconds: expected a whole number .*, got True"),
        ("expires_seconds = 1.5", "expires_seconds: expected a whole number .*, got 1.5"),
        ("expires = 60", "expires: expected only the keys description, lane, .*, got 60"),
        ("lane = ", "expected TOML: "),
        pytest.param("lane = " + "[" * 100_000, "expected TOML: ", id="deep"),
    ],
)
def test_a_wrong_setting_is_refused_with_file_key_value_and_what_was_expected(
    tmp_path: Path, settings: str, message: str
) -> None:
    path = folder(tmp_path / "note", "subject.txt", "body.txt")
    (path / "template.toml").write_text(settings)
    with pytest.raises(TemplateError, match=f"note/template.toml: {message}"):
        template.load(path)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("[]", "got list"),
        ("{", "expected JSON"),
        pytest.param("[" * 100_000, "expected JSON", id="deep"),
    ],
)
def test_a_sample_that_is_no_json_object_is_refused_when_it_is_asked_for(
    tmp_path: Path, sample: str, message: str
) -> None:
    path = folder(tmp_path / "note", "subject.txt", "body.txt")
    (path / "sample.json").write_text(sample)
    loaded = template.load(path)
    with pytest.raises(TemplateError, match=rf"note/sample\.json: .*{message}"):
        _ = loaded.sample


def test_settings_and_a_sample_that_are_no_files_are_refused_by_name(tmp_path: Path) -> None:
    path = folder(tmp_path / "note", "subject.txt", "body.txt")
    (path / "sample.json").mkdir()
    loaded = template.load(path)
    with pytest.raises(TemplateError, match=r"note/sample\.json: cannot be read: "):
        _ = loaded.sample
    (path / "template.toml").mkdir()
    with pytest.raises(TemplateError, match=r"note/template\.toml: cannot be read: "):
        template.load(path)


def test_an_unknown_name_without_a_near_one_lists_what_there_is() -> None:
    assert str(template.unknown("zzz", ["note", "welcome"], [])) == (
        "no email template is called 'zzz'; there are: note, welcome"
    )


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (["body.txt"], "subject.txt"),
        (["subject.html", "body.html"], "subject.txt"),
        (["subject.de.txt"], "body.txt or body.html"),
    ],
)
def test_the_error_for_an_unfinished_folder_says_which_file_it_lacks(
    tmp_path: Path, files: list[str], missing: str
) -> None:
    path = folder(tmp_path / "second" / "note", *files)
    folder(tmp_path / "first" / "note", "index.html")
    error = template.unknown("note", ["notes"], [tmp_path / "first", path.parent, tmp_path / "no"])
    assert str(error) == f"no {missing} in {path}"


@pytest.fixture
def as_anybody() -> Iterator[Path]:
    """A folder that anybody may use, and no rights beyond anybody's: root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


def test_a_folder_that_cannot_be_read_hides_the_one_it_replaces(as_anybody: Path) -> None:
    path = folder(as_anybody / "app" / "note", "subject.txt", "body.txt")
    folder(as_anybody / "shipped" / "note", "subject.txt", "body.txt")
    path.chmod(0)
    try:
        assert template.find([as_anybody / "app", as_anybody / "shipped"]) == {"note": path}
        with pytest.raises(TemplateError, match=r"note: cannot be read: Permission denied"):
            template.load(path)
    finally:
        path.chmod(0o700)
