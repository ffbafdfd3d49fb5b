"""Child processes, with real ones: started, adopted, stopped, and gone with their owner."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anyio
import psutil
import pytest

from towpath.errors import ConflictError, UnavailableError
from towpath.files import write_atomic
from towpath.process import (
    Children,
    Lifeline,
    Program,
    locked,
    locked_within,
)

pytestmark = pytest.mark.anyio

# Writes its configuration to a file, then lives until SIGTERM or the lifeline's end.
BODY = """
import json, os, sys, threading
text = sys.stdin.read()
if not text: sys.exit(0)
config = json.loads(text)
with open(config["file"] + ".part", "w") as file: json.dump(config, file)
os.rename(config["file"] + ".part", config["file"])
if "lifeline" in config:
    os.read(config["lifeline"], 1)
else:
    threading.Event().wait()
"""
# Ignores SIGTERM.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + BODY


def program(name: str, file: Path, body: str = BODY, **config: object) -> Program:
    return Program(
        name,
        (sys.executable, "-c", body),
        config={"file": str(file), **config},
        facts={"role": "test", "name": name},
    )


@pytest.fixture
def children(tmp_path: Path) -> Children:
    return Children(tmp_path / "run", tmp_path / "logs")


async def until_there(file: Path) -> None:
    with anyio.fail_after(10):
        while not file.exists():
            await anyio.sleep(0.02)


async def test_a_child_gets_its_configuration_and_is_remembered(
    children: Children, tmp_path: Path
) -> None:
    child = await children.start(program("one", tmp_path / "config"))
    await until_there(tmp_path / "config")

    assert json.loads((tmp_path / "config").read_text())["file"] == str(tmp_path / "config")
    assert child.alive
    assert [c.pid for c in children] == [child.pid]
    state = tmp_path / "run" / "one.json"
    assert json.loads(state.read_text())["facts"] == {"role": "test", "name": "one"}
    assert state.stat().st_mode & 0o777 == 0o600

    await children.stop(child)
    assert not psutil.pid_exists(child.pid)
    assert not state.exists()
    assert list(children) == []


async def test_a_child_that_does_not_listen_is_killed(children: Children, tmp_path: Path) -> None:
    child = await children.start(program("one", tmp_path / "config", STUBBORN))
    await until_there(tmp_path / "config")

    await children.stop(child, grace=0.3)

    assert not child.alive


async def test_the_end_of_a_child_is_noticed(children: Children, tmp_path: Path) -> None:
    child = await children.start(program("one", tmp_path / "config"))
    os.kill(child.pid, signal.SIGKILL)

    with anyio.fail_after(5):
        await child.wait()

    assert children.get("one") is None


async def test_the_next_owner_adopts_what_runs_and_forgets_what_ended(
    children: Children, tmp_path: Path
) -> None:
    lives = await children.start(program("lives", tmp_path / "a"))
    ended = await children.start(program("ended", tmp_path / "b"))
    os.kill(ended.pid, signal.SIGKILL)
    await ended.wait()
    successor = Children(tmp_path / "run", tmp_path / "logs")

    adopted = successor.adopt()

    assert [(c.name, c.pid, c.facts["name"]) for c in adopted] == [("lives", lives.pid, "lives")]
    assert not (tmp_path / "run" / "ended.json").exists()
    await successor.stop(adopted[0])
    assert not lives.alive


async def test_a_process_with_a_reused_pid_is_not_adopted(
    children: Children, tmp_path: Path
) -> None:
    child = await children.start(program("one", tmp_path / "config"))
    folder = str((tmp_path / "run").resolve())
    state = {"folder": folder, "pid": child.pid, "started": "1", "facts": {}}
    write_atomic(tmp_path / "run" / "other.json", json.dumps(state).encode())
    successor = Children(tmp_path / "run", tmp_path / "logs")

    assert [c.name for c in successor.adopt()] == ["one"]

    await children.stop(child)


async def test_an_unreadable_state_file_is_forgotten(children: Children, tmp_path: Path) -> None:
    (tmp_path / "run" / "torn.json").write_text('{"pid": 1')

    assert children.adopt() == []


async def test_a_program_that_is_not_there(children: Children, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be started"):
        await children.start(Program("one", (str(tmp_path / "nothing"),)))


async def test_the_log_tells_why_it_ended(children: Children, tmp_path: Path) -> None:
    body = "import sys; sys.stdin.read(); print('first'); print('the reason'); sys.exit(3)"
    child = await children.start(program("one", tmp_path / "config", body))
    await child.wait()

    assert children.tail("one", 1) == "the reason"


async def test_the_lifeline_ends_whoever_hangs_on_it(children: Children, tmp_path: Path) -> None:
    lifeline = Lifeline()
    hanging = Program(
        "one",
        (sys.executable, "-c", BODY),
        config={"file": str(tmp_path / "config"), "lifeline": lifeline.reader},
        fds=(lifeline.reader,),
    )
    child = await children.start(hanging)
    await until_there(tmp_path / "config")
    assert child.alive

    lifeline.cut()

    with anyio.fail_after(5):
        await child.wait()
    os.close(lifeline.reader)


async def test_kill_9_of_the_owner_cuts_the_lifeline_of_all_generations(tmp_path: Path) -> None:
    """The owner starts a child, the child starts a grandchild; both hang on the owner's pipe."""
    grandchild = "import os, sys; print(os.getpid(), flush=True); os.read(int(sys.argv[1]), 1)"
    child = (
        "import os, subprocess, sys\n"
        f"fd = int(sys.argv[1])\n"
        f"subprocess.Popen([sys.executable, '-c', {grandchild!r}, str(fd)], pass_fds=(fd,),"
        " start_new_session=True)\n"
        "os.read(fd, 1)\n"
    )
    owner = textwrap.dedent(f"""
        import subprocess, sys, threading
        from towpath.process import Lifeline
        lifeline = Lifeline()
        subprocess.Popen([sys.executable, "-c", {child!r}, str(lifeline.reader)],
                         pass_fds=(lifeline.reader,), start_new_session=True)
        threading.Event().wait()
    """)
    process = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    last = psutil.Process(int(process.stdout.readline()))

    process.kill()
    process.wait()
    process.stdout.close()

    last.wait(timeout=5)


