"""Backends and clients of sockmi-proxy: sockets of the test itself, in a host's network
namespace."""
import contextlib
import ctypes
import errno
import hashlib
import socket
import threading

from namespace import within

TIMEOUT = 60.0  # a bound for a hang


def receive_all(connection):
    """Returns what arrives until the end. `connection` has recv(), such as a socket or a TlsEnd."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def receive_exactly(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError(f"{len(data)} of {size} bytes")
        data += part
    return data


class Service:
    """Accepts connections on a host and calls `serve(connection)` for each, in a thread. With the
    context it accepts no more."""

    def __init__(self, host, address, serve):
        self._serve, self._connections, self.accepted = serve, [], 0
        self._lock = threading.Lock()
        self._listener = within(host, lambda: self._listen(address))
        self.address = self._listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    @staticmethod
    def _listen(address):
        if isinstance(address, str):
            listener = socket.socket(socket.AF_UNIX)
        else:
            listener = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
        return listener

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT)
            with self._lock:
                self.accepted += 1
                self._connections.append(connection)
            threading.Thread(target=self._run, args=[connection], daemon=True).start()

    def _run(self, connection):
        with contextlib.suppress(OSError, EOFError):
            self._serve(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._close()

    def _close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def die(self):
        """Ends at once: connections are reset, and no new one is accepted."""
        self._close()
        with self._lock:
            for connection in self._connections:
                reset(connection)


def reset(connection):
    """Ends a connection with an RST, also while another thread waits for it."""
    if connection.fileno() >= 0:
        unspecified = bytes(16)  # tcp(7): connect() to AF_UNSPEC
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.connect(connection.fileno(), unspecified, len(unspecified))
        # EBADF: its thread has just closed it.
        if result != 0 and ctypes.get_errno() != errno.EBADF:
            raise OSError(ctypes.get_errno(), "cannot reset a connection")


def echo(connection):
    with connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)


def named(name):
    """A service that says its name, then echoes."""

    def serve(connection):
        connection.sendall(name)
        echo(connection)

    return serve


def answer_after_the_end(connection):
    """Reads to the end of the input, then answers its hash and the input."""
    with connection:
        data = receive_all(connection)
        connection.sendall(hashlib.sha256(data).digest() + data)


def connect(host, address):
    """Returns a socket of the host, connected with `address`."""

    def open_socket():
        family = socket.AF_UNIX if isinstance(address, str) else None
        if family is None:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        connection = socket.socket(family)
        connection.settimeout(TIMEOUT)
        connection.connect(address)
        return connection

    return within(host, open_socket)
