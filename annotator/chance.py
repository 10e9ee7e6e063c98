"""Chance that comes out the same each time it is asked. Pure."""

import hashlib
import json


def chance(*about: str | int) -> float:
    """Evenly from 0 to 1, by a hash: neither a person nor a second try can choose it, and anybody can check it."""
    digest = hashlib.sha256(json.dumps(about).encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
