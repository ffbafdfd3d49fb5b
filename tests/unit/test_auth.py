"""Who calls, and what they may."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from towpath import web
from towpath.auth import ANONYMOUS, Guard, Identity, Tokens, new_token
from towpath.errors import DeniedError

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
