"""The distribution on the wire: statuses, headers and error codes of the specification 1.1."""

import json
import resource
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from towpath import web
from towpath.blob.cas import Layout
from towpath.blob.digest import of_bytes
from towpath.distribution import app
from towpath.settings import Distribution
from towpath.spec.oci import INDEX, MANIFEST

pytestmark = pytest.mark.anyio

DATA = b"0123456789"
DIGEST = of_bytes(DATA)
MISSING = of_bytes(b"missing")
UPLOADS = "/v2/team/fraud/blobs/uploads/"


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a fresh distribution in ``tmp_path / "root"``."""
    sock = web.listen("127.0.0.1", 0)
    served = app(tmp_path / "root", Distribution(manifest_bytes=10_000))
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, served, sock, drain=1))
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
            yield client
        tasks.cancel_scope.cancel()


def code(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["code"]


async def put_blob(http: httpx2.AsyncClient, data: bytes = DATA, name: str = "team/fraud") -> None:
    url = f"/v2/{name}/blobs/uploads/"
    pushed = await http.post(url, params={"digest": of_bytes(data)}, content=data)
    assert pushed.status_code == 201, pushed.text


def manifest(**more: Any) -> bytes:
    config = {"mediaType": "application/json", "digest": DIGEST, "size": len(DATA)}
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], **more}
    ).encode()


async def put_manifest(
    http: httpx2.AsyncClient, reference: str, data: bytes, kind: str = MANIFEST
) -> httpx2.Response:
    return await http.put(
        f"/v2/team/fraud/manifests/{reference}", content=data, headers={"Content-Type": kind}
    )


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob("root/*/.uploads/*"))


async def test_base(http: httpx2.AsyncClient) -> None:
    for path in ("/v2/", "/v2"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()) == (200, {})
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


async def test_upload_in_chunks(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    begun = await http.post(UPLOADS)
    location = begun.headers["location"]
    assert begun.status_code == 202
    assert location.startswith(UPLOADS)

    first = await http.patch(location, content=DATA[:4], headers={"Content-Range": "0-3"})
    assert (first.status_code, first.headers["range"]) == (202, "0-3")
    status = await http.get(first.headers["location"])
    assert (status.status_code, status.headers["range"]) == (204, "0-3")
    twice = await http.patch(location, content=DATA[:4], headers={"Content-Range": "0-3"})
    assert code(twice) == (416, "BLOB_UPLOAD_INVALID")
    second = await http.patch(location, content=DATA[4:7], headers={"Content-Range": "4-6"})
    assert second.headers["range"] == "0-6"
    done = await http.put(
        location, params={"digest": DIGEST}, content=DATA[7:], headers={"Content-Range": "7-9"}
    )

    assert done.status_code == 201
    assert done.headers["docker-content-digest"] == DIGEST
    assert (await http.get(done.headers["location"])).content == DATA
    assert (tmp_path / "root/team+fraud/blobs/sha256" / DIGEST[7:]).read_bytes() == DATA
    assert code(await http.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


async def test_upload_is_given_up(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    location = (await http.post(UPLOADS)).headers["location"]
    await http.patch(location, content=DATA)

    assert (await http.delete(location)).status_code == 204
    assert code(await http.delete(location)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert code(await http.patch(location, content=DATA)) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert unfinished(tmp_path) == []


async def test_wrong_digests(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    whole = await http.post(UPLOADS, params={"digest": MISSING}, content=DATA)
    assert code(whole) == (400, "DIGEST_INVALID")
    location = (await http.post(UPLOADS)).headers["location"]
    assert code(await http.put(location, content=DATA)) == (400, "DIGEST_INVALID")
    malformed = await http.put(location, params={"digest": "md5:1"}, content=DATA)
    assert code(malformed) == (400, "DIGEST_INVALID")
    wrong = await http.put(location, params={"digest": MISSING}, content=DATA)
    assert code(wrong) == (400, "DIGEST_INVALID")
    assert unfinished(tmp_path) == []
    assert (await http.head(f"/v2/team/fraud/blobs/{MISSING}")).status_code == 404


@pytest.mark.parametrize("header", ["x", "5-4-3", "0-99"])
async def test_malformed_content_range(http: httpx2.AsyncClient, header: str) -> None:
    location = (await http.post(UPLOADS)).headers["location"]

    answer = await http.patch(location, content=DATA, headers={"Content-Range": header})
    assert code(answer) == (400, "BLOB_UPLOAD_INVALID")


async def test_blob(http: httpx2.AsyncClient) -> None:
    await put_blob(http)
    url = f"/v2/team/fraud/blobs/{DIGEST}"

    head = await http.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    assert head.headers["docker-content-digest"] == DIGEST
    part = await http.get(url, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/10"
    assert (await http.get(url, headers={"Range": "bytes=-3"})).content == b"789"
    behind = await http.get(url, headers={"Range": "bytes=10-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, "bytes */10")
    assert (await http.delete(url)).status_code == 202
    for method in ("GET", "DELETE"):
        assert code(await http.request(method, url)) == (404, "BLOB_UNKNOWN")
    assert code(await http.get("/v2/team/fraud/blobs/sha256:x")) == (400, "DIGEST_INVALID")


async def test_an_empty_blob(http: httpx2.AsyncClient) -> None:
    await put_blob(http, b"")

    answer = await http.get(f"/v2/team/fraud/blobs/{of_bytes(b'')}")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "0")


async def test_mount(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    await put_blob(http)

    mounted = await http.post(
        "/v2/other/blobs/uploads/", params={"mount": DIGEST, "from": "team/fraud"}
    )
    assert mounted.status_code == 201
    assert mounted.headers["location"] == f"/v2/other/blobs/{DIGEST}"
    paths = [tmp_path / f"root/{n}/blobs/sha256/{DIGEST[7:]}" for n in ("other", "team+fraud")]
    assert paths[0].stat().st_ino == paths[1].stat().st_ino
    for query in ({"mount": MISSING, "from": "team/fraud"}, {"mount": DIGEST}):
        begun = await http.post("/v2/other/blobs/uploads/", params=query)
        assert begun.status_code == 202


async def test_manifest(http: httpx2.AsyncClient) -> None:
    await put_blob(http)
    data = manifest()
    digest = of_bytes(data)

    put = await put_manifest(http, "v1", data)
    assert (put.status_code, put.headers["docker-content-digest"]) == (201, digest)
    for reference in ("v1", digest):
        url = f"/v2/team/fraud/manifests/{reference}"
        got, head = await http.get(url), await http.head(url)
        assert (got.content, got.headers["content-type"]) == (data, MANIFEST)
        assert (head.content, head.headers["content-length"]) == (b"", str(len(data)))
        assert head.headers["docker-content-digest"] == digest
    assert (await http.get(put.headers["location"])).content == data


async def test_manifest_delete(http: httpx2.AsyncClient) -> None:
    await put_blob(http)
    digest = of_bytes(manifest())
    for tag in ("a", "b"):
        await put_manifest(http, tag, manifest())

    assert (await http.delete("/v2/team/fraud/manifests/a")).status_code == 202
    gone = await http.get("/v2/team/fraud/manifests/a")
    assert code(gone) == (404, "MANIFEST_UNKNOWN")
    assert (await http.get("/v2/team/fraud/manifests/b")).status_code == 200
    assert (await http.delete(f"/v2/team/fraud/manifests/{digest}")).status_code == 202
    for reference in ("b", digest):
        gone = await http.get(f"/v2/team/fraud/manifests/{reference}")
        assert code(gone) == (404, "MANIFEST_UNKNOWN")
        gone = await http.delete(f"/v2/team/fraud/manifests/{reference}")
        assert code(gone) == (404, "MANIFEST_UNKNOWN")
    assert (await http.get("/v2/team/fraud/tags/list")).json()["tags"] == []


async def test_bad_manifests(http: httpx2.AsyncClient) -> None:
    layer = {"mediaType": "x", "digest": MISSING, "size": 1}
    await put_blob(http)

    for data in (b"", b"{}", b"no json", manifest(layers=[{}])):
        assert code(await put_manifest(http, "v1", data)) == (400, "MANIFEST_INVALID")
    other = await put_manifest(http, "v1", manifest(), INDEX)
    assert code(other) == (400, "MANIFEST_INVALID")
    unknown = await put_manifest(http, "v1", manifest(mediaType="text/plain"), "text/plain")
    assert code(unknown) == (400, "MANIFEST_INVALID")
    lacking = await put_manifest(http, "v1", manifest(layers=[layer]))
    assert code(lacking) == (400, "MANIFEST_BLOB_UNKNOWN")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [layer]}
    lacking = await put_manifest(http, "v1", json.dumps(index).encode(), INDEX)
    assert code(lacking) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert code(await put_manifest(http, MISSING, manifest())) == (400, "DIGEST_INVALID")
    assert code(await put_manifest(http, "-v", manifest())) == (400, "MANIFEST_INVALID")
    large = await put_manifest(http, "v1", manifest(annotations={"x": "y" * 10_000}))
    assert code(large) == (413, "SIZE_INVALID")
    assert code(await http.get("/v2/team/fraud/manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    elsewhere = await put_manifest(http, "v1", manifest(layers=[{**layer, "urls": ["http://x"]}]))
    assert elsewhere.status_code == 201


@pytest.mark.parametrize("name", ["UPPER", "a//b", "a/../b", "x" * 256, "a+b"])
async def test_illegal_names(http: httpx2.AsyncClient, tmp_path: Path, name: str) -> None:
    name = name.replace("..", "%2e%2e")

    assert code(await http.post(f"/v2/{name}/blobs/uploads/")) == (400, "NAME_INVALID")
    assert code(await http.get(f"/v2/{name}/tags/list")) == (400, "NAME_INVALID")
    assert not (tmp_path / "root").exists()


async def test_tags_and_catalog_in_pages(http: httpx2.AsyncClient) -> None:
    for name in ("b", "a/x", "team/fraud"):
        await put_blob(http, name=name)
    for tag in ("v3", "v1", "v2"):
        await put_manifest(http, tag, manifest())

    whole = await http.get("/v2/team/fraud/tags/list")
    assert whole.json() == {"name": "team/fraud", "tags": ["v1", "v2", "v3"]}
    assert "link" not in whole.headers
    for url, key, items in (
        ("/v2/team/fraud/tags/list?n=2", "tags", ["v1", "v2", "v3"]),
        ("/v2/_catalog?n=1", "repositories", ["a/x", "b", "team/fraud"]),
    ):
        seen: list[str] = []
        following: str | None = url
        while following:
            answer = await http.get(following)
            seen += answer.json()[key]
            following = answer.links.get("next", {}).get("url")
        assert seen == items
    assert (await http.get("/v2/team/fraud/tags/list?last=v2")).json()["tags"] == ["v3"]
    assert code(await http.get("/v2/nobody/tags/list")) == (404, "NAME_UNKNOWN")
    assert (await http.get("/v2/team/fraud/tags/list?n=x")).status_code == 400


async def test_referrers(http: httpx2.AsyncClient) -> None:
    await put_blob(http)
    url = f"/v2/team/fraud/referrers/{MISSING}"
    empty = await http.get(url)
    assert (empty.status_code, empty.json()["manifests"]) == (200, [])
    assert empty.headers["content-type"] == INDEX

    subject = {"mediaType": MANIFEST, "digest": MISSING, "size": 7}
    signature = manifest(subject=subject, artifactType="app/sig", annotations={"a": "b"})
    put = await put_manifest(http, of_bytes(signature), signature)
    await put_manifest(http, "other", manifest(subject=subject, artifactType="app/sbom"))
    assert put.headers["oci-subject"] == MISSING

    assert len((await http.get(url)).json()["manifests"]) == 2
    one = await http.get(url, params={"artifactType": "app/sig"})
    assert one.headers["oci-filters-applied"] == "artifactType"
    assert one.json()["manifests"] == [
        {
            "mediaType": MANIFEST,
            "digest": of_bytes(signature),
            "size": len(signature),
            "artifactType": "app/sig",
            "annotations": {"a": "b"},
        }
    ]


@pytest.mark.parametrize(
    "more", [{"subject": "x"}, {"annotations": [1]}, {"config": "x", "artifactType": 7}], ids=str
)
async def test_what_cannot_be_listed_is_not_kept(
    http: httpx2.AsyncClient, tmp_path: Path, more: dict[str, Any]
) -> None:
    await put_blob(http)
    subject = {"mediaType": MANIFEST, "digest": MISSING, "size": 7}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject, **more}
    data = json.dumps(index).encode()

    assert code(await put_manifest(http, "v1", data, INDEX)) == (400, "MANIFEST_INVALID")
    assert code(await http.get("/v2/team/fraud/manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    assert not (tmp_path / "root/team+fraud/blobs/sha256" / of_bytes(data)[7:]).exists()
    url = f"/v2/team/fraud/referrers/{MISSING}"
    assert (await http.get(url)).json()["manifests"] == []


async def test_an_index_with_a_subject_is_listed(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Also beside one that was kept before manifests were checked as they are now."""
    subject = {"mediaType": MANIFEST, "digest": MISSING, "size": 7}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject}
    data = json.dumps({**index, "config": "x"}).encode()
    old = json.dumps({**index, "subject": "x"}).encode()
    await put_blob(http)
    await Layout(tmp_path / "root/team+fraud").put_manifest(old, INDEX)

    assert (await put_manifest(http, "v1", data, INDEX)).status_code == 201
    listed = await http.get(f"/v2/team/fraud/referrers/{MISSING}")
    assert [entry["digest"] for entry in listed.json()["manifests"]] == [of_bytes(data)]


