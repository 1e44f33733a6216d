"""A disk so small that a test can fill it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Disk:
    """A mounted file system of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room: whoever writes more than there is hears ENOSPC."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (65_536, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, *, owner: int, megabytes: int = 24) -> Iterator[Disk | None]:
    """Mount one on ``folder``; None where we may not, neither as root nor by sudo."""
    folder.mkdir(parents=True)
    sudo = [] if os.getuid() == 0 else ["sudo", "-n"]
    options = f"size={megabytes}m,mode=0700,uid={owner}"
    try:
        mount = [*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        mounted = not subprocess.run(mount, capture_output=True, check=False).returncode
    except FileNotFoundError:
        mounted = False
    try:
        yield Disk(folder) if mounted else None
    finally:
        if mounted:
            # Whoever was killed may hold a file of it a moment longer: lazily.
            subprocess.run([*sudo, "umount", "--lazy", str(folder)], check=True)
