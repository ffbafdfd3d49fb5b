"""Tokens of an outside issuer: a real one, on a port of its own, over TLS of its own authority."""

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from towpath import apiserver, web
from towpath.auth import Identity
from towpath.auth.oidc import Claims, Oidc
from towpath.errors import DeniedError, InvalidError
from towpath.settings import Api, Settings

pytestmark = pytest.mark.anyio

AUDIENCE = "towpath"
KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def public(key: Any, name: str, **more: str) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if key in (KEY, OTHER) else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig", **more}


@dataclass
class Issuer:
    """An issuer whose answers a test may change."""

    url: str
    authority: Path
    keys: list[Any] = field(default_factory=lambda: [public(KEY, "k1", alg="RS256")])
    asked: list[str] = field(default_factory=list)
    answer: Callable[[str], Response | None] = lambda _: None
    stop: Callable[[], None] = lambda: None

    def token(self, key: Any = KEY, alg: str = "RS256", kid: str | None = "k1", **more: Any) -> str:
        now = time.time()
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 300,
            "groups": ["team", "staff"],
            "email": "ada@example.com",
            "email_verified": True,
            **more,
        }
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, key, alg, {"kid": kid} if kid else {})

    def oidc(self, **more: Any) -> Oidc:
        options = {"claims": Claims(user_prefix="-", groups="groups"), **more}
        return Oidc(self.url, AUDIENCE, authorities=self.authority, **options)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> apiserver.Certificate:
    return apiserver.ensure(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
async def issuer(certificate: apiserver.Certificate) -> AsyncIterator[Issuer]:
    async with started(certificate) as found:
        yield found


@contextlib.asynccontextmanager
async def started(certificate: apiserver.Certificate) -> AsyncIterator[Issuer]:
    sock = web.listen("127.0.0.1", 0)
    url = f"https://127.0.0.1:{sock.getsockname()[1]}"
    issuer = Issuer(url, certificate.chain.with_name("ca.crt"))

    async def answer(request: Request) -> Response:
        issuer.asked.append(request.url.path)
        changed = issuer.answer(request.url.path)
        if changed is not None:
            return changed
        if request.url.path == "/keys":
            return JSONResponse({"keys": issuer.keys})
        return JSONResponse({"issuer": url, "jwks_uri": f"{url}/keys"})

    paths = ("/.well-known/openid-configuration", "/keys")
    app = web.app([Route(path, answer) for path in paths], web.inference_error)
    serve = partial(
        web.serve, app, sock, certificate=(str(certificate.chain), str(certificate.key)), drain=1
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(serve)
        issuer.stop = tasks.cancel_scope.cancel
        yield issuer
        tasks.cancel_scope.cancel()


async def test_a_token_names_its_user(issuer: Issuer) -> None:
    oidc = issuer.oidc()
    assert await oidc.authenticate(issuer.token()) == Identity("ada", frozenset({"team", "staff"}))
    assert await oidc.authenticate(issuer.token(sub="bob", groups="one")) == Identity(
        "bob", frozenset({"one"})
    )
    assert await oidc.authenticate(issuer.token(aud=["x", AUDIENCE]))
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        (Claims(), ("ISSUER#ada", set())),
        (Claims(user_prefix="o:"), ("o:ada", set())),
        (Claims(user="email"), ("ada@example.com", set())),
        (Claims("sub", "-", "groups", "g:"), ("ada", {"g:team", "g:staff"})),
        (Claims("sub", "-", required={"email": "ada@example.com"}), ("ada", set())),
    ],
)
async def test_claims_become_names(issuer: Issuer, claims: Claims, wanted: Any) -> None:
    found = await issuer.oidc(claims=claims).authenticate(issuer.token())
    assert found is not None
    assert (found.user, found.groups) == (wanted[0].replace("ISSUER", issuer.url), wanted[1])


