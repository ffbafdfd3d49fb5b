"""Digests and streams: what flows is counted, compared, and put away."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.blob import digest as digests
from towpath.blob.retry import delay, persist, resumed
from towpath.blob.stream import Chunks, closing, joined
from towpath.errors import InvalidError, NotFoundError, Reason, UnavailableError

pytestmark = pytest.mark.anyio

pieces = st.lists(st.binary(max_size=40), max_size=12)


async def flow(*chunks: bytes, error: Exception | None = None) -> Chunks:
    for chunk in chunks:
        yield chunk
    if error:
        raise error


async def collect(chunks: Chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@given(pieces)
def test_hasher_is_sha256(chunks: list[bytes]) -> None:
    hasher = digests.Hasher()
    for chunk in chunks:
        hasher.update(chunk)

    data = b"".join(chunks)
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == hasher.digest
    assert len(data) == hasher.size
    assert digests.of_bytes(data) == hasher.digest


async def test_bytes_and_stream_agree() -> None:
    data = bytes(range(256)) * 9000

    assert (digests.of_bytes(data), len(data)) == await digests.of_stream(flow(data[:7], data[7:]))


async def test_verified_passes_what_is_right() -> None:
    good = digests.of_bytes(b"abcd")

    assert await collect(digests.verified(flow(b"ab", b"cd"), good, 4)) == b"abcd"
    assert await collect(digests.verified(flow(b"ab", b"cd"), None)) == b"abcd"


@pytest.mark.parametrize("chunks", [(b"ab",), (b"ab", b"ce"), (b"ab", b"cd", b"e"), ()])
async def test_verified_refuses_what_is_not(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(InvalidError) as caught:
        await collect(digests.verified(flow(*chunks), digests.of_bytes(b"abcd"), 4))
    assert Reason.DIGEST_MISMATCH is caught.value.reason


@given(pieces, st.integers(1, 30))
async def test_joined_keeps_bytes_and_makes_larger_pieces(chunks: list[bytes], size: int) -> None:
    found = [chunk async for chunk in joined(flow(*chunks), size)]

    assert b"".join(chunks) == b"".join(found)
    assert all(len(chunk) >= size for chunk in found[:-1])


async def test_joined_gives_what_came_before_an_error() -> None:
    chunks = joined(flow(b"a", b"b", error=NotFoundError("gone")), 100)

    assert await anext(chunks) == b"ab"
    with pytest.raises(NotFoundError):
        await anext(chunks)


async def test_closing_ends_a_half_read_stream() -> None:
    ended = False

    async def source() -> Chunks:
        nonlocal ended
        try:
            yield b"a"
            yield b"b"
        finally:
            ended = True

    chunks = source()
    async with closing(chunks):
        await anext(chunks)
    assert ended


@given(st.integers(1, 1000), st.one_of(st.none(), st.floats(-10, 1e9)))
def test_delay_is_bounded(failure: int, asked: float | None) -> None:
    assert 0 <= delay(failure, asked) <= 60


def test_delays_of_five_tries_bridge_fifteen_seconds() -> None:
    assert 15 <= sum(delay(failure) for failure in range(1, 5)) <= 20


async def test_persist_repeats_what_may_pass_only() -> None:
    calls: list[str] = []

    async def flaky() -> str:
        calls.append("flaky")
        if len(calls) < 3:
            raise UnavailableError("busy", retry_after=0)
        return "done"

    async def full() -> str:
        calls.append("full")
        raise UnavailableError("full", reason=Reason.NO_SPACE, retry_after=0)

    assert await persist(flaky, 5) == "done"
    assert len(calls) == 3
    with pytest.raises(UnavailableError):
        await persist(full, 5)
    assert len(calls) == 4
    calls.clear()
    with pytest.raises(UnavailableError):
        await persist(flaky, 2)
    assert len(calls) == 2


@given(st.binary(max_size=60), st.integers(1, 9), st.integers(0, 20))
async def test_resumed_goes_on_where_it_broke_off(data: bytes, step: int, offset: int) -> None:
    async def part(at: int) -> Chunks:
        if at < len(data):
            yield data[at : at + step]
            if at + step < len(data):
                raise UnavailableError("dropped", retry_after=0)

    assert data[offset:] == await collect(resumed(part, offset, attempts=2))


async def test_resumed_gives_up_without_progress() -> None:
    tries = []

    async def part(at: int) -> Chunks:
        tries.append(at)
        if at == 0:
            yield b"abc"
        raise UnavailableError("dropped", retry_after=0)

    with pytest.raises(UnavailableError):
        await collect(resumed(part, 0, attempts=3))
    assert tries == [0, 3, 3]
