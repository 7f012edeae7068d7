"""Other people's programs as the peers of connections whose TLS end moves between two
processes (tests/interop/mover.cc), without a daemon.

    lab.client                    lab.hostA
    the peer's program ══ TLS ══ mover ⇄ mover ── plain TCP ── the test

The peer's program sends what it reads from its standard input, and writes what it receives
to its standard output. So the test controls both ends.
"""
import hashlib
import re
import socket
import subprocess
import threading

import namespace
from certificate import make_certificate
from lab import ROOT
from process import expect, wait_until

INTEROP = "tests/interop"
TLS_RELAY = ROOT / INTEROP / "tls_relay.py"
LISTEN, BACKEND = 7443, 7080


def certificate_for(lab, suite=None):
    """Returns a certificate and its key, of the kind that the suite signs with."""
    kind = "ec" if suite and "ECDSA" in suite else "rsa"
    certificate, key = lab.folder / f"{kind}.crt", lab.folder / f"{kind}.key"
    if not certificate.exists():
        names = ",".join(f"IP:{host.address}" for host in (lab.client, lab.hostA))
        make_certificate(certificate, key, f"{names},DNS:lab.test", kind)
    return certificate, key


class Movers:
    """Two movers that pass one connection to and fro."""

    def __init__(self, lab, how, every, *options):
        folder, program = lab.hostA.folder, lab.program(f"{INTEROP}/mover")
        here, there = folder / "here", folder / "there"
        self.second = lab.hostA.popen(
            program, "take", "--at", there, "--hand-over", here, "--every", every, name="second"
        )
        self.second.wait_line("mover ready")
        self.first = lab.hostA.popen(
            program,
            how,
            *options,
            "--at",
            here,
            "--hand-over",
            there,
            "--every",
            every,
            name="first",
        )
        self.first.wait_line("mover ready")

    def says(self, text):
        return self.first.says(text) or self.second.says(text)

    def hops(self):
        hops = [
            int(number)
            for mover in (self.first, self.second)
            for number in re.findall(r"^hop (\d+)$", "\n".join(mover.lines), re.M)
        ]
        expect(sorted(hops) == list(range(1, len(hops) + 1)), lambda: f"hops: {hops}")
        return len(hops)

    def established(self, version, suite=None, alpn=None):
        """Checks that the handshake agreed on what the test is about, and that the last
        SSL reports the same."""
        wanted = f"TLSv{version} {suite or ''}" + (f".* alpn={alpn}" if alpn else "")
        for line in ("established", "ended"):
            said = [
                each
                for mover in (self.first, self.second)
                for each in mover.lines
                if each.startswith(line)
            ]
            expect(
                len(said) == 1 and re.match(f"{line} {wanted}", said[0]),
                lambda: f"{said}, wanted {wanted}",
            )

    def finish(self, least_hops=5):
        for mover in (self.first, self.second):
            expect(
                mover.wait(15) == 0, lambda: f"{mover.name}: status {mover.wait()}\n{mover.tail()}"
            )
        expect(self.hops() >= least_hops, lambda: f"{self.hops()} hops only")


def serving_movers(lab, identity, *options, every=50_021):
    """Starts movers in front of a server without TLS at BACKEND. `identity`: certificate, key."""
    address = lab.hostA.address
    certificate, key = identity
    return Movers(
        lab,
        "serve",
        every,
        "--listen",
        f"{address}:{LISTEN}",
        "--backend",
        f"{address}:{BACKEND}",
        "--certificate",
        certificate,
        "--key",
        key,
        *options,
    )


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
    """Content on its way from one end to the other, from its beginning to its end."""

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
                self._source.write(self._content[at : at + (1 << 15)])
        except OSError as error:
            self._error = error

    def run(self):
        try:
            while self._received < len(self._content) and (
                piece := self._target.read(min(1 << 15, len(self._content) - self._received))
            ):
                self._hash.update(piece)
                self._received += len(piece)
        except OSError as error:
            self._error = error

    def arrives(self, timeout=30.0):
        self.join(timeout)
        expect(
            not self.is_alive() and not self._error,
            lambda: f"{self._received} of {len(self._content)} bytes came: "
            f"{self._error or 'it hangs'}",
        )
        expect(
            self._hash.hexdigest() == hashlib.sha256(self._content).hexdigest(),
            lambda: f"of {len(self._content)} bytes sent, {self._received} came, and not the same",
        )


