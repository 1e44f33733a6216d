"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import getpass  # noqa: F401
import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

Cell = str | int | None

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

_GAP = "  "
_NARROWEST = 8
