"""Clients of what the tests have started, which speaks no TLS."""

import ssl
from typing import Any

import httpx2

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""
For `verify`: it trusts no certificate, and so loads none.

A client makes one by itself that has read the certificates of all authorities, which takes a
twentieth of a second each time.
"""


def plain_client(base_url: str = "", *, timeout: float, **options: Any) -> httpx2.AsyncClient:
    """Return a client; the time-out is in seconds."""
    return httpx2.AsyncClient(base_url=base_url, timeout=timeout, verify=NO_TLS, **options)
