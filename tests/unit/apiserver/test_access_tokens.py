"""ServiceAccount tokens: given out, known again, and refused whenever one thing is not right."""

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from towpath.apiserver import Store
from towpath.apiserver.access.accounts import Accounts, Bound
from towpath.apiserver.access.signing import SigningKey
from towpath.apiserver.record import Address, Record, Write
from towpath.errors import DeniedError, InvalidError

pytestmark = pytest.mark.anyio

ISSUER = "https://kubernetes.default.svc.cluster.local"
NOW = 1_800_000_000


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with Store() as found:
        yield found


class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


async def put(store: Store, resource: str, name: str, uid: str) -> Record:
    address = Address(resource, "default", name)
    metadata = {"name": name, "namespace": "default", "uid": uid}
    await store.write(Write(address, await store.get(address), {"metadata": metadata}))
    found = await store.get(address)
    assert found is not None
    return found


def known(store: Store, key: SigningKey | None = None, clock: Clock | None = None) -> Accounts:
    accounts = Accounts(store, ISSUER, clock or Clock())
    accounts.key = key or SigningKey()
    return accounts


async def given(store: Store, accounts: Accounts, **more: Any) -> str:
    account = await put(store, "serviceaccounts", "bot", "u-1")
    options = {"seconds": 600, "audiences": [ISSUER], "bound": None, **more}
    return accounts.give(account, **options)[0]


async def test_a_token_stands_for_its_account(store: Store) -> None:
    accounts = known(store)
    token = await given(store, accounts)
    identity = await accounts.authenticate(token)
    assert identity is not None
    assert identity.user == "system:serviceaccount:default:bot"
    assert identity.uid == "u-1"
    assert identity.groups == {
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:default",
    }
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["iss"] == ISSUER
    assert claims["aud"] == [ISSUER]
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (NOW, NOW, NOW + 600)
    assert claims["kubernetes.io"] == {
        "namespace": "default",
        "serviceaccount": {"name": "bot", "uid": "u-1"},
    }
    assert dict(identity.extra) == {
        "authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)
    }


async def test_a_token_ends(store: Store) -> None:
    clock = Clock()
    accounts = known(store, clock=clock)
    token = await given(store, accounts)
    clock.now = NOW + 599.9
    assert await accounts.authenticate(token)
    clock.now = NOW + 600
    with pytest.raises(DeniedError):
        await accounts.authenticate(token)
    clock.now = NOW - 60
    with pytest.raises(DeniedError):
        await accounts.authenticate(token)


async def test_a_token_is_for_its_audience(store: Store) -> None:
    accounts = known(store)
    token = await given(store, accounts, audiences=["vault", "other"])
    with pytest.raises(DeniedError):
        await accounts.authenticate(token)
    found = await accounts.review(token, ["x", "vault"])
    assert found is not None
    assert found.audiences == ("vault",)
    assert await accounts.review(token, ["x"]) is None


async def test_a_token_goes_with_its_account(store: Store) -> None:
    accounts = known(store)
    token = await given(store, accounts)
    assert await accounts.authenticate(token)
    await put(store, "serviceaccounts", "bot", "u-2")  # deleted and made again
    with pytest.raises(DeniedError):
        await accounts.authenticate(token)
    record = await put(store, "serviceaccounts", "bot", "u-1")
    assert await accounts.authenticate(token)
    await store.write(Write(record.address, record, None))
    with pytest.raises(DeniedError):
        await accounts.authenticate(token)


@pytest.mark.parametrize("kind", ["pod", "secret"])
async def test_a_token_goes_with_what_it_is_bound_to(store: Store, kind: str) -> None:
    accounts = known(store)
    record = await put(store, f"{kind}s", "box", "p-1")
    token = await given(store, accounts, bound=Bound(kind, "box", "p-1"))
    identity = await accounts.authenticate(token)
    assert identity is not None
    pod = {"authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"}
    assert (pod <= dict(identity.extra).keys()) is (kind == "pod")
    await store.write(Write(record.address, record, None))
    with pytest.raises(DeniedError):
        await accounts.authenticate(token)


