"""``towpath registry serve`` and its doors: who is let in, with which token, to do what."""

import json
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from towpath import apiserver, web
from towpath.testing import RunningRegistry, running_api, running_registry, towpath

pytestmark = pytest.mark.timeout(90)

P = "/api/model_registry/v1alpha3"
TOKENS = """\
reading,rita,1
writing,will,2,"registry-writers"
ruling,ada,3,"registry-admins,staff"
"""
MODEL = {"name": "m"}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens.csv"
    path.write_text(TOKENS)
    return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, tokens: Path) -> Iterator[RunningRegistry]:
    """A registry that knows three tokens and deletes."""
    folder = tmp_path_factory.mktemp("guarded")
    with running_registry(folder, "--tokens", str(tokens), "--allow-delete") as running:
        yield running


def client(url: str, token: str = "", **more: Any) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=20, **more)


def error(answer: httpx2.Response) -> tuple[int, str, str]:
    told = answer.json()
    assert set(told) == {"code", "message"}
    return answer.status_code, told["code"], told["message"]


READING, WRITING, RULING = "reading", "writing", "ruling"


@pytest.mark.parametrize("prefix", ["/api/model_registry/v1alpha3", "/api/model_registry/v1"])
@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/registered_models", READING),
        ("GET", "/registered_models/1", READING),
        ("GET", "/events", READING),
        ("POST", "/registered_models", WRITING),
        ("PATCH", "/registered_models/999", WRITING),
        ("POST", "/links", WRITING),
        ("DELETE", "/links/999", WRITING),
        ("DELETE", "/registered_models/999", RULING),
        ("GET", "/export", RULING),
        ("POST", "/import", RULING),
        ("GET", "/nowhere", READING),
        ("PUT", "/registered_models/1", WRITING),
    ],
)
def test_roles_and_methods(
    guarded: RunningRegistry, prefix: str, method: str, path: str, least: str
) -> None:
    ranks = ["", READING, WRITING, RULING]
    for token in ranks:
        with client(guarded.url, token) as http:
            answer = http.request(method, prefix + path, json={})
        if ranks.index(token) >= ranks.index(least):
            assert answer.status_code not in (401, 403), (token, answer.text)
        elif not token:
            assert error(answer)[:2] == (401, "Unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        else:
            status, code, message = error(answer)
            assert (status, code) == (403, "Forbidden")
            assert "may not" in message


def test_a_refused_write_writes_nothing(guarded: RunningRegistry) -> None:
    with client(guarded.url, READING) as http:
        refused = http.post(f"{P}/registered_models", json={"name": "not-there"})
        assert refused.status_code == 403
        assert http.get(f"{P}/registered_model", params={"name": "not-there"}).status_code == 404


@pytest.mark.parametrize("token", ["wrong", "READING", "a.b.c", "ruling\xff"])
def test_a_wrong_token_is_refused(guarded: RunningRegistry, token: str) -> None:
    value = f"Bearer {token}".encode("latin-1")
    with client(guarded.url) as http:
        answer = http.get(f"{P}/registered_models", headers={"Authorization": value})
    assert error(answer)[0] == 401


def test_who_wrote_is_remembered(guarded: RunningRegistry) -> None:
    with client(guarded.url, WRITING) as http:
        made = http.post(f"{P}/registered_models", json={"name": "written"}).json()
        events = http.get(f"{P}/events").json()["items"]
    found = [one for one in events if one["after"] and one["after"]["id"] == made["id"]]
    assert {one["actor"] for one in found} == {"will"}


def test_health_is_open_and_metrics_too_on_this_machine(guarded: RunningRegistry) -> None:
    with client(guarded.url) as http:
        assert http.get("/readyz/isDirty").text == "OK"
        assert http.get("/readyz/health").status_code == 200
        assert "towpath_registry_requests_total" in http.get("/metrics").text
        assert http.post("/metrics").status_code == 401


def test_open_on_loopback_whatever_the_token_and_not_by_a_foreign_name(tmp_path: Path) -> None:
    with running_registry(tmp_path) as running, client(running.url) as http:
        made = http.post(f"{P}/registered_models", json=MODEL)
        assert made.status_code == 201
        assert http.get(f"{P}/export").status_code == 200
        for brought in ("Bearer x", "Negotiate x"):  # nobody here could know it
            asked = http.get(f"{P}/registered_models", headers={"Authorization": brought})
            assert asked.status_code == 200, brought
            headers = {"Host": "evil.example", "Authorization": brought}
            assert error(http.get(f"{P}/registered_models", headers=headers))[0] == 403
        foreign = http.get(f"{P}/registered_models", headers={"Host": "evil.example"})
        assert error(foreign)[0] == 403
        kept = http.delete(f"{P}/registered_models/{made.json()['id']}")
        assert kept.status_code in (403, 405)
        assert "allow_delete" in kept.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_it_refuses_to_be_open_to_all_unless_told(tmp_path: Path, host: str) -> None:
    base = ("registry", "serve", "--db", str(tmp_path / "r.sqlite"), "--port", "0")
    refused = towpath(*base, "--host", host, environment={"HOME": str(tmp_path)})
    assert (refused.code, refused.out) == (2, "")
    assert "open to everybody" in refused.err
    assert "--tokens" in refused.err
    assert "Traceback" not in refused.err


def test_open_to_all_reads_and_writes_when_told(tmp_path: Path, tokens: Path) -> None:
    arguments = ("--host", "0.0.0.0", "--open", "--tokens", str(tokens))
    with running_registry(tmp_path, *arguments) as running, client(running.url) as http:
        http.headers["Host"] = "registry.example"
        assert http.post(f"{P}/registered_models", json=MODEL).status_code == 201
        assert error(http.get(f"{P}/export"))[0] == 403
        http.headers["Authorization"] = "Bearer ruling"
        assert http.get(f"{P}/export").status_code == 200


def test_on_other_addresses_metrics_need_a_role(tmp_path: Path, tokens: Path) -> None:
    arguments = ("--host", "0.0.0.0", "--tokens", str(tokens), "--reader", "rita")
    with running_registry(tmp_path, *arguments) as running:
        with client(running.url) as http:
            assert http.get("/metrics").status_code == 401
        with client(running.url, READING) as http:
            assert http.get("/metrics").status_code == 200


def test_names_of_roles_may_be_chosen(tmp_path: Path, tokens: Path) -> None:
    names = ("--reader", "nobody", "--writer", "rita", "--writer", "staff")
    with running_registry(tmp_path, "--tokens", str(tokens), *names) as running:
        for token, status in ((READING, 201), (RULING, 201), (WRITING, 403)):
            with client(running.url, token) as http:
                made = http.post(f"{P}/registered_models", json={"name": token})
                assert made.status_code == status
        with client(running.url, WRITING) as http:
            assert error(http.get(f"{P}/registered_models"))[0] == 403


def test_tls(tmp_path: Path, tokens: Path) -> None:
    made = apiserver.ensure(tmp_path / "tls", ("localhost",))
    pair = ("--tls-cert", str(made.chain), "--tls-key", str(made.key))
    with running_registry(tmp_path / "r", "--tokens", str(tokens), *pair) as running:
        assert running.url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cadata=made.authority)
        url = running.url.replace("127.0.0.1", "localhost")
        with client(url, WRITING, verify=trust) as http:
            assert http.post(f"{P}/registered_models", json=MODEL).status_code == 201
        with client(url, WRITING) as http, pytest.raises(httpx2.ConnectError):
            http.get(f"{P}/registered_models")


