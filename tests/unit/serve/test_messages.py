"""Whole requests and answers, JSON and binary."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.errors import InvalidError
from towpath.serve.messages import decode, encode
from towpath.serve.tensors import Signature, Tensor

SIGNATURE = Signature(
    (Tensor("a", "FP32", (-1, 2)), Tensor("b", "INT64", (1,))),
    (Tensor("y", "FP32", (-1,)), Tensor("z", "BYTES", (-1,))),
)
A = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2]}
B = {"name": "b", "datatype": "INT64", "shape": [1], "data": [7]}
OUTPUTS = {
    "y": np.array([0.5, 0.25], np.float32),
    "z": np.array([b"yes", b"no"], dtype=object),
}


def body(**request: Any) -> bytes:
    return orjson.dumps({"inputs": [A, B], **request})


def binary(*inputs: tuple[dict[str, Any], bytes], **request: Any) -> tuple[bytes, str]:
    told = [
        {k: v for k, v in tensor.items() if k != "data"}
        | {"parameters": {"binary_data_size": len(raw)}}
        for tensor, raw in inputs
    ]
    head = orjson.dumps({"inputs": told, **request})
    return head + b"".join(raw for _, raw in inputs), str(len(head))


A_RAW = (A, np.array([1.5, 2], "<f4").tobytes())
B_RAW = (B, np.array([7], "<i8").tobytes())


def test_json_request_in_any_order_with_an_id() -> None:
    inference = decode(body(inputs=[B, A], id="x1"), None, SIGNATURE)

    assert inference.id == "x1"
    assert inference.inputs["a"].tolist() == [[1.5, 2.0]]
    assert inference.inputs["b"].tolist() == [7]
    assert [(wanted.tensor.name, wanted.binary) for wanted in inference.outputs] == [
        ("y", False),
        ("z", False),
    ]


def test_binary_inputs_follow_in_their_order() -> None:
    content, length = binary(B_RAW, A_RAW)

    inference = decode(content, length, SIGNATURE)

    assert inference.inputs["a"].tolist() == [[1.5, 2.0]]
    assert inference.inputs["b"].tolist() == [7]


def test_json_answer() -> None:
    inference = decode(body(id="x1", outputs=[{"name": "z"}]), None, SIGNATURE)

    content, length = encode(("m", "3"), inference, OUTPUTS)

    assert length is None
    assert orjson.loads(content) == {
        "model_name": "m",
        "model_version": "3",
        "id": "x1",
        "outputs": [{"name": "z", "datatype": "BYTES", "shape": [2], "data": ["yes", "no"]}],
    }


def test_answer_without_id_has_none() -> None:
    content, _ = encode(("m", "3"), decode(body(), None, SIGNATURE), OUTPUTS)

    assert "id" not in orjson.loads(content)


def test_binary_answer_for_all_or_for_one() -> None:
    everything = decode(body(parameters={"binary_data_output": True}), None, SIGNATURE)
    one = decode(
        body(outputs=[{"name": "z"}, {"name": "y", "parameters": {"binary_data": True}}]),
        None,
        SIGNATURE,
    )

    content, length = encode(("m", "1"), everything, OUTPUTS)
    assert length is not None
    sizes = [o["parameters"]["binary_data_size"] for o in orjson.loads(content[:length])["outputs"]]
    assert sizes == [8, 13]
    assert content[length:] == OUTPUTS["y"].tobytes() + b"\3\0\0\0yes\2\0\0\0no"

    content, length = encode(("m", "1"), one, OUTPUTS)
    assert length is not None
    told = orjson.loads(content[:length])["outputs"]
    assert [o["name"] for o in told] == ["z", "y"]
    assert told[0]["data"] == ["yes", "no"]
    assert content[length:] == OUTPUTS["y"].tobytes()


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"inputs":[{"name":"a","datatype":"FP32","shape":[1,2],"data":[NaN,1]}]}', "not valid"),
        (b"{}", "'inputs' must be"),
        (body(inputs={}), "'inputs' must be"),
        (body(inputs=[A, 1]), "inputs[1]"),
        (body(inputs=[A]), "input is missing: 'b'"),
        (body(inputs=[]), "input is missing: 'a', 'b'"),
        (body(inputs=[A, B, {**A, "name": "c"}]), "input 'c' is not one of the model's"),
        (body(inputs=[A, A, B]), "input 'a' is there twice"),
        (body(inputs=[{**A, "datatype": "FP64"}, B]), "input 'a': datatype is FP64"),
        (body(inputs=[{**A, "datatype": "float"}, B]), "input 'a': datatype is not known"),
        (body(inputs=[{**A, "datatype": []}, B]), "input 'a': datatype is not known"),
        (body(inputs=[{**A, "shape": [1, 3]}, B]), "input 'a': shape [1, 3]"),
        (body(inputs=[{**A, "data": [1]}, B]), "input 'a': data has 1"),
        (body(inputs=[{"name": "a", "datatype": "FP32", "shape": [1, 2]}, B]), "neither 'data'"),
        (body(inputs=[{**A, "parameters": 3}, B]), "'parameters' must be an object"),
        (body(inputs=[{**A, "parameters": {"binary_data_size": 8}}, B]), "both 'data'"),
        (body(outputs=[{"name": "q"}]), "output 'q' is not one of the model's"),
        (body(outputs={"name": "q"}), "'outputs' must be"),
        (body(outputs=["y"]), "outputs[0]"),
        (body(id=3), "'id' must be a string"),
    ],
)
def test_wrong_requests_are_named(request_body: bytes, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        decode(request_body, None, SIGNATURE)

    assert words in str(caught.value)


def test_binary_lengths_must_agree() -> None:
    content, length = binary(A_RAW, B_RAW)

    for wrong, words in (
        ((content, "99999"), "body has"),
        ((content, "9" * 5000), "body has"),
        ((content, "-1"), "not a number"),
        ((content, "²"), "not a number"),
        ((content[:-1], length), "input 'b': 8 binary bytes are announced and 7 follow"),
        ((content + b"!", length), "1 bytes follow"),
    ):
        with pytest.raises(InvalidError) as caught:
            decode(*wrong, SIGNATURE)
        assert words in str(caught.value)

    content, length = binary((A, b"1234"), B_RAW)
    with pytest.raises(InvalidError, match="input 'a': 4 bytes were sent"):
        decode(content, length, SIGNATURE)


@given(st.binary(max_size=200), st.none() | st.text(max_size=3) | st.integers(0, 200).map(str))
def test_any_body_is_read_or_refused(content: bytes, length: str | None) -> None:
    with pytest.raises(InvalidError):
        decode(content, length, SIGNATURE)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "y", "z"]) | JSON,
        "datatype": st.sampled_from(["FP32", "INT64", "BYTES"]) | JSON,
        "shape": st.lists(st.integers(-1, 2), max_size=3) | JSON,
        "data": JSON,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "binary_data"]), JSON, max_size=2
        )
        | JSON,
    },
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON,
            "inputs": st.lists(FIELDS | st.sampled_from([A, B]) | JSON, max_size=3) | JSON,
            "outputs": st.lists(FIELDS | JSON, max_size=2) | JSON,
            "parameters": JSON,
        },
    ),
    st.booleans(),
)
def test_any_request_is_answered_or_refused(request_object: Any, with_tail: bool) -> None:
    content = orjson.dumps(request_object)
    try:
        inference = decode(content, str(len(content)) if with_tail else None, SIGNATURE)
    except InvalidError:
        return
    assert set(inference.inputs) == {"a", "b"}
    assert encode(("m", "1"), inference, OUTPUTS).content
