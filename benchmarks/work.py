"""The work, the same for all: an order's confirmation, 6 KB of HTML and 1.5 KB of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
SENDER = "orders@shop.example.com"
SMALLEST = 7_500
"""Bytes of a message with both of its parts; one that has less is not the work."""


def recipient(number: int) -> str:
    """Return an address that no other number has. Below 0: to warm up, and not counted."""
    return f"warm{-number}@example.com" if number < 0 else f"customer{number}@example.com"


def subject(context: dict[str, Any]) -> str:
    return f"Your order {context['order_id']}"


def context(number: int) -> dict[str, Any]:
    """Return ten variables, one of them a list of five rows."""
    order_id = f"A-{100_000 + number}"
    return {
        "company": "Example Outfitters",
        "site_url": "https://shop.example.com",
        "support_email": "help@shop.example.com",
        "email": recipient(number),
        "name": f"Renée Customer {number}",
        "order_id": order_id,
        "placed_on": "22 November 2026",
        "parcels": 1 + number % 2,
        "total": "EUR 123.45",
        "items": [
            {
                "sku": f"SKU-{number % 977:05d}-{row}",
                "name": f"Useful thing number {row} & more",
                "quantity": row + 1,
                "price": f"EUR {10 + row}.95",
            }
            for row in range(5)
        ],
    }
