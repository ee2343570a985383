"""Synthetic transactions for the check page."""

from __future__ import annotations

from typing import Any


def sample_request() -> dict[str, Any]:
    """A request body for ``/predict`` with two synthetic transactions."""
    typical = {
        "TransactionID": 1,
        "TransactionDT": 86400,
        "TransactionAmt": 59.0,
        "ProductCD": "W",
        "card1": 9500,
        "card2": 321,
        "card3": 150,
        "card4": "visa",
        "card6": "debit",
        "addr1": 315,
        "addr2": 87,
        "P_emaildomain": "gmail.com",
        "C1": 1,
        "C13": 12,
        "D1": 120,
    }
    unusual = {
        "TransactionID": 2,
        "TransactionDT": 97200,
        "TransactionAmt": 482.35,
        "ProductCD": "C",
        "card1": 15885,
        "card2": 545,
        "card3": 185,
        "card4": "visa",
        "card6": "credit",
        "P_emaildomain": "mail.com",
        "R_emaildomain": "mail.com",
        "DeviceType": "mobile",
        "DeviceInfo": "SM-J700M",
        "C1": 14,
        "C13": 31,
        "D1": 0,
        "D2": None,
    }
    return {"transactions": [typical, unusual]}
