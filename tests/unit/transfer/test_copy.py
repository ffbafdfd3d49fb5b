"""The copy job between memory stores: what arrives, what is told, what is refused."""

import hashlib
from collections.abc import Coroutine

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.blob import Entry
from towpath.blob.memory import Memory
from towpath.blob.stream import Chunks
from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason, TowpathError
from towpath.spec.names import Digest
from towpath.transfer import Copied, copy, digest_of, examine

pytestmark = pytest.mark.anyio


def sha(data: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


class Promising(Memory):
    """A source that says one thing in its list."""

    def __init__(self, files: dict[str, bytes], promised: list[Entry]) -> None:
        super().__init__(files)
        self._promised = promised

    async def list(self) -> list[Entry]:
        return self._promised


async def test_one_file() -> None:
    source, destination = Memory({"dir/m.onnx": b"x" * 200_000}, "dir/m.onnx"), Memory()

    copied = await copy(source, destination)

    assert destination.files == {"m.onnx": b"x" * 200_000}
    assert sha(b"x" * 200_000) == copied.digest == copied.files[0].digest
    assert copied.size == 200_000


async def test_several_files_have_the_documented_digest() -> None:
    source, destination = (
        Memory({"m/b": b"22", "m/ä": b"1", "m/a/x": b""}, "m"),
        Memory(folder="out"),
    )

    copied = await copy(source, destination)

    line = (
        f'[{{"digest":"{sha(b"")}","path":"a/x","size":0}},'
        f'{{"digest":"{sha(b"22")}","path":"b","size":2}},'
        f'{{"digest":"{sha(b"1")}","path":"ä","size":1}}]'
    )
    assert sha(line.encode()) == copied.digest
    assert copied.size == 3
    assert destination.files == {"out/a/x": b"", "out/b": b"22", "out/ä": b"1"}


@given(
    st.permutations([Entry("a", 1, sha(b"a")), Entry("b", 2, sha(b"b")), Entry("c", 0, sha(b""))])
)
def test_digest_does_not_depend_on_order(files: list[Entry]) -> None:
    assert digest_of(sorted(files, key=lambda f: f.path)) == digest_of(files)


async def test_progress_grows_to_the_total() -> None:
    told: list[tuple[int, int]] = []
    source = Memory({"a": b"x" * 150_000, "b": b"y" * 10})

    await copy(source, Memory(), progress=lambda done, total: told.append((done, total)))

    assert told[0] == (0, 150_010)
    assert told[-1] == (150_010, 150_010)
    assert sorted(told) == told
    assert len(told) > 4


@pytest.mark.parametrize("files", [{}, {"m": b""}, {"a": b"", "b": b""}])
async def test_nothing_to_copy_is_refused(files: dict[str, bytes]) -> None:
    destination = Memory()

    with pytest.raises(InvalidError):
        await copy(Memory(files), destination)
    assert destination.files == {}


async def test_missing_source() -> None:
    with pytest.raises(NotFoundError):
        await copy(Memory({"other": b"1"}, "gone"), Memory())


async def test_sibling_of_the_same_beginning_is_not_copied() -> None:
    destination = Memory()

    await copy(Memory({"my-model/a": b"1", "my-model-other/b": b"2"}, "my-model"), destination)

    assert destination.files == {"a": b"1"}


async def test_broken_promise_of_digest() -> None:
    destination = Memory()
    source = Promising({"m": b"real"}, [Entry("m", 4, sha(b"else"))])

    with pytest.raises(InvalidError) as caught:
        await copy(source, destination)
    assert Reason.DIGEST_MISMATCH is caught.value.reason
    assert destination.files == {}


@pytest.mark.parametrize("size", [3, 5])
async def test_source_that_changed_size(size: int) -> None:
    destination = Memory()

    with pytest.raises(ConflictError):
        await copy(Promising({"m": b"real"}, [Entry("m", size)]), destination)
    assert destination.files == {}


async def test_source_that_breaks_off_leaves_nothing_of_that_file() -> None:
    class Breaking(Memory):
        async def read(self, path: str, offset: int = 0) -> Chunks:
            yield b"half"
            raise NotFoundError("gone")

    destination = Memory({"m": b"old"})
    with pytest.raises(NotFoundError):
        await copy(Breaking({"m": b"half and half"}), destination)
    assert destination.files == {"m": b"old"}


@pytest.mark.parametrize("files", [{"m/a": b"x" * 200_000}, {"m/b": b"2", "m/a/x": b""}])
async def test_examine_tells_what_copy_would_bring(files: dict[str, bytes]) -> None:
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    examined = await examine(Memory(files, "m"), progress=tell)

    assert examined == await copy(Memory(files, "m"), Memory())
    assert told[0] == (0, examined.size)
    assert told[-1] == (examined.size, examined.size)


@pytest.mark.parametrize(
    "source",
    [
        Memory({}),
        Memory({"m": b""}),
        Memory({"other": b"1"}, "gone"),
        Promising({"m": b"real"}, [Entry("m", 4, sha(b"else"))]),
        Promising({"m": b"real"}, [Entry("m", 3)]),
        Promising({"m": b"real"}, [Entry("m", 5)]),
    ],
)
async def test_examine_refuses_what_copy_refuses(source: Memory) -> None:
    async def refusal(attempt: Coroutine[None, None, Copied]) -> tuple[type, Reason, str]:
        with pytest.raises(TowpathError) as caught:
            await attempt
        return caught.type, caught.value.reason, caught.value.message

    assert await refusal(examine(source)) == await refusal(copy(source, Memory()))