@pytest.mark.parametrize("what", ["missing", "other", "encrypted"])
def test_a_certificate_that_is_none_is_refused(tmp_path: Path, what: str) -> None:
    made = apiserver.ensure(tmp_path / "tls", ("localhost",))
    key = tmp_path / "key.pem"
    if what == "other":
        key.write_bytes(apiserver.ensure(tmp_path / "others", ("localhost",)).key.read_bytes())
    if what == "encrypted":
        line = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(made.key)]
        if subprocess.run([*line, "-out", str(key)], capture_output=True, check=False).returncode:
            pytest.skip("openssl is not installed")
    refused = towpath(
        *("registry", "serve", "--db", str(tmp_path / "r"), "--port", "0"),
        *("--tls-cert", str(made.chain), "--tls-key", str(key)),
        environment={"HOME": str(tmp_path)},
    )
    assert refused.code == 2
    assert "no certificate and its key" in refused.err


def test_pages_from_anywhere_read_with_a_token_only(tokens: Path, tmp_path: Path) -> None:
    """Who may read without one may do so from a page of this machine, or one that was named."""
    arguments = ("--tokens", str(tokens), "--reader", "system:unauthenticated")
    with running_registry(tmp_path, *arguments) as running, client(running.url) as http:
        found = http.get(f"{P}/registered_models", headers={"Origin": "http://a.example"})
        assert found.status_code == 200
        assert "Access-Control-Allow-Origin" not in found.headers


