"""TLS connections that move to and fro between OpenSSL 3.0, this machine's, and 3.5, Debian 13's, in the middle of a transfer.

    bytes ── TCP ── mover connect ══ TLS ══ mover serve ── TCP ── echo

One of the two movers has a partner of the other version, with which it plays ping-pong with the connection; the other keeps what its own
handshake has made. Bytes go both ways at once, and have to come back as they were sent.
"""
import hashlib
import itertools
import os
import pathlib
import socket
import tempfile
import threading

import trixie
from googletest import SANITIZERS
from process import Failure, Process, expect, run

MOVER = "tests/peers/mover"
HERE, THERE = trixie.ROOT / "build/sanitize" / MOVER, trixie.command(f"build/openssl35/{MOVER}")
COMMANDS = {"3.0": [str(HERE)], "3.5": THERE}
OTHER = {"3.0": "3.5", "3.5": "3.0"}
SIZE, EVERY, HOPS = 1 << 21, 250_000, 12
TLS, PLAIN, ECHO = ("127.0.0.1", 4433), ("127.0.0.1", 4080), ("127.0.0.1", 4007)

# Version, suite, and what the end that stays refuses (an option of SSL_CONF_cmd(3)).
SUITES = [*itertools.product(["1.3"], ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256",
                                       "TLS_AES_128_CCM_8_SHA256"], [""]),
          *itertools.product(["1.2"], ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305",
                                       "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES256-CCM8"], ["", "ExtendedMasterSecret"]),
          *itertools.product(["1.2"], ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"], ["", "EncryptThenMac"])]


def address(of):
    return f"{of[0]}:{of[1]}"


def listen_for_echo():
    """A listener whose first connection gets back what it sends."""
    listener = socket.create_server(ECHO)

    def echo():
        with listener, listener.accept()[0] as connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    threading.Thread(target=echo, daemon=True).start()
    return listener


def transfer(data):
    """What comes back of it."""
    with socket.create_connection(PLAIN) as connection:
        connection.settimeout(30)
        sender = threading.Thread(target=connection.sendall, args=[data], daemon=True)
        sender.start()
        got = hashlib.sha256()
        left = len(data)
        while left > 0 and (piece := connection.recv(1 << 16)):
            got.update(piece)
            left -= len(piece)
        expect(left == 0, f"{left} bytes are missing")
        sender.join()
        return got.hexdigest()


def refusing(option, folder):
    path = folder / "openssl.cnf"
    path.write_text(f"openssl_conf = o\nconfig_diagnostics = 1\n[o]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\nOptions = -{option}\n")
    return {"OPENSSL_CONF": str(path)}


class Movers:
    """The end that stays, the one that moves, and its partner. `moving` is a role: serve or connect; `origin` the version that does the
    handshake, at both ends."""

    def __init__(self, folder, version, suite, refused, moving, origin):
        self.folder, self.suite, self.moving, self.origin = folder, ["--tls", version, "--ciphers", suite], moving, origin
        self.refused = refusing(refused, folder) if refused else {}
        self.processes = []

    def start(self, name, version, *arguments, env=None):
        process = Process(name, [*COMMANDS[version], *map(str, arguments)], env={**os.environ, **SANITIZERS, **(env or {})})
        self.processes.append(process)
        process.wait_line("mover ready")

    def start_end(self, role):
        arguments = [role, *self.suite]
        if role == "serve":
            arguments += ["--listen", address(TLS), "--backend", address(ECHO), "--certificate", self.folder / "cert.pem", "--key", self.folder / "key.pem"]
        else:
            arguments += ["--listen", address(PLAIN), "--backend", address(TLS), "--ca", self.folder / "cert.pem"]
        if role != self.moving:
            self.start(role, self.origin, *arguments, env=self.refused)
            return
        at, partner = self.folder / "mover", self.folder / "partner"
        self.start("partner", OTHER[self.origin], "take", "--at", partner, "--hand-over", at, "--every", EVERY)
        self.start(role, self.origin, *arguments, "--at", at, "--hand-over", partner, "--every", EVERY)

    def hops(self):
        return max((int(line.split()[1]) for process in self.processes for line in process.lines if line.startswith("hop ")), default=0)


def move(folder, *case):
    """How many times the connection moved; Failure if anything was not as it should be."""
    movers = Movers(folder, *case)
    try:
        with listen_for_echo():
            movers.start_end("serve")
            movers.start_end("connect")
            data = os.urandom(SIZE)
            expect(transfer(data) == hashlib.sha256(data).hexdigest(), "other bytes came back")
        for process in movers.processes:
            expect(process.wait(10) == 0, f"{process.name} failed")
        expect(movers.hops() >= HOPS, f"only {movers.hops()} moves")
        return movers.hops()
    except (Failure, OSError) as failure:
        raise Failure("\n".join([str(failure), *(process.tail() for process in movers.processes)])) from None
    finally:
        for process in movers.processes:
            process.stop()


def run_all(pattern=""):
    """(passed, failed)"""
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="sockmi-") as name:
        folder = pathlib.Path(name)
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=sockmi",
             "-keyout", folder / "key.pem", "-out", folder / "cert.pem"])
        for suite, moving, origin in itertools.product(SUITES, ["serve", "connect"], ["3.0", "3.5"]):
            case = [*suite, moving, origin]
            title = f"TLS {suite[0]} {suite[1]}{' without ' + suite[2] if suite[2] else ''}, {moving} moves, from {origin}"
            if pattern not in title:
                continue
            try:
                print(f"ok {title}: {move(folder, *case)} moves", flush=True)
                passed += 1
            except Failure as failure:
                print(f"FAILED {title}\n{failure}", flush=True)
                failed += 1
    return passed, failed
