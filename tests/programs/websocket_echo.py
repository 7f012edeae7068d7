"""A backend as anybody would write it with the library websockets: it answers what it gets, and
says something by itself now and then."""
import asyncio
import sys

import websockets


async def tell_time(connection):
    number = 0
    while True:
        number += 1
        await connection.send(f"tick {number}")
        await asyncio.sleep(0.05)


async def serve(connection):
    print(f"opened {connection.path}", flush=True)
    clock = asyncio.create_task(tell_time(connection))
    try:
        async for message in connection:
            await connection.send(message)
    finally:
        clock.cancel()
        print(f"closed {connection.close_code}", flush=True)


async def main():
    async with websockets.serve(serve, sys.argv[1], int(sys.argv[2]), max_size=1 << 24):
        print("listening", flush=True)
        await asyncio.Future()


asyncio.run(main())
