"""Listening sockets: the one detail of theirs that every surface's latency hangs on."""

import socket

from towpath import web


def test_asyncio_will_turn_nagles_delay_off() -> None:
    """It does so only for sockets whose protocol is named; without, kept connections wait 40 ms."""
    with web.listen("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP
