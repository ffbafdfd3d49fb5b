"""The plan of one service: whatever runs, following the steps ends where it should."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.edge.plan import (
    Await,
    Desired,
    Fetch,
    Instance,
    Retire,
    Route,
    SpecError,
    Start,
    desired,
    plan,
)
from towpath.spec.names import Digest, ImageRef


def wanted(digit: str) -> Desired:
    digest = Digest("sha256:" + digit * 64)
    return Desired("default", "fraud", "onnx", ImageRef(f"127.0.0.1:5000/fraud@{digest}"), digest)


def instance(of: Desired, *, ready: bool = True, port: int = 1) -> Instance:
    return Instance(of.process, of.revision, f"127.0.0.1:{port}", ready)


OLD, NEW = wanted("a"), wanted("b")


def test_nothing_runs_and_nothing_is_here() -> None:
    assert plan(NEW, [], local=False, routed=None) == [Fetch(NEW.image), Start(NEW)]


def test_the_old_one_is_left_alone_until_the_new_one_is_ready() -> None:
    old, new = instance(OLD, port=1), instance(NEW, ready=False, port=2)

    steps = plan(NEW, [old, new], local=True, routed=old.address)

    assert steps == [Await(new)]


def test_traffic_moves_before_the_old_one_goes() -> None:
    old, new = instance(OLD, port=1), instance(NEW, port=2)

    steps = plan(NEW, [old, new], local=True, routed=old.address)

    assert steps == [Route(new), Retire(old)]


def test_a_world_that_fits_needs_no_step() -> None:
    new = instance(NEW)

    assert plan(NEW, [new], local=True, routed=new.address) == []


def test_a_deleted_service_is_unrouted_first() -> None:
    old = instance(OLD)

    assert plan(None, [old], local=True, routed=old.address) == [Route(None), Retire(old)]
    assert plan(None, [], local=True, routed=None) == []


@given(
    st.lists(st.sampled_from("abc"), unique=True),
    st.sampled_from("abc"),
    st.booleans(),
    st.sets(st.sampled_from("abc")),
)
def test_following_the_steps_converges_and_never_leaves_a_gap(
    running: list[str], target: str, local: bool, ready: set[str]
) -> None:
    """Carry the plan out on a toy world: it ends with the wanted one alone, and a service that
    answered once answers after every step."""
    goal = wanted(target)
    world = {d: instance(wanted(d), ready=d in ready, port=ord(d)) for d in running}
    routed = next((i.address for i in world.values() if i.ready), None)
    answered = routed is not None
    for _ in range(8):
        steps = plan(goal, list(world.values()), local=local, routed=routed)
        if not steps:
            break
        for step in steps:
            match step:
                case Fetch():
                    local = True
                case Start(new):
                    assert local
                    world[target] = instance(new, ready=False, port=ord(target))
                case Await():
                    world[target] = instance(goal, ready=True, port=ord(target))
                case Route(to):
                    assert to is not None
                    assert to.ready
                    routed = to.address
                case Retire(old):
                    assert old.address != routed
                    world = {k: v for k, v in world.items() if v != old}
            if answered:
                assert routed in [i.address for i in world.values()]
    assert list(world) == [target]
    assert routed == world[target].address


def service(**model: object) -> dict[str, object]:
    return {
        "metadata": {"name": "fraud", "namespace": "default"},
        "spec": {"predictor": {"model": model}},
    }


GOOD = "oci://127.0.0.1:5000/fraud@sha256:" + "a" * 64


def test_a_service_is_read() -> None:
    found = desired(service(modelFormat={"name": "onnx"}, storageUri=GOOD))  # type: ignore[arg-type]

    assert found == OLD
    assert found.revision == OLD.revision


def test_a_revision_is_of_the_image_and_the_version() -> None:
    revisions = {OLD.revision, NEW.revision, replace(OLD, version="2").revision}

    assert len(revisions) == 3
    assert all(re.fullmatch(r"fraud-[0-9a-f]{12}", revision) for revision in revisions)


@pytest.mark.parametrize(
    ("model", "failure", "says"),
    [
        ({}, "InvalidPredictorSpec", "spec.predictor.model"),
        ({"modelFormat": {"name": "pmml"}, "storageUri": GOOD}, "NoSupportingRuntime", "pmml"),
        ({"modelFormat": {"name": "onnx"}}, "InvalidPredictorSpec", "storageUri"),
        (
            {"modelFormat": {"name": "onnx"}, "storageUri": "oci://127.0.0.1:5000/fraud:latest"},
            "InvalidPredictorSpec",
            "by digest",
        ),
        (
            {"modelFormat": {"name": "onnx"}, "storageUri": "s3://bucket/fraud"},
            "InvalidPredictorSpec",
            "storageUri",
        ),
    ],
)
def test_what_cannot_run_says_why(model: dict[str, object], failure: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        desired(service(**model))  # type: ignore[arg-type]

    assert caught.value.failure == failure