async def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib, threading\nfrom towpath.process import locked\n"
            "with locked(pathlib.Path(sys.argv[1])):\n"
            "    print('held', flush=True); threading.Event().wait()",
            str(tmp_path / "lock"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    with pytest.raises(ConflictError, match=f"in use by process {holder.pid}"):
        locked(tmp_path / "lock").__enter__()

    holder.kill()
    holder.wait()
    holder.stdout.close()
    async with locked_within(tmp_path / "lock", 5):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


async def test_a_copied_folder_remembers_nobody(children: Children, tmp_path: Path) -> None:
    """A backup that was taken while the processes ran must not take them over, or stop them."""
    child = await children.start(program("one", tmp_path / "config"))
    shutil.copytree(tmp_path / "run", tmp_path / "copy")

    assert Children(tmp_path / "copy", tmp_path / "logs").adopt() == []

    assert child.alive
    await children.stop(child)


async def test_a_process_that_cannot_be_remembered_is_not_left(
    children: Children, tmp_path: Path
) -> None:
    (tmp_path / "run" / "one.json").mkdir()  # in the way of the state file

    with pytest.raises(UnavailableError, match="cannot be remembered"):
        await children.start(program("one", tmp_path / "config"))

    assert list(children) == []
    mine = psutil.Process().children(recursive=True)
    assert [p.pid for p in mine if str(tmp_path) in " ".join(p.cmdline())] == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomic(file, b"old")

    with pytest.raises(TypeError):
        write_atomic(file, "text")  # type: ignore[arg-type]

    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_child_of_ours_without_a_configuration_ends_at_once() -> None:
    """Its owner died before it could remember it: nobody would ever find it."""
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "towpath", "child", "runtime", "x"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin < 20
