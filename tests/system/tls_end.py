"""One end of a TLS connection that can end its output and still receive, which Python's own
SSLSocket cannot."""
import socket
import ssl

import byte_services


class TlsEnd:
    """Does the handshake. `name`: of the server, for a client."""

    def __init__(self, connection, context, name=None, server=False):
        self._socket = connection
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python's default
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server, None if server else name)
        try:
            self._call(self.tls.do_handshake)
        except BaseException:
            connection.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _flush(self):
        if self._out.pending:
            self._socket.sendall(self._out.read())

    def _call(self, function, *arguments):
        while True:
            try:
                result = function(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                piece = self._socket.recv(1 << 16)
                self._in.write(piece) if piece else self._in.write_eof()
            except ssl.SSLError:
                self._flush()  # an alert
                raise
            else:
                self._flush()
                return result

    def send(self, data):
        for begin in range(0, len(data), 1 << 16):
            self._call(self.tls.write, data[begin : begin + (1 << 16)])

    def receive(self, most=1 << 16):
        """Returns b"" at the close_notify; raises SSLError at an end without it."""
        try:
            return self._call(self.tls.read, most)
        except ssl.SSLZeroReturnError:
            return b""

    recv = receive  # as sockets call it

    def receive_exactly(self, size):
        return byte_services.receive_exactly(self, size)

    def receive_all(self):
        return byte_services.receive_all(self)

    def end_output(self):
        """Sends a close_notify, and the end of TCP behind it."""
        try:
            self.tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLError):
            pass  # it would also wait for the peer's
        self._flush()
        self._socket.shutdown(socket.SHUT_WR)
