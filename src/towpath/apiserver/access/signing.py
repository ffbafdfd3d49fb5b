"""The key that ServiceAccount tokens are signed with, and what it signs.

The key lies in a file of its own that only the owner may read; whoever has it can be any
ServiceAccount. What others need to check a token is public.

Source: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7519 (JWT).
"""

import base64
import hashlib
import stat
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.types import Options

from towpath.errors import DeniedError, InvalidError, UnavailableError
from towpath.files import kept_secret
from towpath.spec._wire import JsonObject

__all__ = ["ALGORITHM", "SigningKey"]

ALGORITHM: Final = "ES256"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SIGNATURE_ONLY: Final[Options] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class SigningKey:
    """A P-256 key.

    Args:
        pem: The private key; None makes one.

    Attributes:
        id: What tokens name it by.
    """

    def __init__(self, pem: str | None = None) -> None:
        key = serialization.load_pem_private_key((pem or _new()).encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ValueError("not a P-256 key")
        self._key = key
        self._public = key.public_key()
        spki = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.id = _base64(hashlib.sha256(spki).digest())

    @classmethod
    def kept(cls, path: Path) -> "SigningKey":
        """The key in a file; made when first asked for, in a file of mode 600 (blocking).

        Raises:
            DeniedError: others may read the file.
            InvalidError: it holds no such key.
            UnavailableError: it cannot be read or written.
        """
        try:
            pem = kept_secret(path, _new)
            mode = stat.S_IMODE(path.stat().st_mode)
        except (OSError, UnicodeDecodeError) as exc:
            raise UnavailableError(f"cannot keep the signing key {path}: {exc}") from exc
        if mode & _OTHERS:
            raise DeniedError(
                f"the signing key {path} may be read by others (mode {mode:o})",
                hint=f"Run: chmod 600 {path}",
            )
        try:
            return cls(pem)
        except (ValueError, TypeError) as exc:
            raise InvalidError(
                f"{path} holds no key for tokens",
                hint="Take it away to have one made; tokens given out before are then void.",
            ) from exc

    def sign(self, claims: JsonObject) -> str:
        """A token."""
        return jwt.encode(claims, self._key, ALGORITHM, {"kid": self.id})

    def verified(self, token: str) -> JsonObject | None:
        """The claims of a token that this key signed; nothing else of them is checked."""
        try:
            if jwt.get_unverified_header(token).get("kid") != self.id:
                return None
            claims: JsonObject = jwt.decode(token, self._public, [ALGORITHM], _SIGNATURE_ONLY)
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return claims

    def public(self) -> JsonObject:
        """The public half, as a set of keys (RFC 7517, section 5)."""
        numbers = self._public.public_numbers()
        point = {"x": numbers.x, "y": numbers.y}
        key = {"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM}
        return {"keys": [key | {k: _base64(v.to_bytes(32, "big")) for k, v in point.items()}]}


def _new() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