def test_another_address_of_this_machine(tmp_path: Path) -> None:
    arguments = ("--host", "127.0.0.2")
    with running_registry(tmp_path, *arguments) as running, client(running.url) as http:
        assert http.get(f"{P}/registered_models").status_code == 200


def preflight(http: httpx2.Client, origin: str, method: str) -> httpx2.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,if-match",
    }
    return http.options(f"{P}/registered_models/1", headers=headers)


def test_pages_may_call_with_a_token_from_anywhere(guarded: RunningRegistry) -> None:
    with client(guarded.url) as http:
        for method in ("PATCH", "DELETE", "POST", "GET"):
            answer = preflight(http, "https://dashboard.example", method)
            assert answer.status_code == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://dashboard.example"
            assert method in answer.headers["Access-Control-Allow-Methods"]
            assert "Access-Control-Allow-Credentials" not in answer.headers
        assert preflight(http, "null", "PATCH").status_code == 400
        refused = http.get(f"{P}/registered_models", headers={"Origin": "http://a.example"})
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == "http://a.example"
    with client(guarded.url, READING) as http:
        found = http.get(f"{P}/registered_models", headers={"Origin": "http://a.example"})
        assert "ETag" in found.headers["Access-Control-Expose-Headers"]


def test_where_no_token_is_needed_only_pages_of_this_machine_may(tmp_path: Path) -> None:
    arguments = ("--cors-origin", "https://dashboard.example")
    with running_registry(tmp_path, *arguments) as running, client(running.url) as http:
        for origin in ("http://localhost:3000", "http://127.0.0.1", "https://dashboard.example"):
            assert preflight(http, origin, "PATCH").status_code == 200
        for origin in (
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.11",
        ):
            assert preflight(http, origin, "PATCH").status_code == 400
            found = http.get(f"{P}/registered_models", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in found.headers


@pytest.fixture
def service_account(tmp_path: Path, kubectl: str) -> Iterator[tuple[Any, Callable[..., str]]]:
    """A Kubernetes API, and a way to get tokens of its accounts."""
    with running_api(tmp_path / "kube") as api:

        def use(*arguments: str) -> str:
            line = [kubectl, "--kubeconfig", str(api.kubeconfig), *arguments]
            done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        yield api, use


def test_accounts_of_kubernetes_may_call(
    tmp_path: Path, service_account: tuple[Any, Callable[..., str]]
) -> None:
    api, use = service_account
    use("create", "serviceaccount", "robot")
    use("create", "serviceaccount", "cart")
    robot, cart = use("create", "token", "robot"), use("create", "token", "cart")
    other = use("create", "token", "robot", "--audience", "vault")
    name = "system:serviceaccount:default:robot"
    arguments = ("--kubeconfig", str(api.kubeconfig), "--writer", name)
    with running_registry(tmp_path / "r", *arguments) as running:
        with client(running.url, robot) as http:
            assert http.post(f"{P}/registered_models", json=MODEL).status_code == 201
            assert {one["actor"] for one in http.get(f"{P}/events").json()["items"]} == {name}
        with client(running.url, cart) as http:
            assert http.get(f"{P}/registered_models").status_code == 200
            assert error(http.post(f"{P}/registered_models", json=MODEL))[0] == 403
        for token in (other, robot[:-4] + "AAAA", "nothing"):
            with client(running.url, token) as http:
                assert error(http.get(f"{P}/registered_models"))[0] == 401
        api.stop()
        new = client(running.url, f"{cart}x")
        with new as http:  # nobody knows now whose it is, which is not the caller's fault
            status, _, message = error(http.get(f"{P}/registered_models"))
            assert (status, "no answer" in message) == (503, True)
        with client(running.url, robot) as http:
            assert http.get(f"{P}/registered_models").status_code == 200
        assert robot not in running.log.read_text()


def test_tokens_may_have_to_be_for_this_registry(
    tmp_path: Path, service_account: tuple[Any, Callable[..., str]]
) -> None:
    api, use = service_account
    use("create", "serviceaccount", "robot")
    ours = use("create", "token", "robot", "--audience", "registry")
    its_own = use("create", "token", "robot")
    arguments = ("--kubeconfig", str(api.kubeconfig))
    settings = {"TOWPATH_REGISTRY_TOKEN_AUDIENCE": "registry"}
    with running_registry(tmp_path / "r", *arguments, environment=settings) as running:
        with client(running.url, ours) as http:
            assert http.get(f"{P}/registered_models").status_code == 200
        with client(running.url, its_own) as http:
            assert error(http.get(f"{P}/registered_models"))[0] == 401


@pytest.mark.anyio
async def test_users_of_an_issuer_may_call(tmp_path: Path) -> None:
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    certificate = apiserver.ensure(tmp_path / "issuer")
    sock = web.listen("127.0.0.1", 0)
    issuer = f"https://127.0.0.1:{sock.getsockname()[1]}"

    async def answer(request: Request) -> Response:
        if request.url.path == "/keys":
            return JSONResponse({"keys": [{**public, "kid": "k", "use": "sig"}]})
        return JSONResponse({"issuer": issuer, "jwks_uri": f"{issuer}/keys"})

    def token(signed_by: Any = key, **more: Any) -> str:
        now = time.time()
        claims = {"iss": issuer, "aud": "registry", "sub": "ada", "exp": now + 300, **more}
        return jwt.encode(claims, signed_by, "RS256", {"kid": "k"})

    async def ask(url: str, bearer: str, method: str = "GET") -> httpx2.Response:
        headers = {"Authorization": f"Bearer {bearer}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            path = f"{url}{P}/registered_models"
            return await http.request(method, path, json={"name": "m"}, headers=headers)

    def serve_and_ask() -> None:
        arguments = ("--oidc-issuer", issuer, "--oidc-audience", "registry")
        more = ("--oidc-groups-claim", "groups")
        ca = {"TOWPATH_REGISTRY_OIDC_CA_FILE": str(certificate.chain.with_name("ca.crt"))}
        with running_registry(tmp_path / "r", *arguments, *more, environment=ca) as running:
            asked = partial(anyio.run, ask, running.url)
            assert asked(token()).status_code == 200
            assert error(asked(token(), "POST"))[0] == 403
            assert asked(token(groups=["registry-writers"]), "POST").status_code == 201
            assert error(asked(token(other)))[0] == 401  # signed by somebody else
            assert error(asked(token(aud="elsewhere")))[0] == 401
            assert error(asked(token(exp=time.time() - 60)))[0] == 401
            assert running.stop() == 0

    routes = [Route(path, answer) for path in ("/.well-known/openid-configuration", "/keys")]
    app = web.app(routes, web.kubeflow_error)
    pair = (str(certificate.chain), str(certificate.key))
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, app, sock, certificate=pair, drain=1))
        await anyio.to_thread.run_sync(serve_and_ask)
        tasks.cancel_scope.cancel()


def test_a_body_that_is_too_large_is_refused_early(guarded: RunningRegistry) -> None:
    body = json.dumps({"name": "x", "description": "y" * (17 * 1024 * 1024)}).encode()
    headers = {"Content-Type": "application/json"}
    with client(guarded.url, WRITING) as http:
        answer = http.post(
            f"{P}/registered_models", content=body, headers={**http.headers, **headers}
        )
    assert error(answer)[0] == 413
