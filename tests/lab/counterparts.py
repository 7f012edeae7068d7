"""Other people's programs as the peers of connections whose TLS end moves between two processes (tests/peers/mover.cc), with no daemon.

    lab.client                    lab.hostA
    the peer's program ══ TLS ══ mover ⇄ mover ── plain TCP ── the test

The peer's program takes what it sends from its standard input, and gives what it receives to its standard output. So both ends are in the
test's hand.
"""
import hashlib
import re
import socket
import subprocess
import threading

import namespace
from process import expect, run

PEERS = "tests/peers"
LISTEN, BACKEND = 7443, 7080


def rsa_certificate(lab):
    """As lab.certificate(), with an RSA key; both are of the same names."""
    certificate, key = lab.folder / "rsa.crt", lab.folder / "rsa.key"
    if not certificate.exists():
        names = ",".join(f"IP:{host.address}" for host in (lab.client, lab.hostA))
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=sockmi lab", "-addext",
             f"subjectAltName={names},DNS:lab.test", "-keyout", str(key), "-out", str(certificate)])
    return certificate, key


class Movers:
    """Two that play ping-pong with one connection."""

    def __init__(self, lab, how, every, *options):
        folder, program = lab.hostA.folder, lab.program(f"{PEERS}/mover")
        here, there = folder / "here", folder / "there"
        self.second = lab.hostA.popen(program, "take", "--at", there, "--hand-over", here, "--every", every, name="second")
        self.second.wait_line("mover ready")
        self.first = lab.hostA.popen(program, how, *options, "--at", here, "--hand-over", there, "--every", every, name="first")
        self.first.wait_line("mover ready")

    def hops(self):
        hops = [int(number) for mover in (self.first, self.second) for number in re.findall(r"^hop (\d+)$", "\n".join(mover.lines), re.M)]
        expect(sorted(hops) == list(range(1, len(hops) + 1)), lambda: f"hops: {hops}")
        return len(hops)

    def established(self, version, suite=None, alpn=None):
        """The handshake agreed on what the test is about, and the last SSL says the same."""
        wanted = f"TLSv{version} {suite or ''}" + (f".* alpn={alpn}" if alpn else "")
        for line in ("established", "ended"):
            said = [each for mover in (self.first, self.second) for each in mover.lines if each.startswith(line)]
            expect(len(said) == 1 and re.match(f"{line} {wanted}", said[0]), lambda: f"{said}, wanted {wanted}")

    def finish(self, least_hops=5):
        for mover in (self.first, self.second):
            expect(mover.wait(15) == 0, lambda: f"{mover.name}: status {mover.wait()}\n{mover.tail()}")
        expect(self.hops() >= least_hops, lambda: f"{self.hops()} hops only")


class SocketEnd:
    def __init__(self, sock):
        self.socket = sock
        self.write = sock.sendall
        sock.settimeout(30)

    def read(self, size):
        return self.socket.recv(size)

    def close(self):
        self.socket.shutdown(socket.SHUT_WR)


class ProgramEnd:
    def __init__(self, process):
        self.process = process

    def write(self, piece):
        self.process.stdin.write(piece)
        self.process.stdin.flush()

    def read(self, size):
        return self.process.stdout.read1(size)

    def close(self):
        self.process.stdin.close()


class Flow(threading.Thread):
    """Content on its way from one end to another, from its beginning to its end."""

    def __init__(self, source, target, content):
        super().__init__(daemon=True)
        self._source, self._target, self._content = source, target, content
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._hash, self._received, self._error = hashlib.sha256(), 0, None
        self._writer.start()
        self.start()

    def _write(self):
        try:
            for at in range(0, len(self._content), 1 << 15):
                self._source.write(self._content[at:at + (1 << 15)])
        except OSError as error:
            self._error = error

    def run(self):
        try:
            while self._received < len(self._content) and (piece := self._target.read(min(1 << 15, len(self._content) - self._received))):
                self._hash.update(piece)
                self._received += len(piece)
        except OSError as error:
            self._error = error

    def arrives(self, timeout=30.0):
        self.join(timeout)
        expect(not self.is_alive() and not self._error, lambda: f"{self._received} of {len(self._content)} bytes came: {self._error or 'it hangs'}")
        expect(self._hash.hexdigest() == hashlib.sha256(self._content).hexdigest(),
               lambda: f"of {len(self._content)} bytes sent, {self._received} came, and not the same")


def popen_peer(lab, *command, name=None):
    """Its standard input and output are in the test's hand."""
    return lab.client.popen(*command, name=name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class Session:
    """A peer's program and the plain end, with the movers between them."""

    def finish(self):
        self.far.close()
        while self.plain.read(1 << 15):
            pass
        self.plain.socket.close()
        self.movers.finish()
        self.movers.established(*self._expected)
        status = self.far.process.wait(10)
        expect(status == 0, lambda: f"{self.far.process.name}: status {status}\n{self.far.process.tail()}")


class ServerMoves(Session):
    """`command` is a client's, with {address}, {port} and {ca} to be filled in."""

    def __init__(self, lab, command, tls, suite=None, every=50_021, certificate=None):
        certificate, key = certificate or rsa_certificate(lab)
        self._expected = (tls, suite)
        listener = namespace.within(lab.hostA, lambda: socket.create_server((lab.hostA.address, BACKEND)))
        self.movers = Movers(lab, "serve", every, "--listen", f"{lab.hostA.address}:{LISTEN}", "--backend", f"{lab.hostA.address}:{BACKEND}",
                             "--certificate", certificate, "--key", key, "--tls", tls, *(["--ciphers", suite] if suite else []))
        values = {"address": lab.hostA.address, "port": LISTEN, "ca": certificate, "tls": tls, "option": tls.replace(".", "_")}
        self.far = ProgramEnd(popen_peer(lab, *(str(word).format(**values) for word in command)))
        listener.settimeout(10)
        self.plain = SocketEnd(listener.accept()[0])
        listener.close()
