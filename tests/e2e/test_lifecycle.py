"""Starting, stopping, and being killed: nothing is lost, nothing is left."""

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from towpath.app.example import find_example
from towpath.app.ports import free_base
from towpath.testing.platform import (
    RunningPlatform,
    command_line,
    running_platform,
    towpath,
)

EXAMPLE = find_example()


def answers(url: str, name: str = "fraud") -> bool:
    """Whether an endpoint gives the right prediction now."""
    row = [92.5, 8.1, 4.6, 0, 0, 0, 1]
    inputs = [{"name": "transactions", "datatype": "FP32", "shape": [1, 7], "data": row}]
    try:
        answer = httpx2.post(f"{url}/v2/models/{name}/infer", json={"inputs": inputs}, timeout=5)
    except httpx2.HTTPError:
        return False
    if answer.status_code != 200:
        return False
    return bool(
        answer.json()["outputs"][1]["data"] == pytest.approx([0.034528, 0.965472], abs=1e-5)
    )


def wait_for(what: Any, seconds: float = 30) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.05)


def gateways(platform: RunningPlatform) -> list[str]:
    ports = platform.home.ports
    return [
        f"http://127.0.0.1:{ports.edge(number, 'gateway')}"
        for number in range(1, platform.home.edges + 1)
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_stop_leaves_no_process_and_a_start_brings_everything_back(home: Path) -> None:
    with running_platform(home, edges=1) as platform:
        shipped = platform.ship(EXAMPLE.model, "fraud", "1").json
        assert all(answers(url) for url in gateways(platform))
        before = platform.status()

        assert platform.stop(signal.SIGINT) == 0
        assert platform.wait_gone(0) == []
        assert list(home.glob("**/run/*.json")) == []

    with running_platform(home, edges=1) as platform:
        wait_for(lambda: all(answers(url) for url in gateways(platform)))
        wait_for(lambda: platform.status()["endpoints"] == before["endpoints"])
        assert platform.status()["models"] == before["models"]
        again = platform.ship(EXAMPLE.model, "fraud", "1").json
        assert again["revision"] == shipped["revision"]


def test_kill_9_of_everything_at_the_top(home: Path) -> None:
    with running_platform(home, edges=2) as platform:
        assert platform.ship(EXAMPLE.model, "fraud", "1").code == 0
        assert len(platform.processes()) >= 7  # hub, two edges, three gateways, two runtimes

        platform.stop(signal.SIGKILL)

        assert platform.wait_gone(10) == []

    with running_platform(home, edges=2) as platform:
        wait_for(lambda: all(answers(url) for url in gateways(platform)))


def test_kill_9_and_at_once_again(home: Path) -> None:
    """The next platform does not wait for anybody to clean up behind the killed one."""
    with running_platform(home, edges=1) as platform:
        assert platform.ship(EXAMPLE.model, "fraud", "1").code == 0
        platform.stop(signal.SIGKILL)

        with running_platform(home, edges=1) as successor:
            wait_for(lambda: all(answers(url) for url in gateways(successor)))


def test_kill_9_of_one_agent_alone(home: Path) -> None:
    with running_platform(home, edges=1) as platform:
        assert platform.ship(EXAMPLE.model, "fraud", "1").code == 0
        (url,) = gateways(platform)
        state = home / "run" / "edge-1.json"
        killed = json.loads(state.read_text())["pid"]
        edge_run = home / "edges" / "edge-1" / "run"
        before = {path.name: json.loads(path.read_text())["pid"] for path in edge_run.iterdir()}
        failed = 0

        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: json.loads(state.read_text())["pid"] != killed)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            failed += not answers(url)

        after = {path.name: json.loads(path.read_text())["pid"] for path in edge_run.iterdir()}
        assert failed == 0
        assert after == before  # the same gateway and the same runtime, adopted
        wait_for(lambda: platform.status()["ready"])
        assert platform.ship(EXAMPLE.model, "second", "1").code == 0
        assert answers(url, "second")


