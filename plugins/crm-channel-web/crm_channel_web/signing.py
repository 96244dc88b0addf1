"""Signatures of requests, compared in constant time, and bodies that are read only when they are proved."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Iterable
from typing import Any, Final

from crm_core.errors import RequestRefused
from crm_core.settings import Secret

SHORTEST: Final = 8
"""Characters of a secret at least: a shorter one can be guessed."""


def same(computed: str, given: str) -> bool:
    """Compare two signatures without telling by the time how much of them is right."""
    return hmac.compare_digest(computed.encode(), given.encode("utf-8", "replace"))


def base64_hmac(key: str, body: bytes) -> str:
    """Return HMAC-SHA256 of a body in Base64, as shops sign."""
    return base64.b64encode(hmac.digest(key.encode(), body, "sha256")).decode("ascii")


def revealed(secrets: Iterable[Secret | None]) -> list[str]:
    """Return the secrets that are set: the present one, and during a change the former one."""
    return [secret.reveal() for secret in secrets if secret is not None]


def key_of(secret: str) -> bytes | None:
    """Return the key of a Standard Webhooks secret, `whsec_` and Base64; None if it is none.

    >>> key_of("whsec_c2VjcmV0IGtleSBvZiB0ZXN0cw==")
    b'secret key of tests'
    """
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return None


def read_json(body: bytes) -> dict[str, Any]:
    """Read the JSON object of a body; numbers with a point stay text, for they may be amounts.

    Raises:
        RequestRefused: it is none.
    """
    try:
        found = json.loads(body, parse_float=str)
    except (ValueError, RecursionError):
        raise RequestRefused("the body is no JSON") from None
    if not isinstance(found, dict):
        raise RequestRefused(f"the body is a JSON {type(found).__name__}, expected an object")
    return found