def popen_peer(lab, *command, name=None):
    """Starts a peer; the test controls its standard input and output."""
    return lab.client.popen(*command, name=name, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_listening(host, port):
    wait_until(
        lambda: host.run("ss", "-Hltn", f"sport = :{port}"),
        f"a server listens at {host.name}, port {port}",
    )


class Session:
    """A peer's program and the plain end, with the movers between them."""

    def __init__(self, lab, tls, suite):
        self.lab, self._expected = lab, (tls, suite)

    def fill(self, command, **more):
        """Returns the words of a peer's command, with {address}, {port}, {ca},
        {certificate}, {key}, {tls} and {option} replaced."""
        tls, suite = self._expected
        certificate, key = certificate_for(self.lab, suite)
        values = {
            "port": LISTEN,
            "ca": certificate,
            "certificate": certificate,
            "key": key,
            "tls": tls,
            "option": tls.replace(".", "_"),
            "programs": self.lab.program(INTEROP),
            **more,
        }
        return [str(word).format(**values) for word in command]

    def mover_options(self):
        tls, suite = self._expected
        return ["--tls", tls, *(["--ciphers", suite] if suite else [])]

    def both_ways(self, up, down):
        """Sends in both directions in parallel; `up` is what the peer's program sends."""
        flows = [Flow(self.far, self.plain, up), Flow(self.plain, self.far, down)]
        for flow in flows:
            flow.arrives()

    def finish(self, close, ends=True):
        """`close`: the end that closes first. `ends`: whether the peer's program then ends too."""
        close.close()
        expect(not self.plain.read(1), "more came than was sent")
        self.plain.socket.close()
        self.movers.finish()
        self.movers.established(*self._expected)
        if not ends:
            return
        expect(not self.far.read(1), "more came than was sent")
        status = self.far.process.wait(10)
        expect(
            status == 0,
            lambda: f"{self.far.process.name}: status {status}\n{self.far.process.tail()}",
        )


class ServerMoves(Session):
    """`command` is the command of a client."""

    def __init__(self, lab, command, tls, suite=None, every=50_021):
        super().__init__(lab, tls, suite)
        address = lab.hostA.address
        with namespace.within(
            lab.hostA, lambda: socket.create_server((address, BACKEND))
        ) as listener:
            self.movers = serving_movers(
                lab, certificate_for(lab, suite), *self.mover_options(), every=every
            )
            self.far = ProgramEnd(popen_peer(lab, *self.fill(command, address=address)))
            listener.settimeout(10)
            self.plain = SocketEnd(listener.accept()[0])


class ClientMoves(Session):
    """`command` is the command of a server."""

    def __init__(self, lab, command, tls, suite=None, every=50_021):
        super().__init__(lab, tls, suite)
        certificate, _ = certificate_for(lab, suite)
        here, there = lab.hostA.address, lab.client.address
        self.far = ProgramEnd(popen_peer(lab, *self.fill(command, address=there)))
        wait_listening(lab.client, LISTEN)
        self.movers = Movers(
            lab,
            "connect",
            every,
            "--listen",
            f"{here}:{BACKEND}",
            "--backend",
            f"{there}:{LISTEN}",
            "--ca",
            certificate,
            "--name",
            "lab.test",
            *self.mover_options(),
        )
        self.plain = SocketEnd(
            namespace.within(lab.hostA, lambda: socket.create_connection((here, BACKEND)))
        )
