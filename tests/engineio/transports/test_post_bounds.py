"""The bounds of a POST that a program may move: how slow its body may be, and how many packets it may hold."""

from __future__ import annotations

import asyncio

import pytest

from telex.engineio.handshake import Response
from telex.engineio.session import CloseReason
from telex.limits import Limits
from tests.engineio.loops import run
from tests.engineio.transports.test_polling import BAD, OK, Scene


@pytest.mark.parametrize(("rate", "seconds"), [(100.0, 15.0), (1000.0, 6.0)])
def test_e12_min_body_rate(rate: float, seconds: float) -> None:
    async def main() -> None:
        scene = Scene(Limits(min_body_rate=rate, ping_interval=1e6))
        start = asyncio.get_running_loop().time()
        assert await (await scene.post(b"x" * 1000)) == Response(408)
        assert asyncio.get_running_loop().time() - start == pytest.approx(seconds)
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


@pytest.mark.parametrize("n_packets", [2, 3, 4])
def test_e15_e16_max_packets_per_payload(n_packets: int) -> None:
    async def main() -> None:
        scene = Scene(Limits(max_packets_per_payload=3, ping_interval=1e6))
        body = b"\x1e".join([b"4."] * n_packets)
        answer = await (await scene.post(body, None))
        if n_packets > 3:
            assert answer == BAD
            await scene.check_over(".", ".", ".", CloseReason.PARSE_ERROR)
        else:
            assert answer == OK
            assert scene.floor.events == ["."] * n_packets
            scene.session.abort()

    run(main())
