"""TLS connections move to and fro between this machine's OpenSSL and Debian 13's, in the
middle of a transfer.

    bytes ── TCP ── mover connect ══ TLS ══ mover serve ── TCP ── echo

One of the two movers has a partner in the other Debian; the two pass the connection to and
fro. The other mover keeps the SSL of its own handshake. Bytes are sent in both directions
in parallel, and must come back as they were sent.
"""
import hashlib
import itertools
import os
import pathlib
import socket
import tempfile
import threading

import trixie
from certificate import make_certificate
from googletest import SANITIZERS
from process import Failure, Process, expect

COMMANDS = {
    "here": [trixie.ROOT / "build/sanitize/tests/interop/mover"],
    "Debian 13": trixie.command("build/openssl35/tests/interop/mover"),
}
OTHER = {"here": "Debian 13", "Debian 13": "here"}
SIZE, EVERY, HOPS = 1 << 21, 250_000, 12  # of bytes, each of which passes a mover twice
TLS, PLAIN, ECHO = "127.0.0.1:4433", "127.0.0.1:4080", "127.0.0.1:4007"

# Version, suite, and what the end that does not move refuses: an option of
# SSL_CONF_cmd(3).
SUITES = [
    *itertools.product(
        ["1.3"],
        [
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_AES_128_CCM_SHA256",
            "TLS_AES_128_CCM_8_SHA256",
        ],
        [""],
    ),
    *itertools.product(
        ["1.2"],
        [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDHE-ECDSA-AES128-CCM",
            "ECDHE-ECDSA-AES256-CCM8",
        ],
        ["", "ExtendedMasterSecret"],
    ),
    *itertools.product(
        ["1.2"],
        ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"],
        ["", "EncryptThenMac"],
    ),
]


def pair(address):
    host, port = address.split(":")
    return host, int(port)


def listen_for_echo():
    """Returns a listener whose first connection gets back what it sends."""
    listener = socket.create_server(pair(ECHO))

    def echo():
        with listener, listener.accept()[0] as connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    threading.Thread(target=echo, daemon=True).start()


def transfer(data):
    """Sends the data. Returns the SHA-256 of what comes back."""
    got, left = hashlib.sha256(), len(data)
    with socket.create_connection(pair(PLAIN), timeout=30) as connection:
        sender = threading.Thread(target=connection.sendall, args=[data], daemon=True)
        sender.start()
        while left > 0 and (piece := connection.recv(1 << 16)):
            got.update(piece)
            left -= len(piece)
        expect(left == 0, f"{left} bytes are missing")
        sender.join()
    return got.hexdigest()


def refusing(option, folder):
    path = folder / "openssl.cnf"
    path.write_text(
        "openssl_conf = o\nconfig_diagnostics = 1\n[o]\nssl_conf = s\n[s]\n"
        f"system_default = d\n[d]\nOptions = -{option}\n"
    )
    return {"OPENSSL_CONF": str(path)}


class Movers:
    """The two ends, and the partner of the one that moves. `moving` is its role: serve or
    connect. `origin` is where both ends begin."""

    def __init__(self, folder, version, suite, refused, moving, origin):
        self.folder, self.version, self.suite, self.moving, self.origin = (
            folder,
            version,
            suite,
            moving,
            origin,
        )
        self.refused = refusing(refused, folder) if refused else {}
        self.processes = []

    def start(self, name, where, *arguments, env=None):
        process = Process(
            name,
            [*map(str, COMMANDS[where]), *map(str, arguments)],
            env={**os.environ, **SANITIZERS, **(env or {})},
        )
        self.processes.append(process)
        process.wait_line("mover ready")
        return process

    def start_end(self, role):
        arguments = [role, "--tls", self.version, "--ciphers", self.suite]
        if role == "serve":
            arguments += [
                "--listen",
                TLS,
                "--backend",
                ECHO,
                "--certificate",
                self.folder / "cert.pem",
                "--key",
                self.folder / "key.pem",
            ]
        else:
            arguments += ["--listen", PLAIN, "--backend", TLS, "--ca", self.folder / "cert.pem"]
        if role != self.moving:
            return self.start(role, self.origin, *arguments, env=self.refused)
        at, partner = self.folder / "mover", self.folder / "partner"
        self.start(
            "partner",
            OTHER[self.origin],
            "take",
            "--at",
            partner,
            "--hand-over",
            at,
            "--every",
            EVERY,
        )
        return self.start(
            role, self.origin, *arguments, "--at", at, "--hand-over", partner, "--every", EVERY
        )

    def hops(self):
        return max(
            (
                int(line.split()[1])
                for process in self.processes
                for line in process.lines
                if line.startswith("hop ")
            ),
            default=0,
        )


def move(movers):
    listen_for_echo()
    ends = [movers.start_end(role) for role in ("serve", "connect")]
    data = os.urandom(SIZE)
    expect(transfer(data) == hashlib.sha256(data).hexdigest(), "other bytes came back")
    for process in movers.processes:
        expect(process.wait() == 0, f"{process.name} failed")
    for end in ends:
        end.wait_line(f"established TLSv{movers.version} {movers.suite}")
    expect(movers.hops() >= HOPS, f"only {movers.hops()} moves")


def run_all():
    """Returns (passed, failed)."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="sockmi-") as name:
        folder = pathlib.Path(name)
        make_certificate(folder / "cert.pem", folder / "key.pem")
        for (version, suite, refused), moving, origin in itertools.product(
            SUITES, ["serve", "connect"], COMMANDS
        ):
            kind = f"{suite}{refused and ' without ' + refused}"
            title = f"TLS {version} {kind}, {moving} moves, from {origin}"
            movers = Movers(folder, version, suite, refused, moving, origin)
            try:
                move(movers)
                print(f"ok {title}: {movers.hops()} moves", flush=True)
                outcomes.append(True)
            except (Failure, OSError) as failure:
                print(
                    f"FAILED {title}\n  {failure}",
                    *(process.tail() for process in movers.processes),
                    sep="\n",
                    flush=True,
                )
                outcomes.append(False)
            finally:
                for process in movers.processes:
                    process.stop()
    return outcomes.count(True), outcomes.count(False)
