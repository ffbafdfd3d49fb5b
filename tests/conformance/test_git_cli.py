"""The git surface under the client everybody has: the git command line."""

import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from towpath import gitops, web
from towpath.auth import Identity, Tokens
from towpath.spec.names import Revision

pytestmark = pytest.mark.anyio

TOKEN = "a-token-for-pushing"


@dataclass
class Surface:
    """A running git surface, and what it announced."""

    url: str
    root: Path
    announced: list[tuple[str, str, Revision]] = field(default_factory=list)
    told: anyio.Event = field(default_factory=anyio.Event)

    @property
    def repository(self) -> str:
        return f"http://{self.url}/gitops.git"

    @property
    def pushable(self) -> str:
        return f"http://towpath:{TOKEN}@{self.url}/gitops.git"


@pytest.fixture
async def surface(tmp_path: Path) -> AsyncIterator[Surface]:
    root = tmp_path / "git"
    await gitops.create(root, "gitops")
    tokens = Tokens([(TOKEN, Identity("shipper"))])

    def may_push(authorization: str | None) -> bool:
        return not tokens.identify(authorization).anonymous

    sock = web.listen("127.0.0.1", 0)
    running = Surface(f"127.0.0.1:{sock.getsockname()[1]}", root)

    async def announce(repository: str, branch: str, revision: Revision) -> None:
        running.announced.append((repository, branch, revision))
        running.told.set()

    async with anyio.create_task_group() as tasks:
        await tasks.start(web.serve, gitops.app(root, may_push, announce), sock)
        yield running
        tasks.cancel_scope.cancel()


class Git:
    """The command line, without a user's configuration, that never waits for a terminal."""

    def __init__(self, executable: str, home: Path) -> None:
        self._executable = executable
        self._home = home

    async def __call__(
        self,
        *arguments: str,
        cwd: Path | None = None,
        fails: bool = False,
        trace: bool = False,
        stdin: str = "",
    ) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
            "LC_ALL": "C",
        }
        if trace:
            environment["GIT_TRACE_CURL"] = "1"
            environment["GIT_TRACE_CURL_NO_DATA"] = "1"
        command: Sequence[str] = [self._executable, *arguments]

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command,
                check=False,
                cwd=cwd,
                env=environment,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=60,
            )

        done = await anyio.to_thread.run_sync(run)
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, said
        return said if fails or trace else done.stdout


@pytest.fixture
def run(git: str, tmp_path: Path) -> Git:
    home = tmp_path / "home"
    home.mkdir()
    return Git(git, home)


async def commit_file(run: Git, clone: Path, name: str, content: bytes) -> str:
    (clone / name).write_bytes(content)
    await run("add", name, cwd=clone)
    await run("commit", "-m", f"add {name}", cwd=clone)
    return (await run("rev-parse", "HEAD", cwd=clone)).strip()


