"""Reading the log files of the services while they are written."""

from __future__ import annotations

import re
from pathlib import Path

_ALARM = re.compile(r"\b(WARNING|ERROR|CRITICAL|FATAL)\b|^Traceback \(most recent call last\)")


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last ``count`` lines that are not blank; none when there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 32_768))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


class LogTail:
    """The lines that are new in a log file since one last looked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_lines(self) -> list[str]:
        """Return the complete lines written since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        return complete.decode(errors="replace").splitlines()


class AlarmFilter:
    """Picks the lines of a log that call for attention: warnings, errors and their tracebacks."""

    def __init__(self) -> None:
        self._alarmed = False

    def __call__(self, line: str) -> bool:
        # Records of Celery, Flask and gunicorn all begin with "[", what belongs to one does not.
        if line.startswith("[") or not self._alarmed:
            self._alarmed = _ALARM.search(line) is not None
        return self._alarmed
