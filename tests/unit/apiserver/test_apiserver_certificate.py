"""The API's certificate and kubeconfig."""

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from towpath.apiserver import ensure, given, kubeconfig, write_kubeconfig
from towpath.errors import InvalidError, UnavailableError

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    first = ensure(folder)
    before = {file: file.read_bytes() for file in folder.iterdir()}
    assert ensure(folder) == first
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    assert mode(folder) == 0o700
    assert {mode(file) for file in folder.iterdir()} == {0o600}
    certificate = x509.load_pem_x509_certificate(first.chain.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    context = ssl.create_default_context(cadata=first.authority)
    context.load_cert_chain(first.chain, first.key)


def test_renewed_by_the_same_authority(tmp_path: Path) -> None:
    first = ensure(tmp_path, now=NOW)
    old = first.chain.read_bytes()
    assert ensure(tmp_path, now=NOW + timedelta(days=330)).chain.read_bytes() == old
    renewed = ensure(tmp_path, now=NOW + timedelta(days=340))
    assert renewed.chain.read_bytes() != old
    assert renewed.authority == first.authority
    assert ensure(tmp_path, now=NOW + timedelta(days=3630)).authority != first.authority


def test_other_hosts_and_broken_files(tmp_path: Path) -> None:
    first = ensure(tmp_path)
    old = first.chain.read_bytes()
    other = ensure(tmp_path, ("127.0.0.1", "hub.example"))
    assert other.chain.read_bytes() != old
    other.key.write_text("broken")
    mended = ensure(tmp_path, ("127.0.0.1", "hub.example"))
    ssl.create_default_context().load_cert_chain(mended.chain, mended.key)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError):
        ensure(tmp_path / "file" / "tls")


def test_one_that_was_brought(tmp_path: Path) -> None:
    made = ensure(tmp_path, ("hub.example.org", "*.apps.example.org", "192.0.2.7"))
    for host in ("hub.example.org", "HUB.example.org", "one.apps.example.org", "192.0.2.7"):
        assert given(made.chain, made.key, host).authority == ""
    for host in ("example.org", "apps.example.org", "a.b.apps.example.org", "192.0.2.8"):
        with pytest.raises(InvalidError, match="is not for"):
            given(made.chain, made.key, host)


def test_one_that_was_brought_with_its_authority(tmp_path: Path) -> None:
    made = ensure(tmp_path, ("hub.example.org",))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(made.chain.read_bytes() + (tmp_path / "ca.crt").read_bytes())
    assert given(chain, made.key, "hub.example.org").authority == made.authority


def test_what_is_no_certificate(tmp_path: Path) -> None:
    made = ensure(tmp_path)
    for chain, key in (
        (made.chain, tmp_path / "absent"),
        (made.chain, tmp_path / "ca.key"),
        (made.key, made.key),
    ):
        with pytest.raises(InvalidError, match="are no certificate and its key"):
            given(chain, key, "localhost")


def test_a_kubeconfig_names_no_authority_that_is_known_anyway() -> None:
    config = kubeconfig("https://hub.example.org", "", "secret", "hub")
    assert config["clusters"][0]["cluster"] == {"server": "https://hub.example.org"}


def test_kubeconfig_is_written_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "home" / "kubeconfig"
    config = kubeconfig("https://127.0.0.1:6443", "PEM", "secret", "hub")
    assert write_kubeconfig(path, config)
    assert mode(path) == 0o600
    assert yaml.safe_load(path.read_text()) == config
    assert not write_kubeconfig(path, config)
    path.chmod(0o644)
    assert write_kubeconfig(path, config)
    assert mode(path) == 0o600
    assert write_kubeconfig(path, kubeconfig("https://127.0.0.1:1", "PEM", "secret", "hub"))