async def test_clone_push_fetch(surface: Surface, run: Git, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    await run("clone", surface.repository, str(one))
    assert "clusters/<cluster>/<app>" in (one / "README.md").read_text()
    assert (await run("branch", "--show-current", cwd=one)).strip() == "main"
    await run("clone", surface.pushable, str(two))

    revision = await commit_file(run, two, "a.yaml", b"kind: List\n")
    await run("push", cwd=two)

    await run("pull", cwd=one)
    assert (one / "a.yaml").read_bytes() == b"kind: List\n"
    with anyio.fail_after(5):
        await surface.told.wait()
    assert surface.announced == [("gitops", "main", revision)]
    await run("fsck", "--strict", cwd=surface.root / "gitops.git")


async def test_shallow_clone_has_one_commit(surface: Surface, run: Git, tmp_path: Path) -> None:
    full, shallow = tmp_path / "full", tmp_path / "shallow"
    await run("clone", surface.pushable, str(full))
    for n in range(3):
        await commit_file(run, full, f"{n}.yaml", b"x: 1\n")
    await run("push", cwd=full)
    await run("clone", "--depth", "1", surface.repository, str(shallow))
    assert (await run("rev-list", "--count", "HEAD", cwd=shallow)).strip() == "1"

    await commit_file(run, full, "later.yaml", b"x: 2\n")
    await run("push", cwd=full)
    await run("fetch", "--depth", "1", "origin", "main", cwd=shallow)
    assert await run("show", "FETCH_HEAD:later.yaml", cwd=shallow) == "x: 2\n"

    await run("fetch", "--unshallow", cwd=shallow)
    assert (await run("rev-list", "--count", "FETCH_HEAD", cwd=shallow)).strip() == "5"


async def test_push_needs_the_token(surface: Surface, run: Git, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    await run("clone", surface.repository, str(clone))
    await commit_file(run, clone, "a.yaml", b"a: 1\n")
    before = (await run("ls-remote", surface.repository, "main")).split()[0]

    assert "could not read Username" in await run("push", cwd=clone, fails=True)
    wrong = surface.pushable.replace(TOKEN, "another-token")
    assert "Authentication failed" in await run("push", wrong, "main", cwd=clone, fails=True)
    assert (await run("ls-remote", surface.repository, "main")).split()[0] == before

    helper = f"!f() {{ echo username=x; echo password={TOKEN}; }}; f"
    await run("-c", f"credential.helper={helper}", "push", cwd=clone)
    assert (await run("ls-remote", surface.repository, "main")).split()[0] != before


async def test_chunked_push_of_a_large_pack(surface: Surface, run: Git, tmp_path: Path) -> None:
    clone, again = tmp_path / "clone", tmp_path / "again"
    await run("clone", surface.pushable, str(clone))
    large = os.urandom(3 * 1024 * 1024)
    await commit_file(run, clone, "large.bin", large)
    said = await run("-c", "http.postBuffer=1024", "push", cwd=clone, trace=True)
    assert "Transfer-Encoding: chunked" in said
    await run("clone", surface.repository, str(again))
    assert (again / "large.bin").read_bytes() == large


async def test_gzipped_fetch_request(surface: Surface, run: Git, tmp_path: Path) -> None:
    clone, other = tmp_path / "clone", tmp_path / "other"
    await run("clone", surface.pushable, str(clone))
    await run("clone", surface.repository, str(other))
    # Many commits that the server does not know make the request long enough to be packed.
    history = [
        f"commit refs/heads/own\ncommitter Ada <ada@example.com> {4_000_000_000 + n} +0000\n"
        f"data 1\nx\n{'from refs/heads/main^0' if n == 0 else ''}\n"
        for n in range(120)
    ]
    await run("fast-import", "--quiet", cwd=other, stdin="".join(history))
    await commit_file(run, clone, "a.yaml", b"a: 1\n")
    await run("push", cwd=clone)
    said = await run("fetch", "origin", cwd=other, trace=True)
    assert "Content-Encoding: gzip" in said
    assert await run("show", "FETCH_HEAD:a.yaml", cwd=other) == "a: 1\n"


async def test_a_branch_only_moves_forward(surface: Surface, run: Git, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    await run("clone", surface.pushable, str(one))
    await run("clone", surface.pushable, str(two))
    await commit_file(run, one, "one.yaml", b"a: 1\n")
    await commit_file(run, two, "two.yaml", b"a: 2\n")
    await run("push", cwd=one)
    assert "rejected" in await run("push", cwd=two, fails=True)
    assert "non-fast-forward" in await run("push", "--force", cwd=two, fails=True)
    assert "prohibited" in await run("push", "origin", ":main", cwd=two, fails=True)
    await run("push", "--force", "--atomic", cwd=two, fails=True)
    await run("pull", "--rebase", cwd=two)
    await run("push", cwd=two)
    await run("push", "origin", "HEAD:refs/heads/other", "HEAD:refs/tags/v1", cwd=two)
    await run("push", "origin", ":other", cwd=two)
    assert "other" not in await run("ls-remote", surface.repository)


@pytest.mark.parametrize("ref", ["refs/heads/HEAD", "refs/notes/x", "refs/asked/x"])
async def test_besides_branches_and_tags_nothing_is_kept(
    surface: Surface, run: Git, tmp_path: Path, ref: str
) -> None:
    clone = tmp_path / "clone"
    await run("clone", surface.pushable, str(clone))
    before = await run("ls-remote", surface.repository)
    said = await run("push", "origin", f"main:{ref}", cwd=clone, fails=True)
    assert "only branches and tags" in said
    assert await run("ls-remote", surface.repository) == before


async def test_of_two_pushes_at_once_one_is_told(
    surface: Surface, run: Git, tmp_path: Path
) -> None:
    clones = [tmp_path / f"clone-{n}" for n in range(3)]
    for clone in clones:
        await run("clone", surface.pushable, str(clone))
        await commit_file(run, clone, f"{clone.name}.yaml", b"a: 1\n")
    won: list[Path] = []

    async def push(clone: Path) -> None:
        try:
            await run("push", cwd=clone)
            won.append(clone)
        except AssertionError as exc:
            assert "rejected" in str(exc) or "failed to" in str(exc)  # noqa: PT017

    async with anyio.create_task_group() as tasks:
        for clone in clones:
            tasks.start_soon(push, clone)
    assert len(won) == 1
    head = (await run("rev-parse", "HEAD", cwd=won[0])).strip()
    assert (await run("ls-remote", surface.repository, "main")).split()[0] == head


async def test_a_killed_push_leaves_a_usable_repository(
    surface: Surface, run: Git, tmp_path: Path
) -> None:
    repository = surface.root / "gitops.git"
    (repository / "refs/heads/main.lock").write_bytes(b"")
    (repository / "objects/pack/tmp_pack_x").write_bytes(b"PACK")
    clone = tmp_path / "clone"
    await run("clone", surface.pushable, str(clone))
    revision = await commit_file(run, clone, "a.yaml", b"a: 1\n")
    assert "failed to write" in await run("push", cwd=clone, fails=True)
    before = await gitops.create(surface.root, "gitops")
    await run("push", cwd=clone)
    assert await gitops.create(surface.root, "gitops") == revision != before
    assert not list(repository.rglob("tmp_*"))


async def test_what_is_not_there(surface: Surface, run: Git) -> None:
    for path in ("absent.git", "..%2Fgitops.git", "gitops"):
        said = await run("ls-remote", f"http://{surface.url}/{path}", fails=True)
        assert "not found" in said or "404" in said
