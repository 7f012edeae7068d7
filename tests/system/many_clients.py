"""Many TLS clients of an httpsd, in the client's network namespace. Each downloads a file, stands
in its middle, and later checks the whole of it."""
import hashlib
import socket
import ssl

import namespace
from lab import PORT
from process import Failure, expect

# Small, so that the server is in the middle of the file while the client stands.
RECEIVE_BUFFER = 16 << 10


class Client:
    def __init__(self, lab, context, to, size):
        self._size, self._hash, self._read = size, hashlib.sha256(), 0
        plain = namespace.within(lab.client, lambda: self._connect(to))
        self._tls = context.wrap_socket(plain, server_hostname=to)
        self._tls.sendall(b"GET /f HTTP/1.1\r\nHost: lab\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._receive()
        expect(head.startswith(b"HTTP/1.1 200"), lambda: f"the server answered {head[:100]}")
        self._take(head.partition(b"\r\n\r\n")[2])

    @staticmethod
    def _connect(to):
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        plain.settimeout(30)
        plain.connect((to, PORT))
        return plain

    def _receive(self):
        try:
            piece = self._tls.recv(1 << 16)
        except (OSError, ssl.SSLError) as error:
            raise Failure(f"at byte {self._read}: {error}") from None
        expect(piece, lambda: f"the server closed the connection at byte {self._read}")
        return piece

    def _take(self, piece):
        self._hash.update(piece)
        self._read += len(piece)

    def finish(self):
        """Returns the SHA-256 of the whole file."""
        while self._read < self._size:
            self._take(self._receive())
        self._tls.close()
        return self._hash.hexdigest()


class ManyClients:
    def __init__(self, lab, count, content, to=None):
        lab.file("f", content)
        context = ssl.create_default_context(cafile=str(lab.certificate()[0]))
        to = to or lab.hostA.address
        self._expected = hashlib.sha256(content).hexdigest()
        self._clients = [Client(lab, context, to, len(content)) for _ in range(count)]

    def finish_whole(self):
        """Checks that each gets the whole file."""
        hashes = {client.finish() for client in self._clients}
        expect(hashes == {self._expected}, "a hash is wrong")
