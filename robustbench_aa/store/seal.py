"""The seal of a prediction file: the SHA-256 of all its other bytes, written into its footer."""

from __future__ import annotations

import hashlib

SEAL = "file_sha256"
"""The entry of the footer that holds the seal."""
UNSEALED = "0" * 2 * hashlib.sha256().digest_size
"""The value of the entry before the file is sealed."""
_BEFORE = f'"{SEAL}": "'.encode()
"""The bytes before the seal. The footer is JSON, so no text in it contains these quotes."""


def sealed(content: bytes) -> bytes:
    """Return the content of a file whose footer has the entry `SEAL`, with its seal."""
    before, after = _around_seal(content)
    return before + _digest(before, after) + after


def is_intact(content: bytes) -> bool:
    """Return whether a file has its seal, so that none of its bytes has changed.

    Files of earlier versions have no seal.
    """
    before, after = _around_seal(content)
    return content[len(before) : len(content) - len(after)] == _digest(before, after)


def _around_seal(content: bytes) -> tuple[bytes, bytes]:
    start = content.rfind(_BEFORE) + len(_BEFORE)
    return content[:start], content[start + len(UNSEALED) :]


def _digest(before: bytes, after: bytes) -> bytes:
    digest = hashlib.sha256(before)
    digest.update(after)
    return digest.hexdigest().encode()
