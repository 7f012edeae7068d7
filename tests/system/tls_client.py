"""A TLS client in which the test controls every byte on the wire: records can be sent in
pieces, cut anywhere."""
import socket
import ssl

import namespace
from process import Failure, expect


def connect_from(host, address, timeout=10.0):
    """Returns a TCP connection that begins in another host's network namespace."""
    try:
        return namespace.within(host, lambda: socket.create_connection(address, timeout))
    except OSError as error:
        raise Failure(f"{host.name} to {address}: {error}") from None


class TlsClient:
    def __init__(self, lab, address, tls="1.3"):
        context = ssl.create_default_context(cafile=str(lab.certificate()[0]))
        context.minimum_version = context.maximum_version = (
            ssl.TLSVersion.TLSv1_2 if tls == "1.2" else ssl.TLSVersion.TLSv1_3
        )
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=address[0])
        self._socket = connect_from(lab.client, address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._plain = b""

    @property
    def local(self):
        return "%s:%d" % self._socket.getsockname()

    def hello(self):
        """Returns the ClientHello, which the caller sends; handshake() continues after it."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._out.read()
        raise Failure("the handshake was over at once")

    def handshake(self):
        while True:
            try:
                self._tls.do_handshake()
                self.send_raw(self._out.read())
                return
            except ssl.SSLWantReadError:
                self.send_raw(self._out.read())
                self._receive()

    def record(self, data):
        """Returns the data as a TLS record that is not sent yet."""
        self._tls.write(data)
        return self._out.read()

    def send_raw(self, piece):
        if piece:
            self._socket.sendall(piece)

    def send(self, data):
        self.send_raw(self.record(data))

    def _receive(self):
        try:
            piece = self._socket.recv(1 << 16)
        except TimeoutError:
            raise Failure("the server says nothing more") from None
        except OSError as error:
            raise Failure(f"connection: {error}") from None
        expect(piece, "the server closed the connection")
        self._in.write(piece)

    def read_until(self, mark):
        """Returns the plaintext up to and including `mark`."""
        while mark not in self._plain:
            self._more()
        head, _, self._plain = self._plain.partition(mark)
        return head + mark

    def read_exactly(self, length):
        while len(self._plain) < length:
            self._more()
        data, self._plain = self._plain[:length], self._plain[length:]
        return data

    def _more(self):
        while True:
            try:
                piece = self._tls.read(1 << 16)
                expect(piece, "the server ended the session")
                self._plain += piece
                return
            except ssl.SSLWantReadError:
                self._receive()

    def request(self, method, path, length=None):
        body = f"Content-Length: {length}\r\n" if length is not None else ""
        return f"{method} {path} HTTP/1.1\r\nHost: lab\r\n{body}\r\n".encode()

    def response(self):
        """Returns the body of the next response, which must be a good one."""
        head = self.read_until(b"\r\n\r\n").decode()
        expect(" 200 " in head.splitlines()[0] or " 206 " in head.splitlines()[0], head)
        length = [
            line.split(":")[1]
            for line in head.splitlines()
            if line.lower().startswith("content-length:")
        ]
        expect(length, f"no length: {head}")
        return self.read_exactly(int(length[0]))

    def close(self):
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # our close_notify is written; the server's may or may not arrive
            pass
        self.send_raw(self._out.read())
        self._socket.shutdown(socket.SHUT_WR)
        while self._socket.recv(1 << 16):
            pass
        self._socket.close()
