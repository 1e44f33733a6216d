"""The chart of docs/performance.md: emails per second, drawn by hand."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import median

from .rows import Round
from .table import shown

GROUPS = (
    (
        "End to end, no delay",
        [
            ("this project", "project: sent"),
            ("dispatch_many", "project: many"),
            ("pattern", "pattern: sent"),
        ],
    ),
    (
        "Drain only",
        [("this project", "project: drain"), ("limit", "limit"), ("pattern", "pattern: drain")],
    ),
    (
        "20 ms round trip",
        [
            ("this project", "project, 64 connections: far"),
            ("pattern, 32 threads", "pattern, 32 threads: far"),
            ("pattern", "pattern: far"),
        ],
    ),
)
_COLOURS = {"this project": "#1f56d8", "dispatch_many": "#6f97ea", "limit": "#b9c0cb"}
_OTHER = "#8a8f98"
_WIDTH, _LEFT, _BAR, _ROOM = 720, 150, 18, 90


def svg(rounds: Sequence[Round]) -> str:
    """Return the chart as SVG; each group has its own scale."""
    shapes: list[str] = []
    top = 40
    for title, bars in GROUPS:
        shapes.append(_text(10, top, title, weight="bold"))
        top += 12
        values = [median(one[name] for one in rounds) for _, name in bars]
        for (label, _), value in zip(bars, values, strict=True):
            width = max(1.0, value / max(values) * (_WIDTH - _LEFT - _ROOM))
            colour = _COLOURS.get(label, _OTHER)
            shapes.append(_text(_LEFT - 8, top + 13, label, anchor="end"))
            shapes.append(
                f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" '
                f'fill="{colour}"/>'
            )
            shapes.append(_text(_LEFT + width + 6, top + 13, shown(value)))
            top += _BAR + 6
        top += 26
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top - 10}" '
            'role="img" aria-label="Emails per second" font-family="sans-serif" font-size="13">',
            f'<rect width="{_WIDTH}" height="{top - 10}" fill="#ffffff"/>',
            _text(10, 18, "Emails per second, two worker processes; more is better"),
            *shapes,
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="#20262e">{escape(words)}</text>'
    )
