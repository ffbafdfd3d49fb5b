"""Who calls, and what they may."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Scope

from towpath import web
from towpath.auth import ANONYMOUS, Authenticator, Guard, Identity, Several, Tokens, new_token
from towpath.errors import DeniedError, Reason, UnavailableError

ADA = Identity("ada", frozenset({"writers"}))
TOKENS = Tokens([("right", ADA), ("other", Identity("bob"))])


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "header", ["Bearer right", "bearer right", basic("any", "right"), basic("", "right")]
)
def test_a_token_names_its_holder(header: str) -> None:
    assert TOKENS.identify(header) == ADA


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_anonymous(header: str | None) -> None:
    assert TOKENS.identify(header) is ANONYMOUS


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", "Bearer", "Bearer ", "right", "Digest right", "Basic !!", basic("right", "")],
)
def test_a_wrong_one_is_refused(header: str) -> None:
    with pytest.raises(DeniedError):
        TOKENS.identify(header)


@given(st.text())
def test_any_header_is_known_or_refused(header: str) -> None:
    try:
        identity = TOKENS.identify(header)
    except DeniedError:
        return
    assert identity.anonymous == (not header)


def test_an_empty_token_names_nobody() -> None:
    with pytest.raises(DeniedError):
        Tokens([("", ADA)]).identify("Bearer ")


def test_new_tokens_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def guarded() -> TestClient:
    async def who(request: Request) -> Response:
        return PlainTextResponse(request.state.identity.user)

    inner = web.app([Route("/{path:path}", who)], web.inference_error)
    return TestClient(
        Guard(
            inner,
            TOKENS,
            lambda identity, scope: scope["path"] == "/open" or "writers" in identity.groups,
            web.inference_error,
        )
    )


@pytest.mark.parametrize(
    ("path", "token", "status", "body"),
    [
        ("/open", None, 200, "system:anonymous"),
        ("/open", "wrong", 401, None),
        ("/closed", None, 401, None),
        ("/closed", "other", 403, None),
        ("/closed", "right", 200, "ada"),
    ],
)
def test_the_guard(path: str, token: str | None, status: int, body: str | None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    answer = guarded().get(path, headers=headers)

    assert answer.status_code == status
    if body is not None:
        assert answer.text == body
    else:
        assert set(answer.json()) == {"error"}
        assert token is None or token not in answer.text
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)


class Refusing:
    """Knows one token, and that it is void."""

    async def authenticate(self, token: str) -> Identity | None:
        if token == "void":
            raise DeniedError("it is void", reason=Reason.UNAUTHENTICATED)
        return None


@pytest.mark.anyio
async def test_the_first_that_knows_a_token_says_whose_it_is() -> None:
    late = Tokens([("right", Identity("eve")), ("void", Identity("eve")), ("late", ADA)])
    several = Several([TOKENS, Refusing(), late])
    assert await several.authenticate("right") == ADA
    assert await several.authenticate("late") == ADA
    assert await several.authenticate("nobody") is None
    with pytest.raises(DeniedError):
        await several.authenticate("void")


async def as_somebody(identity: Identity, scope: Scope) -> Identity | bool:
    if scope["path"] == "/down":
        raise UnavailableError("the store is closed")
    return Identity("carl") if scope["path"] == "/carl" else identity.user == "ada"


@pytest.mark.parametrize("known", [TOKENS, [Refusing(), TOKENS]])
@pytest.mark.parametrize(
    ("path", "token", "status", "body"),
    [
        ("/", "right", 200, "ada"),
        ("/carl", "other", 200, "carl"),
        ("/", "other", 403, None),
        ("/down", "right", 503, None),
        ("/", "nobody", 401, None),
    ],
)
def test_a_rule_may_wait_refuse_and_let_in_as_another(
    known: Authenticator | list[Authenticator], path: str, token: str, status: int, body: str | None
) -> None:
    async def who(request: Request) -> Response:
        return PlainTextResponse(request.state.identity.user)

    inner = web.app([Route("/{path:path}", who)], web.inference_error)
    client = TestClient(Guard(inner, known, as_somebody, web.inference_error))

    answer = client.get(path, headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == status
    assert body is None or answer.text == body


def test_two_headers_are_none() -> None:
    headers = [("Authorization", "Bearer right"), ("Authorization", "Bearer other")]
    assert guarded().get("/open", headers=headers).status_code == 401
