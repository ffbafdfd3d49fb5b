"""Commits against real remotes: our own surface, a path, a file URL; alone and in a race."""

import base64
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import ObjectID
from dulwich.repo import Repo

from towpath import gitops, web
from towpath.errors import DeniedError, InvalidError, NotFoundError, UnavailableError
from towpath.gitops.remote import Remote
from towpath.gitops.tree import Files, commit_of
from towpath.spec.names import Revision

pytestmark = pytest.mark.anyio

TOKEN = "s3cret-of-the-shipper"
AUTHOR = "Towpath <towpath@example.com>"


def may_push(authorization: str | None) -> bool:
    scheme, _, value = (authorization or "").partition(" ")
    return scheme == "Basic" and base64.b64decode(value).decode().endswith(f":{TOKEN}")


async def ignore(_repository: str, _branch: str, _revision: Revision) -> None: ...


@pytest.fixture
async def root(tmp_path: Path) -> Path:
    await gitops.create(tmp_path / "git", "gitops")
    return tmp_path / "git"


@pytest.fixture
async def surface(root: Path) -> AsyncIterator[str]:
    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(web.serve, gitops.app(root, may_push, ignore), sock)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        tasks.cancel_scope.cancel()


@pytest.fixture(params=["http", "path"])
def remote(request: pytest.FixtureRequest, surface: str, root: Path) -> str:
    return {"http": f"{surface}/gitops.git", "path": str(root / "gitops.git")}[request.param]


def add(path: str, content: bytes | None) -> gitops.Edit:
    return lambda _: {path: content}


async def read(url: str, target: str = "main") -> dict[str, bytes]:
    def fetch() -> dict[str, bytes]:
        store = MemoryObjectStore()
        revision = Remote(url).fetch(target, store)
        assert revision is not None
        return dict(Files(store, commit_of(store, ObjectID(revision.encode())).tree))

    return await anyio.to_thread.run_sync(fetch)


async def head(url: str) -> Revision:
    return await anyio.to_thread.run_sync(Remote(url).resolve, "main")


async def commit(url: str, edit: gitops.Edit, branch: str = "main") -> gitops.Commit:
    return await gitops.commit(url, TOKEN, branch, edit, "Say why", AUTHOR)


async def test_an_edit_lands_and_its_repetition_does_nothing(remote: str) -> None:
    first = await commit(remote, add("clusters/edge-1/fraud/a.yaml", b"a: 1\n"))
    assert first.changed
    assert await head(remote) == first.revision
    files = await read(remote)
    assert files["clusters/edge-1/fraud/a.yaml"] == b"a: 1\n"
    assert "README.md" in files

    again = await commit(remote, add("clusters/edge-1/fraud/a.yaml", b"a: 1\n"))
    assert again == gitops.Commit(first.revision, changed=False)

    def edit(files: Mapping[str, bytes]) -> Mapping[str, bytes | None]:
        assert files["clusters/edge-1/fraud/a.yaml"] == b"a: 1\n"
        return {path: None for path in files if path.startswith("clusters/")}

    removed = await commit(remote, edit)
    assert removed.changed
    assert set(await read(remote)) == {"README.md"}
    old = await read(remote, first.revision)
    assert old == files


async def test_of_many_committers_none_is_lost(remote: str, root: Path) -> None:
    done: list[gitops.Commit] = []

    async def one(n: int) -> None:
        done.append(await commit(remote, add(f"clusters/edge-{n}/a.yaml", b"%d" % n)))

    async with anyio.create_task_group() as tasks:
        for n in range(8):
            tasks.start_soon(one, n)
    files = await read(remote)
    assert {f"clusters/edge-{n}/a.yaml": b"%d" % n for n in range(8)}.items() <= files.items()
    with Repo(str(root / "gitops.git")) as repo:
        history = [entry.commit.id.decode() for entry in repo.get_walker()]
    assert len(history) == 9
    assert {c.revision for c in done} <= set(history)


async def test_a_file_url_is_a_path(root: Path) -> None:
    done = await commit(f"file://{root}/gitops.git", add("a.yaml", b"a: 1\n"))
    assert done.revision == await head(str(root / "gitops.git"))


async def test_an_empty_repository_gets_its_first_commit(tmp_path: Path) -> None:
    Repo.init_bare(str(tmp_path / "empty.git"), mkdir=True).close()
    first = await commit(str(tmp_path / "empty.git"), add("a.yaml", b"a: 1\n"))
    assert first.changed
    assert await read(str(tmp_path / "empty.git")) == {"a.yaml": b"a: 1\n"}