@pytest.mark.parametrize(
    "change",
    [
        {"exp": time.time() - 1},
        {"exp": None},
        {"exp": "later"},
        {"nbf": time.time() + 3600},
        {"iat": time.time() + 3600},
        {"aud": "another"},
        {"aud": None},
        {"aud": []},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "system:admin"},
        {"groups": 7},
        {"groups": [7]},
        {"kid": "unknown"},
        {"key": OTHER},
        {"key": CURVE, "alg": "ES256"},
        {"alg": "RS512"},
    ],
)
async def test_what_is_not_right_is_refused(issuer: Issuer, change: dict[str, Any]) -> None:
    oidc = issuer.oidc(algorithms=frozenset({"RS256", "RS512", "ES256"}))
    with pytest.raises(DeniedError):
        await oidc.authenticate(issuer.token(**change))


@pytest.mark.parametrize(
    ("claims", "change"),
    [
        (Claims(user="email"), {"email_verified": False}),
        (Claims(user="email"), {"email_verified": "true"}),
        (Claims(required={"tenant": "7"}), {"tenant": "8"}),
        (Claims(required={"tenant": "7"}), {}),
    ],
)
async def test_what_is_required(issuer: Issuer, claims: Claims, change: dict[str, Any]) -> None:
    with pytest.raises(DeniedError):
        await issuer.oidc(claims=claims).authenticate(issuer.token(**change))


async def test_nobody_becomes_the_cluster_s_own(issuer: Issuer) -> None:
    token = issuer.token(groups=["system:masters", "team"])
    found = await issuer.oidc().authenticate(token)
    assert found is not None
    assert found.groups == {"team"}


async def test_of_another_issuer_is_not_ours_to_judge(issuer: Issuer) -> None:
    oidc = issuer.oidc()
    pem = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert b"PUBLIC" in pem
    none = jwt.encode({"iss": issuer.url, "aud": AUDIENCE, "sub": "ada", "exp": 9e9}, "", "none")
    secret = issuer.token("shared-secret-of-thirty-two-bytes!", "HS256")
    for token in (
        issuer.token(iss="https://elsewhere"),
        none,
        secret,
        issuer.token(CURVE, "ES256"),
        "x",
        "a.b.c",
        "..",
        issuer.token() + "x" * 70_000,
    ):
        assert await oidc.authenticate(token) is None
    assert issuer.asked == []


async def test_a_tampered_token_is_refused(issuer: Issuer) -> None:
    oidc = issuer.oidc()
    head, _, signature = issuer.token().split(".")
    _, body, _ = issuer.token(sub="admin").split(".")
    with pytest.raises(DeniedError):
        await oidc.authenticate(f"{head}.{body}.{signature}")


async def test_new_keys_are_asked_for_but_not_at_will(issuer: Issuer) -> None:
    clock = [time.time()]
    oidc = issuer.oidc(now=lambda: clock[0])
    assert await oidc.authenticate(issuer.token())
    issuer.keys = [public(OTHER, "k2")]
    for _ in range(5):
        with pytest.raises(DeniedError):
            await oidc.authenticate(issuer.token(OTHER, kid="k2"))
    assert len(issuer.asked) == 2
    clock[0] += 11
    assert await oidc.authenticate(issuer.token(OTHER, kid="k2"))
    with pytest.raises(DeniedError):  # its key was taken back
        await oidc.authenticate(issuer.token())
    assert len(issuer.asked) == 4
    clock[0] += 200
    issuer.keys = [public(KEY, "k1")]
    assert await oidc.authenticate(issuer.token(OTHER, kid="k2"))
    assert len(issuer.asked) == 4


async def test_keys_get_old(issuer: Issuer) -> None:
    clock = [time.time()]
    oidc = issuer.oidc(now=lambda: clock[0])
    assert await oidc.authenticate(issuer.token())
    clock[0] += 3601
    issuer.keys = [public(OTHER, "k1")]
    with pytest.raises(DeniedError):
        await oidc.authenticate(issuer.token(exp=clock[0] + 60))


