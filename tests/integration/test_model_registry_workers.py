"""``towpath registry serve --workers``: several processes that look like one from outside."""

import concurrent.futures
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from towpath.testing import RunningRegistry, running_registry, towpath

pytestmark = pytest.mark.timeout(120)

P = "/api/model_registry/v1alpha3"
SECRET = "hunter2"
WORKER_BYTES = 120 * 1024 * 1024


def client(url: str, **headers: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=20)


def wait(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def metrics(http: httpx2.Client) -> dict[tuple[str, tuple[str, ...]], float]:
    """Samples by name and the values of their labels."""
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for one in family.samples
    }


def workers_of(running: RunningRegistry) -> list[psutil.Process]:
    return psutil.Process(running.process.pid).children()


def create(http: httpx2.Client, name: str) -> httpx2.Response:
    return http.post(f"{P}/registered_models", json={"name": name})


def test_workers_share_an_address_and_a_dead_one_is_replaced(
    tmp_path: Path, postgresql: str
) -> None:
    arguments = ("--db", postgresql, "--workers", "3")
    here = {"TMPDIR": str(tmp_path)}
    with running_registry(tmp_path, *arguments, environment=here) as running:
        first = workers_of(running)
        assert len(first) == 3
        acknowledged: list[str] = []

        def write(number: int) -> None:
            name = f"m{number}"
            with client(running.url) as http:
                try:
                    if create(http, name).status_code == 201:
                        acknowledged.append(name)
                except httpx2.TransportError:
                    return  # its worker was killed

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = [pool.submit(write, number) for number in range(60)]
            first[0].kill()
            for one in done:
                one.result()
        assert len(acknowledged) > 40
        wait(lambda: len(workers_of(running)) == 3, "the dead worker is not replaced")
        with client(running.url) as http:
            for name in acknowledged:
                found = http.get(f"{P}/registered_model", params={"name": name})
                assert found.status_code == 200, name
        large = {one.pid: one.memory_info().rss for one in workers_of(running)}
        assert max(large.values()) < WORKER_BYTES
        last = workers_of(running)
        assert running.stop() == 0
        assert [one for one in last if one.is_running()] == []
        assert list(tmp_path.glob("towpath-metrics-*")) == []


def test_no_worker_outlives_its_parent(tmp_path: Path, postgresql: str) -> None:
    arguments = ("--db", postgresql, "--workers", "2")
    left = {"TMPDIR": str(tmp_path)}  # nobody is there any more to clear it away
    with running_registry(tmp_path, *arguments, environment=left) as running:
        last = workers_of(running)
        assert len(last) == 2
        running.stop(signal.SIGKILL)
        _, alive = psutil.wait_procs(last, timeout=15)
    assert alive == []


def test_workers_count_together(tmp_path: Path, postgresql: str) -> None:
    arguments = ("--db", postgresql, "--workers", "2")
    path = f"{P}/registered_models"
    with running_registry(tmp_path, *arguments) as running:
        for number in range(20):
            with client(running.url) as http:  # a connection each, for any of the workers
                assert create(http, f"m{number}").status_code == 201
        with client(running.url) as http:
            found = metrics(http)
            assert found["towpath_registry_requests_total", ("POST", path, "201")] == 20
            assert found["towpath_registry_request_seconds_count", ("POST", path)] == 20
            limit = found["towpath_registry_database_connections", ("limit",)]
        for one in workers_of(running):
            one.kill()
        with client(running.url) as http:

            def answers() -> bool:
                try:
                    return create(http, "more").status_code == 201
                except httpx2.TransportError:
                    return False

            wait(answers, "the dead workers are not replaced")
            found = metrics(http)
            assert found["towpath_registry_requests_total", ("POST", path, "201")] == 21
            assert found["towpath_registry_database_connections", ("limit",)] <= limit


def test_a_worker_that_cannot_work_ends_all_with_its_reason(tmp_path: Path) -> None:
    url = f"postgres://u:{SECRET}@127.0.0.1/r"
    done = towpath(
        *("registry", "serve", "--port", "0", "--db", url, "--workers", "2"),
        *("--tokens", "/nowhere"),
        environment={"HOME": str(tmp_path)},
    )
    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.count("file of tokens /nowhere cannot be read") == 1
    assert SECRET not in done.err
    assert "Traceback" not in done.err
