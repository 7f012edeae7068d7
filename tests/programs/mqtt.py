"""Many MQTT 3.1.1 clients in one program: each subscribes to a topic of its own, and publishes to
that of the next one, with QoS 1. Sections are those of the standard (OASIS, 2014)."""
import asyncio
import socket
import ssl
import struct
import threading

from byte_services import TIMEOUT
from namespace import within
from process import expect

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, DISCONNECT = 1, 2, 3, 4, 8, 9, 14
QOS_1, DUPLICATE, RETRIED = 0b0010, 0b1000, 0b0010


def text(value):
    return struct.pack("!H", len(value)) + value.encode()


def packet(kind, body=b"", flags=0):
    """Section 2.2. The tests need no packet with more than 127 bytes."""
    expect(len(body) < 128, "the packet is too long")
    return bytes([kind << 4 | flags, len(body)]) + body


async def receive(reader):
    """Returns the kind, the flags and the body of a packet."""
    first, size = await reader.readexactly(2)
    return first >> 4, first & 0b1111, await reader.readexactly(size)


class Client:
    """`received`: numbers, in the order in which they came. While `holding`, what comes is not
    acknowledged."""

    def __init__(self, number, crowd):
        self._number, self._crowd = number, crowd
        self._reader = self._writer = None
        self.published = self.acknowledged = 0
        self.received, self._held = [], []

    async def connect(self, plain, context, name):
        self._reader, self._writer = await asyncio.open_connection(
            sock=plain, ssl=context, server_hostname=name
        )
        clean_session = b"\x04\x02\x00\x00"  # level 4; no keep-alive, section 3.1
        await self._ask(CONNECT, text("MQTT") + clean_session + text(f"many{self._number}"))
        topic = text(f"many/{self._number}")
        await self._ask(SUBSCRIBE, struct.pack("!H", 1) + topic + b"\x01", flags=0b0010)

    async def _ask(self, kind, body, flags=0):
        self._writer.write(packet(kind, body, flags))
        answer, _, result = await receive(self._reader)
        expect(answer == kind + 1 and result[-1] <= 1, f"the broker answered {answer} {result}")

    def publish(self):
        """Sends the next number."""
        self.published += 1
        to = text(f"many/{(self._number + 1) % self._crowd.size}")
        number = struct.pack("!HI", self.published, self.published)  # packet identifier, payload
        self._writer.write(packet(PUBLISH, to + number, QOS_1))

    async def serve(self):
        """Reads until the end of the connection."""
        while True:
            kind, flags, body = await receive(self._reader)
            if kind == PUBACK:
                self.acknowledged += 1
                continue
            expect((kind, flags) == (PUBLISH, QOS_1), f"a packet {kind}, flags {flags}")
            identifier, number = body[-6:-4], struct.unpack("!I", body[-4:])[0]
            self.received.append(number)
            self._held.append(packet(PUBACK, identifier))
            if not self._crowd.holding:
                self.release()

    def release(self):
        self._writer.write(b"".join(self._held))
        self._held = []

    def leave(self):
        self._writer.write(packet(DISCONNECT))


class Crowd:
    """`size` clients with TLS. They run in a thread; `failures` are those of connections."""

    def __init__(self, host, address, authority, size):
        self.size, self.holding, self.failures = size, False, []
        self._clients = [Client(number, self) for number in range(size)]
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._publishing = None
        self._run(self._connect(host, address, ssl.create_default_context(cafile=authority)))

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(4 * TIMEOUT)

    async def _connect(self, host, address, context):
        for client in self._clients:
            plain = within(host, lambda: socket.create_connection(address, TIMEOUT))
            plain.setblocking(False)
            await client.connect(plain, context, address[0])
            self._loop.create_task(self._serve(client))

    async def _serve(self, client):
        try:
            await client.serve()
        except Exception as error:  # whatever it is, the test reports it
            self.failures.append(repr(error))

    def begin_publishing(self, interval):
        """Each client publishes at this interval, in seconds, until end_publishing()."""

        async def publish():
            while True:
                for client in self._clients:
                    client.publish()
                    await asyncio.sleep(interval / self.size)

        async def begin():
            self._publishing = self._loop.create_task(publish())

        self._run(begin())

    def end_publishing(self):
        async def end():
            self._publishing.cancel()

        self._run(end())

    def publish(self):
        """Each client publishes once."""

        async def once():
            for client in self._clients:
                client.publish()

        self._run(once())

    def hold(self):
        """From now on nothing that comes is acknowledged."""
        self.holding = True

    def release(self):
        async def release():
            self.holding = False
            for client in self._clients:
                client.release()

        self._run(release())

    def has_all(self):
        """Returns whether each client has got what was published for it, and the acknowledgements
        of what it has published itself."""
        expect(not self.failures, lambda: f"{len(self.failures)}: {self.failures[0]}")
        return all(
            len(client.received) == sender.published == sender.acknowledged
            for sender, client in zip(self._clients, self._clients[1:] + self._clients[:1])
        )

    def in_order(self):
        """Returns whether each client has got each number once."""
        return all(
            client.received == list(range(1, len(client.received) + 1)) for client in self._clients
        )

    def count(self):
        return sum(len(client.received) for client in self._clients)

    def leave(self):
        async def leave():
            for client in self._clients:
                client.leave()

        self._run(leave())