async def test_a_key_needs_no_name_where_it_is_the_only_one(issuer: Issuer) -> None:
    issuer.keys = [{k: v for k, v in public(KEY, "k1").items() if k != "kid"}]
    assert await issuer.oidc().authenticate(issuer.token(kid=None))
    issuer.keys = [public(CURVE, "c1"), {"kty": "oct", "k": "AAAA", "kid": "k1"}, "x", {"kty": 1}]
    oidc = issuer.oidc(algorithms=frozenset({"ES256", "RS256"}))
    assert await oidc.authenticate(issuer.token(CURVE, "ES256", "c1"))
    with pytest.raises(DeniedError):
        await oidc.authenticate(issuer.token(CURVE, "ES256", "k1"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda path: Response(status_code=500),
        lambda path: Response("not json"),
        lambda path: JSONResponse([]),
        lambda path: JSONResponse({"issuer": "https://elsewhere", "jwks_uri": "https://x/"}),
        lambda path: RedirectResponse("https://elsewhere.invalid/"),
        lambda path: Response(b" " * 2_000_000) if path == "/keys" else None,
        lambda path: JSONResponse({"keys": "none"}) if path == "/keys" else None,
        lambda path: JSONResponse({"issuer": "ISSUER", "jwks_uri": "file:///etc/passwd"}),
    ],
)
async def test_an_issuer_that_answers_nonsense(
    issuer: Issuer, wrong: Callable[[str], Response | None], caplog: pytest.LogCaptureFixture
) -> None:
    issuer.answer = wrong
    token = issuer.token()
    with caplog.at_level(logging.INFO), pytest.raises(DeniedError):
        await issuer.oidc().authenticate(token)
    assert "oidc" in caplog.text
    assert token not in caplog.text


async def test_only_its_own_authority_is_trusted(issuer: Issuer, tmp_path: Path) -> None:
    stranger = apiserver.ensure(tmp_path)
    oidc = Oidc(issuer.url, AUDIENCE, authorities=stranger.chain.with_name("ca.crt"))
    with pytest.raises(DeniedError):
        await oidc.authenticate(issuer.token())
    assert issuer.asked == []


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": "http://plain.example"},
        {"audience": ""},
        {"algorithms": frozenset({"HS256"})},
        {"algorithms": frozenset({"none"})},
        {"algorithms": frozenset()},
        {"authorities": Path("/nowhere.pem")},
    ],
)
def test_what_cannot_be_used(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        Oidc(**{"issuer": "https://x.example", "audience": "y", **options})


async def test_a_dead_issuer_refuses_and_what_it_gave_goes_on(
    certificate: apiserver.Certificate,
) -> None:
    clock = [time.time()]
    async with started(certificate) as issuer:
        early, late = issuer.oidc(now=lambda: clock[0]), issuer.oidc()
        assert await early.authenticate(issuer.token())
        issuer.stop()
    token = issuer.token(exp=clock[0] + 9000)
    with anyio.fail_after(6), pytest.raises(DeniedError):
        await late.authenticate(token)
    clock[0] += 4000
    assert await early.authenticate(token)


async def test_the_api_knows_its_users(issuer: Issuer, tmp_path: Path) -> None:
    settings = Api(
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_ca_file=str(issuer.authority),
        oidc_user_prefix="oidc:",
        oidc_groups_claim="groups",
        oidc_groups_prefix="oidc:",
        oidc_required_claims="email=ada@example.com",
    )
    assert Settings().merged({"api": vars(settings)}, "x").api == settings
    async with apiserver.Store() as store:
        server = apiserver.ApiServer(store, settings)
        async with anyio.create_task_group() as tasks:
            sock = web.listen("127.0.0.1", 0)
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            await tasks.start(partial(web.serve, server.guarded, sock, drain=1))
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
                bearer = {"Authorization": f"Bearer {issuer.token()}"}
                path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
                told = await http.post(path, json={}, headers=bearer)
                assert told.json()["status"]["userInfo"] == {
                    "username": "oidc:ada",
                    "groups": ["oidc:staff", "oidc:team", "system:authenticated"],
                }
                refused = await http.get("/api/v1/pods", headers=bearer)
                assert refused.status_code == 403
                expired = {"Authorization": f"Bearer {issuer.token(exp=1)}"}
                assert (await http.get("/api", headers=expired)).status_code == 401
            tasks.cancel_scope.cancel()


def test_settings_that_cannot_be_used() -> None:
    for settings in (
        Api(oidc_issuer="https://x.example"),
        Api(oidc_issuer="https://x.example", oidc_audience="a", oidc_required_claims="tenant"),
        Api(oidc_issuer="https://x.example", oidc_audience="a", oidc_algorithms="HS256"),
    ):
        with pytest.raises(InvalidError):
            apiserver.ApiServer(apiserver.Store(), settings)
