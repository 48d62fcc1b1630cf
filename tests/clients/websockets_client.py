"""The websockets package against keybearer: text, binary, fragments, pings, a clean close."""

import asyncio
import sys

import websockets


async def main(url: str) -> None:
    headers = {"Authorization": "Bearer mine"}
    async with websockets.connect(
        url, additional_headers=headers, max_size=None, proxy=None
    ) as socket:
        for message in ["hello", "ä" * 70_000, b"\x00" * 1_000_000, ""]:
            await socket.send(message)
            assert await socket.recv() == message
        await socket.send(["in ", "three ", "parts"])
        assert await socket.recv() == "in three parts"
        await asyncio.wait_for(await socket.ping(), 30)


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
