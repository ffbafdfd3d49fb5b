"""Every surface answers every failure in its own one shape, whatever went wrong."""

from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from towpath import web
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
    first_known,
)

SHAPES = {
    web.kubernetes_status: {
        "kind",
        "apiVersion",
        "metadata",
        "status",
        "message",
        "reason",
        "code",
    },
    web.kubeflow_error: {"code", "message"},
    web.oci_errors: {"errors"},
    web.inference_error: {"error"},
}
ERRORS: dict[str, tuple[Exception, int]] = {
    "missing": (NotFoundError("no such thing", hint="Look elsewhere."), 404),
    "conflict": (ConflictError("changed meanwhile"), 409),
    "expired": (ConflictError("too old", reason=Reason.EXPIRED), 410),
    "large": (InvalidError("too large", reason=Reason.TOO_LARGE), 413),
    "bad": (InvalidError("not JSON", reason=Reason.BAD_REQUEST), 400),
    "denied": (DeniedError("not you"), 403),
    "later": (UnavailableError("not now", retry_after=7), 503),
    "full": (UnavailableError("the disk is full", reason=Reason.NO_SPACE), 507),
    "bug": (RuntimeError("secret detail"), 500),
}


def client(shape: web.Shape) -> TestClient:
    async def fail(request: Request) -> Response:
        raise ERRORS[request.path_params["which"]][0]

    async def echo(request: Request) -> Response:
        return Response(await web.body(request, 10))

    routes = [Route("/fail/{which}", fail), Route("/echo", echo, methods=["POST"])]
    return TestClient(web.app(routes, shape), raise_server_exceptions=False)


def text_of(body: Mapping[str, Any]) -> str:
    if "errors" in body:
        return str(body["errors"][0]["message"])
    return str(body.get("message") or body.get("error"))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("which", ERRORS)
def test_an_error_has_the_surface_s_shape(shape: web.Shape, which: str) -> None:
    error, status = ERRORS[which]

    answer = client(shape).get(f"/fail/{which}")

    assert answer.status_code == status
    assert set(answer.json()) == SHAPES[shape]
    if isinstance(error, TowpathError):
        assert error.message in text_of(answer.json())
        assert error.hint in text_of(answer.json())
    else:
        assert "secret detail" not in answer.text
    if which == "later":
        assert answer.headers["Retry-After"] == "7"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/no", 404), ("GET", "/echo", 405)])
def test_a_route_that_is_none(shape: web.Shape, method: str, path: str, status: int) -> None:
    answer = client(shape).request(method, path)

    assert answer.status_code == status
    assert set(answer.json()) == SHAPES[shape]


def test_an_invalid_object_is_422_to_kubernetes_alone() -> None:
    ERRORS["invalid"] = (InvalidError("spec.x is wrong"), 0)

    assert client(web.kubernetes_status).get("/fail/invalid").status_code == 422
    assert client(web.inference_error).get("/fail/invalid").status_code == 400


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_is_read_with_a_bound(declared: bool) -> None:
    def chunks() -> Any:
        yield b"12345"
        yield b"67890"
        yield b"1"

    surface = client(web.inference_error)
    content = b"12345678901" if declared else chunks()

    assert surface.post("/echo", content=b"1234567890").content == b"1234567890"
    assert surface.post("/echo", content=content).status_code == 413


def test_every_reason_has_a_status() -> None:
    assert set(web.STATUS) == set(Reason)
    assert all(400 <= status < 600 for status in web.STATUS.values())


def test_the_first_error_of_ours_is_found_in_a_group() -> None:
    ours = ConflictError("here")
    inner = ExceptionGroup("b", [ours, NotFoundError("no")])

    assert first_known(ExceptionGroup("a", [inner])) is ours
    assert first_known(ExceptionGroup("a", [ValueError(), inner])) is None  # a bug is not hidden
    assert first_known(ValueError()) is None


def test_an_error_of_the_operating_system_is_one_sentence() -> None:
    told = first_known(PermissionError(13, "Permission denied", "/proc/foo"))

    assert isinstance(told, UnavailableError)
    assert told.message == "/proc/foo: Permission denied"