async def test_a_commit_is_what_git_expects(root: Path) -> None:
    made = await commit(str(root / "gitops.git"), add("a.yaml", b"a: 1\n"))
    with Repo(str(root / "gitops.git")) as repo:
        found = commit_of(repo.object_store, ObjectID(made.revision.encode()))
    found.check()
    assert found.author == found.committer == AUTHOR.encode()
    assert found.message == b"Say why\n"
    assert len(found.parents) == 1


@pytest.mark.parametrize("token", ["", "wrong-token-of-somebody"])
async def test_without_the_token_nothing_is_pushed(surface: str, token: str) -> None:
    url = f"{surface}/gitops.git"
    before = await head(url)
    with pytest.raises(DeniedError) as caught:
        await gitops.commit(url, token, "main", add("a", b"a"), "m", AUTHOR)
    assert not token or token not in f"{caught.value.message} {caught.value.hint}"
    assert await head(url) == before


async def test_credentials_in_the_url_work_and_stay_out_of_messages(surface: str) -> None:
    url = f"{surface}/gitops.git".replace("//", f"//somebody:{TOKEN}@")
    made = await gitops.commit(url, "", "main", add("a", b"a"), "m", AUTHOR)
    assert made.changed
    with pytest.raises(NotFoundError) as caught:
        await gitops.commit(url.replace("gitops", "absent"), "", "main", add("a", b""), "m", AUTHOR)
    assert TOKEN not in caught.value.message
    assert TOKEN not in repr(Remote(surface, TOKEN))


async def test_what_cannot_be_reached_or_found(surface: str, tmp_path: Path) -> None:
    sock = web.listen("127.0.0.1", 0)
    free = f"http://127.0.0.1:{sock.getsockname()[1]}/gitops.git"
    sock.close()
    for url, branch, error in (
        (free, "main", UnavailableError),
        (f"{surface}/absent.git", "main", NotFoundError),
        (f"{surface}/gitops.git", "absent", NotFoundError),
        (str(tmp_path / "absent"), "main", NotFoundError),
        ("ssh://git@127.0.0.1/gitops.git", "main", InvalidError),
        ("", "main", InvalidError),
    ):
        with pytest.raises(error):
            await commit(url, add("a", b"a"), branch)


async def test_an_unsafe_path_is_refused(remote: str) -> None:
    before = await head(remote)
    with pytest.raises(InvalidError, match="not a path"):
        await commit(remote, add("../a", b"a"))
    assert await head(remote) == before


async def test_a_commit_advertised_before_a_push_is_still_given(remote: str) -> None:
    one = await commit(remote, add("a.yaml", b"1"))
    await commit(remote, add("a.yaml", b"2"))
    assert (await read(remote, one.revision))["a.yaml"] == b"1"


async def test_requests_that_are_not_git(surface: str) -> None:
    upload = {"content-type": "application/x-git-upload-pack-request"}
    receive = {"content-type": "application/x-git-receive-pack-request"}
    basic = "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()
    authorized = {**receive, "authorization": basic}
    gzipped = {**upload, "content-encoding": "gzip"}
    async with httpx2.AsyncClient(base_url=f"{surface}/gitops.git", trust_env=False) as client:
        for path, headers, content, expected in (
            ("/git-upload-pack", upload, b"not a pkt-line", 400),
            ("/git-upload-pack", upload, b"0032want " + b"0" * 40 + b"\n00000009done\n", 400),
            ("/git-upload-pack", gzipped, b"not gzip", 400),
            ("/git-upload-pack", {**upload, "content-encoding": "br"}, b"", 415),
            ("/git-upload-pack", receive, b"0000", 415),
            ("/git-receive-pack", receive, b"0000", 401),
            ("/git-receive-pack", authorized, b"zzzz", 400),
            ("/git-absent", upload, b"", 404),
        ):
            answer = await client.post(path, headers=headers, content=content)
            assert answer.status_code == expected, (path, content, answer.text)
            assert answer.json()["code"] == expected
        assert (await client.get("/info/refs")).status_code == 403
        for service in ("git-upload-pack", "git-receive-pack"):
            answer = await client.get("/info/refs", params={"service": service})
            assert answer.status_code == (401 if "receive" in service else 200)
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert await head(f"{surface}/gitops.git")
