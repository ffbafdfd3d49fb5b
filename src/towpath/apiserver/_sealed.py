"""Encryption at rest: what a Secret's bytes look like on the disk.

    format (1 byte, 1) · key id (8) · nonce (12) · AES-256-GCM of the object, tag included

The address and the revision are bound to the bytes as associated data, so a record that is moved
to another name, or an old one put back as new, does not open. The key id is there for a rotation:
records of an old and a new key can be told apart.

Source: NIST SP 800-38D; with random nonces, one key is good for 2**32 records (section 8.3).
"""

import hashlib
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from towpath.apiserver.keyfile import SIZE
from towpath.apiserver.record import Address
from towpath.errors import InvalidError

__all__ = ["SEALED", "Seal"]

SEALED: Final = frozenset({"secrets"})
"""Resources whose objects are encrypted."""

_FORMAT: Final = b"\x01"
_ID: Final = 8
_NONCE: Final = 12
_HEAD: Final = len(_FORMAT) + _ID + _NONCE


class Seal:
    """Encrypts and decrypts records with one key.

    Args:
        key: 32 bytes.

    Attributes:
        id: Tells this key from another; says nothing about it.

    Raises:
        InvalidError: it is not a key.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != SIZE:
            raise InvalidError(f"a key of the API's database has {SIZE} bytes, not {len(key)}")
        self.id = hashlib.sha256(b"towpath store key\0" + key).digest()[:_ID]
        self._start = _FORMAT + self.id
        self._cipher = AESGCM(key)

    def close(self, address: Address, revision: int, data: bytes) -> bytes:
        """The bytes for the disk."""
        nonce = os.urandom(_NONCE)
        head = self._start + nonce
        return head + self._cipher.encrypt(nonce, data, self._bound(address, revision))

    def open(self, address: Address, revision: int, data: bytes) -> bytes:
        """The bytes of the object.

        Raises:
            InvalidError: they were not written with this key, at this address and revision.
        """
        what = f'{address.resource} "{address.name}" at revision {revision}'
        if not data.startswith(self._start):
            raise InvalidError(f"the database's record of {what} is not of this key")
        nonce = data[len(self._start) : _HEAD]
        try:
            return self._cipher.decrypt(nonce, data[_HEAD:], self._bound(address, revision))
        except InvalidTag as exc:
            raise InvalidError(f"the database's record of {what} is damaged") from exc

    def _bound(self, address: Address, revision: int) -> bytes:
        return b"%b%d\0%b" % (self._start, revision, "\0".join(address).encode())