def test_a_hub_without_edges_serves_itself(home: Path) -> None:
    with running_platform(home) as platform:
        done = platform.ship(EXAMPLE.model, "fraud", "1")

        assert done.code == 0, done.err
        (endpoint,) = done.json["endpoints"]
        assert endpoint["cluster"] == "hub"
        assert endpoint["url"] == platform.home.url("gateway")
        assert answers(endpoint["url"])


def test_the_ports_are_taken(tmp_path: Path) -> None:
    with running_platform(tmp_path / "one") as platform:
        base = str(platform.home.ports.base)
        other = tmp_path / "two"

        done = towpath("up", "--home", str(other), "--port-base", base)

        assert done.code == 4
        assert f"port {base}" in done.err
        assert "--port-base" in done.err
        assert not (other / "home.json").exists()


def test_a_home_is_of_one_platform(home: Path) -> None:
    with running_platform(home) as platform:
        done = towpath("up", "--home", str(home))

        assert done.code == 4
        assert f"in use by process {platform.process.pid}" in done.err


def test_a_stopped_platform_is_told_so(home: Path) -> None:
    with running_platform(home) as platform:
        platform.stop()
        arguments = ("ship", str(EXAMPLE.model), "--name", "fraud", "--version", "1")

        done = towpath(*arguments, "--home", str(home))
        status = towpath("status", "--home", str(home), "-o", "json")

        assert done.code == 6
        assert "does not answer" in done.err
        assert "Traceback" not in done.err
        assert status.code == 6
        assert status.json["ready"] is False


def test_a_home_that_is_none(tmp_path: Path) -> None:
    done = towpath("status", "--home", str(tmp_path))

    assert done.code == 3
    assert "towpath up" in done.err


def test_a_home_of_a_newer_version(home: Path) -> None:
    home.mkdir()
    (home / "home.json").write_text('{"version": 7}')

    done = towpath("up", "--home", str(home))

    assert done.code == 2
    assert "layout version 7" in done.err


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with running_platform(tmp_path_factory.mktemp("crash") / "home", edges=1) as platform:
        yield platform


