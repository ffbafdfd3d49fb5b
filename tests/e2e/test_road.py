"""The whole road as a user walks it: `towpath up`, `towpath ship`, and the clients they bring."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from towpath.app.example import find_example
from towpath.testing.platform import RunningPlatform, command_line

EXAMPLE = find_example()
ROW = [57.87785658389723, 0.3111400080477545, 1.9459399775518593, 1.0, 1.0, 0.0, 0.0]


def infer(url: str, name: str, tensor: str, row: list[float]) -> Any:
    inputs = [{"name": tensor, "datatype": "FP32", "shape": [1, 7], "data": row}]
    answer = httpx2.post(f"{url}/v2/models/{name}/infer", json={"inputs": inputs}, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def shipped(platform: RunningPlatform) -> Any:
    """The example model, shipped to both edges."""
    done = platform.ship(EXAMPLE.model, "fraud", "1")
    assert done.code == 0, done.err
    return done.json


def test_ship_says_what_became_of_the_model(shipped: Any, platform: RunningPlatform) -> None:
    assert set(shipped) == {"model", "artifact", "image", "revision", "endpoints", "stages"}
    assert shipped["model"]["name"] == "fraud"
    assert shipped["model"]["version"] == "1"
    assert all(shipped["model"][key] for key in ("registeredModelId", "modelVersionId"))
    assert shipped["artifact"]["size"] == EXAMPLE.model.stat().st_size
    assert shipped["image"]["ref"].endswith("@" + shipped["image"]["digest"])
    assert [stage["name"] for stage in shipped["stages"]] == [
        "transfer",
        "registry",
        "package",
        "gitops",
        "fleet",
        "edge",
    ]
    gateways = [f"http://127.0.0.1:{platform.home.ports.edge(k, 'gateway')}" for k in (1, 2)]
    assert shipped["endpoints"] == [
        {"cluster": f"edge-{k}", "name": "fraud", "url": url, "ready": True}
        for k, url in enumerate(gateways, start=1)
    ]


def test_every_edge_predicts(shipped: Any) -> None:
    for endpoint in shipped["endpoints"]:
        answer = infer(endpoint["url"], "fraud", "transactions", [92.5, 8.1, 4.6, 0, 0, 0, 1])

        assert answer["model_version"] == "1"
        assert answer["outputs"][1]["data"] == pytest.approx([0.034528, 0.965472], abs=1e-5)


def test_shipping_again_changes_nothing(shipped: Any, platform: RunningPlatform) -> None:
    again = platform.ship(EXAMPLE.model, "fraud", "1")

    assert again.code == 0, again.err
    same = ("model", "artifact", "image", "revision", "endpoints")
    assert {key: again.json[key] for key in same} == {key: shipped[key] for key in same}
    assert "Nothing to do" in again.err


def test_the_status_shows_it(shipped: Any, platform: RunningPlatform) -> None:
    status = platform.status()

    assert status["ready"] is True
    assert set(status["surfaces"]) == {
        *("kubernetes", "registry", "distribution", "location", "storage", "dashboard"),
        *("gateway", "git", "prometheus"),
    }
    assert [cluster["name"] for cluster in status["clusters"]] == ["hub", "edge-1", "edge-2"]
    assert status["models"][0]["digest"] == shipped["artifact"]["digest"]
    assert status["models"][0]["image"] == shipped["image"]["ref"]
    assert {(e["cluster"], e["ready"]) for e in status["endpoints"]} == {
        ("edge-1", True),
        ("edge-2", True),
    }


def test_the_registry_tells_the_chain(shipped: Any, platform: RunningPlatform) -> None:
    base = f"{platform.home.url('registry')}/api/model_registry/v1alpha3"
    version = httpx2.get(f"{base}/model_versions/{shipped['model']['modelVersionId']}").json()
    artifact = httpx2.get(f"{base}/model_artifacts/{shipped['model']['modelArtifactId']}").json()

    links = {k: v["string_value"] for k, v in version["customProperties"].items()}
    assert links["towpath.dev/image"] == shipped["image"]["ref"]
    assert links["towpath.dev/revision"] == shipped["revision"]
    assert artifact["state"] == "LIVE"
    assert artifact["uri"] == shipped["artifact"]["uri"]
    digest = artifact["customProperties"]["towpath.dev/digest"]["string_value"]
    assert digest == shipped["artifact"]["digest"]


def test_the_registry_draws_the_chain(shipped: Any, platform: RunningPlatform) -> None:
    base = f"{platform.home.url('registry')}/api/model_registry/v1alpha3"
    ids = shipped["model"]
    me, artifact = (
        f"ModelVersion/{ids['modelVersionId']}",
        f"ModelArtifact/{ids['modelArtifactId']}",
    )
    graph = httpx2.get(f"{base}/model_versions/{ids['modelVersionId']}/lineage").json()

    edges = {(edge["from"], edge["relation"], edge["to"]) for edge in graph["edges"]}
    image, digest = f"oci://{shipped['image']['ref']}", shipped["artifact"]["digest"]
    assert edges >= {
        (me, "partOf", f"RegisteredModel/{ids['registeredModelId']}"),
        (me, "hasArtifact", artifact),
        (me, "packagedAs", image),
        (image, "builtFrom", artifact),
        (me, "committedAs", f"commit:{shipped['revision']}"),
        *((me, "deployedTo", f"cluster:{e['cluster']}") for e in shipped["endpoints"]),
        *((me, "servedAt", f"{e['url']}/v2/models/fraud") for e in shipped["endpoints"]),
    }
    assert {(source, relation) for source, relation, _ in edges} >= {(artifact, "derivedFrom")}
    assert digest in {node.get("digest") for node in graph["nodes"]}


def test_kubectl_sees_it_on_the_edge_and_on_the_hub(
    shipped: Any, platform: RunningPlatform, kubectl: str
) -> None:
    def services(cluster: str) -> dict[str, str]:
        arguments = ["get", "inferenceservices", "-A", "-o", "json"]
        config = f"--kubeconfig={platform.home.kubeconfig(cluster)}"
        listed = subprocess.run([kubectl, config, *arguments], capture_output=True, check=True)
        return {
            f"{item['metadata']['namespace']}/{item['metadata']['name']}": next(
                c["status"] for c in item["status"]["conditions"] if c["type"] == "Ready"
            )
            for item in json.loads(listed.stdout)["items"]
        }

    assert services("edge-1") == {"default/fraud": "True"}
    assert services("hub") == {"edge-1/fraud": "True", "edge-2/fraud": "True"}


def test_skopeo_sees_the_image(shipped: Any, skopeo: str) -> None:
    name = shipped["image"]["ref"].partition("@")[0]
    inspected = subprocess.run(
        [skopeo, "inspect", "--tls-verify=false", f"docker://{name}:1"],
        capture_output=True,
        check=True,
    )

    assert json.loads(inspected.stdout)["Digest"] == shipped["image"]["digest"]


def test_git_clones_the_commit(
    shipped: Any, platform: RunningPlatform, git: str, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    url = platform.home.repository()
    subprocess.run([git, "clone", "-q", url, str(clone)], check=True, capture_output=True)
    log = subprocess.run([git, "log", "--format=%H"], cwd=clone, check=True, capture_output=True)

    assert shipped["revision"] in log.stdout.decode().split()
    manifest = (clone / "clusters" / "edge-1" / "fraud" / "inferenceservice.yaml").read_text()
    assert f"storageUri: oci://{shipped['image']['ref']}" in manifest


def test_an_edge_may_not_touch_another_cluster(shipped: Any, platform: RunningPlatform) -> None:
    from towpath.kube import Client
    from towpath.spec.argocd import APPLICATION

    async def try_it() -> str:
        async with Client(platform.home.cluster("edge-1") / "hub.kubeconfig") as client:
            assert await client.list(APPLICATION, "edge-1")
            try:
                await client.list(APPLICATION, "edge-2")
            except Exception as exc:
                return type(exc).__name__
            return "allowed"

    import anyio

    assert anyio.run(try_it) == "DeniedError"


def test_an_edge_cannot_make_the_hub_act_for_it(
    platform: RunningPlatform, kubectl: str, shipped: Any
) -> None:
    """What an edge's token writes into its namespace on the hub is never run or synced there."""
    from towpath.spec.argocd import APPLICATION
    from towpath.spec.kserve import INFERENCE_SERVICE

    source = {"repoURL": platform.home.repository(), "path": "clusters/edge-1/fraud"}
    planted = [
        {
            "apiVersion": APPLICATION.api_version,
            "kind": "Application",
            "metadata": {"name": "planted", "namespace": "edge-1"},
            "spec": {
                "project": "default",
                "source": {**source, "targetRevision": "main"},
                "destination": {"namespace": "planted"},
                "syncPolicy": {"automated": {}, "syncOptions": ["CreateNamespace=true"]},
            },
        },
        {
            "apiVersion": INFERENCE_SERVICE.api_version,
            "kind": "InferenceService",
            "metadata": {"name": "planted", "namespace": "edge-1"},
            "spec": {
                "predictor": {
                    "model": {
                        "modelFormat": {"name": "onnx"},
                        "storageUri": f"oci://{shipped['image']['ref']}",
                    }
                }
            },
        },
    ]
    edge = f"--kubeconfig={platform.home.cluster('edge-1') / 'hub.kubeconfig'}"
    hub = f"--kubeconfig={platform.home.kubeconfig()}"
    for document in planted:
        subprocess.run(
            [kubectl, edge, "create", "--validate=false", "-f", "-"],
            input=json.dumps(document),
            text=True,
            check=True,
            capture_output=True,
        )
    # the hub's own loops have gone round once when something that came later is done
    assert platform.ship(EXAMPLE.model, "later", "1", "--cluster", "hub").code == 0

    names = subprocess.run(
        [kubectl, hub, "get", "namespaces", "-o", "name"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "namespace/planted" not in names
    processes = [path.stem for path in (platform.home.path / "run").iterdir()]
    assert not any("planted" in name for name in processes)
    for kind in ("applications", "inferenceservices"):
        subprocess.run(
            [kubectl, hub, "-n", "edge-1", "delete", kind, "planted"],
            check=True,
            capture_output=True,
        )


def test_a_wrong_token_is_refused_where_none_is_needed(platform: RunningPlatform) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for surface, path in (
        ("registry", "/api/model_registry/v1alpha3/registered_models"),
        ("distribution", "/v2/"),
        ("gateway", "/v2"),
    ):
        url = platform.home.url(surface) + path
        assert httpx2.get(url).status_code == 200
        assert httpx2.get(url, headers=wrong).status_code == 401


def test_the_model_of_the_shared_folder(platform: RunningPlatform, shared: Path) -> None:
    model = shared / "models" / "fraud" / "card.fraud.detection.onnx"
    done = platform.ship(model, "card", "1")

    assert done.code == 0, done.err
    assert len(done.json["endpoints"]) == 2
    for endpoint in done.json["endpoints"]:
        answer = infer(endpoint["url"], "card", "dense_input", ROW)
        assert answer["outputs"][0]["name"] == "dense_3"
        assert answer["outputs"][0]["data"] == [pytest.approx(0.86280495, abs=1e-5)]


def test_a_cluster_by_name_and_a_second_version(platform: RunningPlatform, shipped: Any) -> None:
    done = platform.ship(EXAMPLE.model, "fraud", "2", "--cluster", "edge-1")

    assert done.code == 0, done.err
    assert [e["cluster"] for e in done.json["endpoints"]] == ["edge-1"]
    one, two = (e["url"] for e in shipped["endpoints"])
    row = [92.5, 8.1, 4.6, 0, 0, 0, 1]
    assert infer(one, "fraud", "transactions", row)["model_version"] == "2"
    assert infer(two, "fraud", "transactions", row)["model_version"] == "1"

    base = f"{platform.home.url('registry')}/api/model_registry/v1alpha3"
    links = httpx2.get(f"{base}/links", params={"relation": "servedAt"}).json()["items"]
    served = {link["object"]: link["subject"] for link in links}
    first, second = (d["model"]["modelVersionId"] for d in (shipped, done.json))
    assert served[f"{one}/v2/models/fraud"] == f"ModelVersion/{second}"
    assert served[f"{two}/v2/models/fraud"] == f"ModelVersion/{first}"


def test_other_bytes_need_a_word(
    platform: RunningPlatform, shipped: Any, shared: Path, tmp_path: Path
) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes((shared / "models" / "fraud" / "card.fraud.detection.onnx").read_bytes())
    assert platform.ship(EXAMPLE.model, "replaced", "1", "--cluster", "hub").code == 0

    refused = platform.ship(other, "replaced", "1", "--cluster", "hub")
    assert refused.code == 4
    assert "already registered with other bytes" in refused.err
    assert "--replace" in refused.err

    done = platform.ship(other, "replaced", "1", "--cluster", "hub", "--replace")
    assert done.code == 0, done.err
    answer = infer(done.json["endpoints"][0]["url"], "replaced", "dense_input", ROW)
    assert answer["outputs"][0]["data"] == [pytest.approx(0.86280495, abs=1e-5)]


@pytest.mark.parametrize(
    ("make", "arguments", "code", "says"),
    [
        (None, ("ok", "1"), 3, "is not there"),
        (b"", ("ok", "1"), 2, "empty"),
        (b"this is a text file\n", ("ok", "1"), 2, "is not an ONNX model"),
        (b"x", ("Not_Legal", "1"), 2, "lower-case letters"),
        (b"x", ("ok", "not legal"), 2, "version"),
        (b"x", ("ok", "1", "--cluster", "edge-9"), 3, "no cluster 'edge-9'"),
    ],
)
def test_bad_input_is_told_in_a_sentence(
    platform: RunningPlatform,
    tmp_path: Path,
    make: bytes | None,
    arguments: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    source = tmp_path / "model.onnx"
    if make is not None:
        source.write_bytes(make)

    done = platform.ship(source, *arguments)

    assert (done.code, done.out) == (code, ""), done.err
    assert says in done.err
    assert "Traceback" not in done.err
    base = f"{platform.home.url('registry')}/api/model_registry/v1alpha3"
    answer = httpx2.get(f"{base}/registered_model", params={"name": "ok"})
    assert answer.status_code == 404
    assert not (platform.home.models / "ok" / "1").exists()
    assert not (platform.home.models / "ok").exists()


def test_a_full_disk_leaves_no_half_model(platform: RunningPlatform) -> None:
    """A limit on the size of files stands in for the disk: the write fails in the middle."""
    ship = command_line("ship", str(EXAMPLE.model), "--name", "full", "--version", "1")
    home = ("--home", str(platform.home.path))
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "limited", *ship, *home]

    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 6, done.stderr
    assert "full" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (platform.home.models / "full").exists()
    again = platform.ship(EXAMPLE.model, "full", "1")
    assert again.code == 0, again.err