async def test_a_token_goes_soon_after_its_account_began_to(store: Store) -> None:
    clock = Clock()
    accounts = known(store, clock=clock)
    token = await given(store, accounts)
    before = await store.get(Address("serviceaccounts", "default", "bot"))
    assert before is not None
    leaving = before.object()
    began = datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    leaving["metadata"] |= {"deletionTimestamp": began, "finalizers": ["a.b/c"]}
    await store.write(Write(before.address, before, leaving))
    clock.now = NOW + 59
    assert await accounts.authenticate(token) is not None
    clock.now = NOW + 61
    with pytest.raises(DeniedError):
        await accounts.authenticate(token)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_what_this_key_did_not_sign_is_nobody(store: Store) -> None:
    key = SigningKey()
    accounts = known(store, key)
    token = await given(store, accounts)
    head, body, signature = token.split(".")
    header, claims = (
        jwt.get_unverified_header(token),
        jwt.decode(token, options={"verify_signature": False}),
    )
    jwk = jwt.PyJWK(key.public()["keys"][0]).key
    pem = jwk.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    confused = f"{encoded({**header, 'alg': 'HS256'})}.{body}"
    mac = hmac.digest(pem, confused.encode(), hashlib.sha256)
    another = SigningKey()
    forged = [
        f"{encoded({**header, 'alg': 'none'})}.{body}.",
        f"{encoded({**header, 'alg': 'None'})}.{body}.{signature}",
        f"{confused}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
        f"{head}.{encoded({**claims, 'exp': NOW + 10**6})}.{signature}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}.",
        f"{head}.{body}",
        another.sign(claims),
        jwt.encode(claims, another._key, "ES256", {"kid": key.id}),
        jwt.encode(claims, "shared-secret-of-thirty-two-bytes!", "HS256", {"kid": key.id}),
        jwt.encode(claims, another._key, "ES256", {"kid": key.id, "jwk": another.public()}),
        "..",
        "a.b.c",
        token + "x" * 20_000,
        "\udcff.x.y",
    ]
    for one in forged:
        assert await accounts.authenticate(one) is None, one
        assert await accounts.review(one, [ISSUER]) is None
    assert await accounts.authenticate(token)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://elsewhere"},
        {"aud": ISSUER + "x"},
        {"aud": ISSUER},
        {"exp": "never"},
        {"exp": None},
        {"nbf": None},
        {"kubernetes.io": None},
        {"kubernetes.io": {"namespace": "default"}},
        {"kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "bot"}}},
        {"kubernetes.io": {"namespace": "other", "serviceaccount": {"name": "bot", "uid": "u-1"}}},
    ],
)
async def test_odd_claims_of_our_own_are_refused(store: Store, change: dict[str, Any]) -> None:
    key = SigningKey()
    accounts = known(store, key)
    claims = jwt.decode(await given(store, accounts), options={"verify_signature": False})
    with pytest.raises(DeniedError):
        await accounts.authenticate(key.sign({**claims, **change}))


async def test_the_key_is_kept_to_its_owner(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "tokens.key"
    key = SigningKey.kept(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.kept(path).id == key.id
    token = await given(store, known(store, key))
    assert await known(store, SigningKey.kept(path)).authenticate(token)
    path.chmod(0o640)
    with pytest.raises(DeniedError, match="may be read by others"):
        SigningKey.kept(path)
    path.chmod(0o600)
    path.write_text("x")
    with pytest.raises(InvalidError, match="holds no key"):
        SigningKey.kept(path)
    wrong = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(wrong)
    with pytest.raises(InvalidError, match="holds no key"):
        SigningKey.kept(path)
    assert list(path.parent.iterdir()) == [path]


def test_the_public_half_holds_no_more() -> None:
    (key,) = SigningKey().public()["keys"]
    assert set(key) == {"use", "kty", "kid", "crv", "alg", "x", "y"}
