"""JSONPath, ages and tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from towpath.apiserver import jsonpath, presentation, table
from towpath.apiserver.builtin import BUILTIN
from towpath.apiserver.definitions import established, own, served
from towpath.apiserver.kinds import Catalogue
from towpath.errors import InvalidError

NOW = datetime(2026, 1, 10, tzinfo=UTC)
OBJECT: dict[str, Any] = {
    "metadata": {
        "name": "fraud",
        "creationTimestamp": "2026-01-09T23:59:50Z",
        "labels": {"a.b": 1},
    },
    "spec": {"formats": [{"name": "onnx"}, {"name": "lightgbm"}]},
    "status": {
        "url": "http://x",
        "conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}],
        "traffic": [{"latestRevision": True, "percent": 100}],
    },
}


@pytest.mark.parametrize(
    ("path", "result"),
    [
        (".status.url", ["http://x"]),
        ("{.status.url}", ["http://x"]),
        (".status.missing.deeper", []),
        (".status.conditions[?(@.type=='Ready')].status", ["True"]),
        ('.status.conditions[?(@.type == "Ready")].status', ["True"]),
        (".status.conditions[?(@.type!='Ready')].status", ["False"]),
        (".status.traffic[?(@.latestRevision==true)].percent", [100]),
        (".spec.formats[*].name", ["onnx", "lightgbm"]),
        (".spec.formats[1].name", ["lightgbm"]),
        (".spec.formats[-1].name", ["lightgbm"]),
        (".spec.formats[7].name", []),
        (".metadata.labels['a.b']", [1]),
        (r".metadata.labels.a\.b", [1]),
        (".metadata.labels.*", [1]),
    ],
)
def test_jsonpath(path: str, result: list[Any]) -> None:
    assert jsonpath.find(path)(OBJECT) == result


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b", "a b", ".a[(x)]"])
def test_jsonpath_refuses(path: str) -> None:
    with pytest.raises(InvalidError):
        jsonpath.find(path)


@pytest.mark.parametrize(
    ("since", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(seconds=125), "2m5s"),
        (timedelta(minutes=9), "9m"),
        (timedelta(minutes=59, seconds=59), "59m"),
        (timedelta(hours=3), "3h"),
        (timedelta(hours=7, minutes=30), "7h30m"),
        (timedelta(hours=30), "30h"),
        (timedelta(days=3, hours=5), "3d5h"),
        (timedelta(days=100), "100d"),
        (timedelta(days=800), "2y70d"),
        (timedelta(days=4000), "10y"),
        (timedelta(seconds=-30), "<invalid>"),
    ],
)
def test_age(since: timedelta, text: str) -> None:
    assert table.age((NOW - since).strftime("%Y-%m-%dT%H:%M:%SZ"), NOW) == text


def test_age_of_nothing() -> None:
    assert table.age("yesterday", NOW) == "<unknown>"


@pytest.mark.parametrize(
    ("accept", "rows"),
    [
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", True),
        ("application/json; as=Table; g=meta.k8s.io; v=v1", True),
        ("application/json,application/json;as=Table;v=v1;g=meta.k8s.io", False),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_who_wants_a_table(accept: str, rows: bool) -> None:
    assert (presentation.negotiated(accept).kind == "Table") is rows


def catalogue() -> Catalogue:
    known = Catalogue(BUILTIN)
    definition = known.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    for crd in own():
        known.add(served(established(definition, crd, "2026-01-01T00:00:00Z")))
    return known


def test_inference_service_rows() -> None:
    service = catalogue().find("serving.kserve.io", "v1beta1", "inferenceservices")
    rows = table.table(service, [OBJECT], NOW)
    headings = [column["name"] for column in rows["columnDefinitions"]]
    assert headings[:5] == ["Name", "URL", "Ready", "Prev", "Latest"]
    assert headings[-1] == "Age"
    assert rows["rows"][0]["cells"][:3] == ["fraud", "http://x", "True"]
    assert rows["rows"][0]["cells"][-1] == "10s"
    assert rows["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_application_rows() -> None:
    application = catalogue().find("argoproj.io", "v1alpha1", "applications")
    obj = {
        "metadata": {"name": "a"},
        "status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}},
    }
    rows = table.table(application, [obj], NOW, "None", headed=False)
    assert rows["columnDefinitions"] is None
    assert rows["rows"] == [{"cells": ["a", "Synced", "Healthy", None, None]}]


def named(rows: Any) -> dict[str, Any]:
    """The cells of the first row by their headings."""
    names = [column["name"] for column in rows["columnDefinitions"]]
    return dict(zip(names, rows["rows"][0]["cells"], strict=True))


def test_every_kind_prints_an_object_with_nothing_in_it() -> None:
    for resource in catalogue():
        rows = table.table(resource, [{"metadata": {"name": "x"}}], NOW, "Object")
        cells = named(rows)
        assert cells["Name"] == "x"


@pytest.mark.parametrize("wrong", ["x", ["x"], {"ports": [1]}, {"containers": 1}, 1])
def test_a_cell_that_cannot_be_is_empty(wrong: Any) -> None:
    fields = ("spec", "status", "data", "secrets", "involvedObject", "lastTimestamp")
    for resource in catalogue():
        obj = {"metadata": {"name": "x"}, **dict.fromkeys(fields, wrong)}
        assert named(table.table(resource, [obj], NOW))["Name"] == "x"
