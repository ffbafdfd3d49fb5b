"""The certificate of the embedded API: a certificate authority of our own and what it signed.

kubectl sends its token over TLS only, so the API is never served without. The authority's key stays
beside the certificate: a renewed certificate is then trusted by every kubeconfig already written.
"""

import ipaddress
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from towpath.errors import InvalidError, UnavailableError
from towpath.files import write_atomic

__all__ = ["LOOPBACK", "Certificate", "ensure", "given"]

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_RENEW: Final = timedelta(days=30)
_AUTHORITY_LASTS: Final = timedelta(days=3650)
_LASTS: Final = timedelta(days=365)
_SLACK: Final = timedelta(minutes=5)
"""Clocks of clients may be behind by this much."""


class Certificate(NamedTuple):
    """Paths of the server's chain and key, and the authority that clients trust (PEM)."""

    chain: Path
    key: Path
    authority: str
    """Empty where clients trust it without being told."""


class _Pair(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def ensure(
    folder: Path, hosts: Sequence[str] = LOOPBACK, now: datetime | None = None
) -> Certificate:
    """The certificate in a folder; made anew when absent, about to expire, or for other hosts.

    Args:
        folder: Where it is kept: mode 700, the files 600.
        hosts: Names and addresses that clients use.
        now: The time; None is the clock's.

    Raises:
        UnavailableError: the folder cannot be written.
    """
    now = now or datetime.now(UTC)
    chain, key = folder / "server.crt", folder / "server.key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority = _read(folder / "ca.crt", folder / "ca.key")
        if authority is None or not _lasting(authority.certificate, now):
            authority = _authority(now)
            _write(authority, folder / "ca.crt", folder / "ca.key")
        server = _read(chain, key)
        if server is None or not _fits(server.certificate, authority, hosts, now):
            _write(_server(authority, hosts, now), chain, key)
    except OSError as exc:
        raise UnavailableError(
            f"cannot keep the API's certificate in {folder}: {exc.strerror or exc}"
        ) from exc
    return Certificate(chain, key, _pem(authority.certificate).decode())


def given(chain: Path, key: Path, host: str) -> Certificate:
    """A certificate that somebody brought.

    Clients are told to trust the last of the chain when it signed itself: the root of an
    authority of one's own, or the certificate of this server alone.

    Args:
        chain: The server's certificate, then those that lead to its authority (PEM).
        key: Of the first (PEM, without a password).
        host: The name or address that clients use.

    Raises:
        InvalidError: they cannot be read, do not belong together, or are not for that host.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key, lambda: b"")
        certificates = x509.load_pem_x509_certificates(chain.read_bytes())
    except (OSError, ValueError) as exc:  # a failure of TLS is an OSError
        raise InvalidError(
            f"{chain} and {key} are no certificate and its key: {exc}",
            hint="Both are PEM files; the key has no password.",
        ) from exc
    told = _told(certificates[0])
    if not any(_covers(name, host) for name in told):
        raise InvalidError(
            f"the certificate {chain} is not for {host!r}",
            hint=f"It is for {', '.join(told) or 'nobody'}; name one of these with --san.",
        )
    last = certificates[-1]
    return Certificate(chain, key, _pem(last).decode() if last.issuer == last.subject else "")


def _told(certificate: x509.Certificate) -> list[str]:
    """The names and addresses that a certificate is for; its subject does not count any more."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = found.get_values_for_type(x509.IPAddress)
    return [*found.get_values_for_type(x509.DNSName), *map(str, addresses)]


def _covers(name: str, host: str) -> bool:
    first, _, rest = host.partition(".")
    wildcard = bool(first and rest) and name.lower() == f"*.{rest}".lower()
    return wildcard or name.lower() == host.lower()


def _lasting(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - _RENEW


def _fits(
    certificate: x509.Certificate, authority: _Pair, hosts: Sequence[str], now: datetime
) -> bool:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if set(names) != set(_names(hosts)) or not _lasting(certificate, now):
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True


def _read(certificate: Path, key: Path) -> _Pair | None:
    try:
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            return None
        pair = _Pair(loaded, x509.load_pem_x509_certificate(certificate.read_bytes()))
    except (FileNotFoundError, ValueError):
        return None
    return pair if pair.certificate.public_key() == loaded.public_key() else None


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _builder(
    subject: str, issuer: x509.Name | None, now: datetime, lasts: timedelta
) -> tuple[ec.EllipticCurvePrivateKey, x509.CertificateBuilder]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return key, builder


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(now: datetime) -> _Pair:
    key, builder = _builder("towpath", None, now, _AUTHORITY_LASTS)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Pair(key, certificate)


def _server(authority: _Pair, hosts: Sequence[str], now: datetime) -> _Pair:
    issuer = authority.certificate.subject
    key, builder = _builder("towpath-api", issuer, now, _LASTS)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return _Pair(key, certificate)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(pair: _Pair, certificate: Path, key: Path) -> None:
    private = pair.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomic(key, private, mode=0o600)
    write_atomic(certificate, _pem(pair.certificate), mode=0o600)