STAGES = ("transfer", "registry", "package", "gitops", "fleet")
SHORT = {("transfer", signal.SIGKILL), ("package", signal.SIGINT), ("fleet", signal.SIGKILL)}


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        pytest.param(stage, how, marks=() if (stage, how) in SHORT else pytest.mark.long)
        for stage in STAGES
        for how in (signal.SIGKILL, signal.SIGINT)
    ],
)
def test_an_interrupted_ship_is_finished_by_the_same_command(
    site: RunningPlatform, stage: str, how: signal.Signals
) -> None:
    """Killed right behind each stage; the second run finds what the first one left."""
    name = f"{stage}-{how.name.lower()}"
    arguments = ("ship", str(EXAMPLE.model), "--name", name, "--version", "1")
    line = command_line(*arguments, "--home", str(site.home.path), "-o", "json")
    first = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stderr is not None
    for told in first.stderr:
        if stage in told:
            first.send_signal(how)
            break
    _, rest = first.communicate(timeout=30)
    assert "Traceback" not in rest

    done = site.ship(EXAMPLE.model, name, "1")

    assert done.code == 0, done.err
    assert answers(done.json["endpoints"][0]["url"], name)
    base = f"{site.home.url('registry')}/api/model_registry/v1alpha3"
    models = httpx2.get(f"{base}/registered_models?pageSize=100").json()["items"]
    (model,) = [model for model in models if model["name"] == name]
    versions = httpx2.get(f"{base}/registered_models/{model['id']}/versions").json()["items"]
    assert len(versions) == 1
    artifacts = httpx2.get(f"{base}/model_versions/{versions[0]['id']}/artifacts").json()["items"]
    assert len(artifacts) == 1
    assert list((site.home.models / name).iterdir()) == [site.home.models / name / "1"]
    again = site.ship(EXAMPLE.model, name, "1")
    assert again.json["revision"] == done.json["revision"]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A model with other bytes that answers the same: the example, with a trailing field."""
    changed = tmp_path / "model.onnx"
    # field 6 of a ModelProto is its doc_string: protobuf takes the last one
    changed.write_bytes(EXAMPLE.model.read_bytes() + b"\x32\x05other")
    return changed


def served_digest(site: RunningPlatform, name: str) -> tuple[str, str, str]:
    """What the registry, the shelf and the edge say a version is."""
    (row,) = [m for m in site.status()["models"] if m["name"] == name]
    (file,) = (site.home.models / name / "1").iterdir()
    on_shelf = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    image = row["image"].rpartition("@")[2].replace(":", "-")
    (on_edge,) = (site.home.cluster("edge-1") / "served" / image).iterdir()
    return row["digest"], on_shelf, "sha256:" + hashlib.sha256(on_edge.read_bytes()).hexdigest()


def test_two_at_once_with_other_bytes_cannot_both_win(site: RunningPlatform, other: Path) -> None:
    lines = [
        command_line("ship", str(model), "--name", "race", "--version", "1", "-o", "json")
        for model in (EXAMPLE.model, other)
    ]
    environment = {**os.environ, "TOWPATH_HOME": str(site.home.path)}
    both = [
        subprocess.Popen(
            line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for line in lines
    ]
    said = [process.communicate(timeout=90) for process in both]

    assert sorted(process.returncode for process in both) == [0, 4]
    loser = next(i for i, process in enumerate(both) if process.returncode == 4)
    assert "already registered with other bytes" in said[loser][1]
    winner = json.loads(said[1 - loser][0])
    assert set(served_digest(site, "race")) == {winner["artifact"]["digest"]}


def test_a_replacement_that_was_killed_does_not_leave_its_bytes_under_the_old_name(
    site: RunningPlatform, other: Path
) -> None:
    first = site.ship(EXAMPLE.model, "swap", "1").json
    line = command_line("ship", str(other), "--name", "swap", "--version", "1", "--replace")
    killed = subprocess.Popen(
        [*line, "--home", str(site.home.path)], stderr=subprocess.PIPE, text=True
    )
    assert killed.stderr is not None
    for told in killed.stderr:
        if "transfer" in told:
            killed.kill()
            break
    killed.communicate(timeout=30)

    again = site.ship(EXAMPLE.model, "swap", "1")

    assert again.code == 0, again.err
    assert set(served_digest(site, "swap")) == {first["artifact"]["digest"]}


def test_a_look_without_patience(site: RunningPlatform) -> None:
    assert site.ship(EXAMPLE.model, "patience", "1").code == 0

    again = site.ship(EXAMPLE.model, "patience", "1", "--wait", "0")

    assert again.code == 0, again.err
    assert again.json["endpoints"][0]["ready"] is True


def test_a_repeat_names_the_commit_that_brought_the_model(site: RunningPlatform) -> None:
    first = site.ship(EXAMPLE.model, "mine", "1").json
    assert site.ship(EXAMPLE.model, "meanwhile", "1").code == 0

    again = site.ship(EXAMPLE.model, "mine", "1").json

    assert again["revision"] == first["revision"]
    (row,) = [m for m in site.status()["models"] if m["name"] == "mine"]
    assert row["revision"] == first["revision"]


def test_settings_may_be_there_before_the_first_start(home: Path) -> None:
    home.mkdir()
    (home / "settings.toml").write_text("[edge]\ndrain_seconds = 1\n")

    with running_platform(home) as platform:
        assert platform.status()["ready"] is True


def test_a_signal_during_the_start_is_heard(home: Path) -> None:
    line = command_line("up", "--home", str(home), "--port-base", str(free_base(2)), "--edges", "2")
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for((home / "home.json").exists)

    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)

    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert out == ""
    assert list(home.glob("**/run/*.json")) == []