async def test_unknown_routes_and_methods_answer_in_shape(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/v2/a/nothing")).json()["errors"]
    wrong = await http.post("/v2/_catalog")
    assert code(wrong) == (405, "UNSUPPORTED")


async def test_full_disk_leaves_nothing_half(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    data = b"x" * 3_000_000
    location = (await http.post(UPLOADS)).headers["location"]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, before[1]))
    try:
        full = await http.patch(location, content=data)
        whole = await http.post(UPLOADS, params={"digest": of_bytes(data)}, content=data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    for answer in (full, whole):
        assert answer.status_code == 507
        assert "space" in answer.json()["errors"][0]["message"]
    assert unfinished(tmp_path) == []
    await put_blob(http, data)


async def test_a_client_that_goes_away_can_go_on(http: httpx2.AsyncClient, tmp_path: Path) -> None:
    location = (await http.post(UPLOADS)).headers["location"]
    host, port = http.base_url.host, http.base_url.port
    assert port is not None
    async with await anyio.connect_tcp(host, port) as stream:
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
        await stream.send(f"{head}Expect: 100-continue\r\n\r\n".encode())
        with anyio.fail_after(15):  # until the server is at it
            assert (await stream.receive()).startswith(b"HTTP/1.1 100 ")
        assert (await http.patch(location)).status_code == 409
        await stream.send(DATA[:4])
        (upload,) = unfinished(tmp_path)

    with anyio.fail_after(15):  # until it has noticed
        while (await http.patch(location)).status_code == 409:
            await anyio.sleep(0.01)
    status = await http.get(location)
    kept = upload.read_bytes()
    assert kept in (b"", DATA[:4])  # whatever had reached the server when the client went
    assert status.status_code == 204
    assert status.headers["range"] == f"0-{max(0, len(kept) - 1)}"
    done = await http.put(
        location,
        params={"digest": DIGEST},
        content=DATA[len(kept) :],
        headers={"Content-Range": f"{len(kept)}-9"},
    )
    assert done.status_code == 201
