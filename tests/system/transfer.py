"""Transfers by a real curl whose progress a test can wait for: every byte passes through
here and is hashed on its way."""
import hashlib
import random
import re
import subprocess
import threading
import time

from lab import PORT
from process import Failure, expect

TLS = {"1.2": ["--tlsv1.2", "--tls-max", "1.2"], "1.3": ["--tlsv1.3"]}


def random_bytes(size, seed=7):
    source = random.Random(seed)
    piece = 1 << 20  # randbytes() cannot make more than 256 MiB in one call
    return b"".join(source.randbytes(min(piece, size - at)) for at in range(0, size, piece))


class Transfer:
    """`gate`: how many more bytes may pass; see allow()."""

    def __init__(self, lab, path, tls, rate, options, gate=None, to=None, stdin=subprocess.DEVNULL):
        limit = ["--limit-rate", str(rate)] if rate else []
        certificate, _ = lab.certificate()
        self.offset, self._gate, self._ended = 0, gate, False
        self._changed, self._hash = threading.Condition(), hashlib.sha256()
        self.curl = lab.client.popen(
            "curl",
            "-sS",
            "--fail",
            "--cacert",
            certificate,
            *TLS[tls],
            *limit,
            *options,
            f"https://{to or lab.hostA.address}:{PORT}/{path}",
            stdin=stdin,
            stdout=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self.transfer()
        except OSError as error:  # curl has ended: its status says why
            self.curl.lines.append(f"(transfer: {error})")
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def passed(self, piece):
        self._hash.update(piece)
        with self._changed:
            self.offset += len(piece)
            self._changed.notify_all()

    def allow(self, offset):
        """Lets the transfer continue to this byte; None: to its end. Curl is held by its
        pipe, and the connection by curl."""
        with self._changed:
            self._gate = offset
            self._changed.notify_all()

    def wait_gate(self):
        with self._changed:
            self._changed.wait_for(lambda: self._gate is None or self.offset < self._gate)
            return (1 << 16) if self._gate is None else min(1 << 16, self._gate - self.offset)

    def write(self, content):
        """Gives the content to curl, as far as it may pass."""
        at = 0
        while at < len(content):
            piece = content[at : at + self.wait_gate()]
            self.curl.stdin.write(piece)
            self.curl.stdin.flush()
            self.passed(piece)
            at += len(piece)

    def curl_address(self, lab):
        """Returns curl's own ADDRESS:PORT."""
        for line in lab.client.run("ss", "-Htnp").splitlines():
            if f"pid={self.curl.pid}," in line:
                return line.split()[3]
        raise Failure("curl has no connection")

    def wait_offset(self, offset, timeout=30.0):
        """Returns when that many bytes have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self.offset >= offset or self._ended, timeout)
            expect(
                self.offset >= offset,
                lambda: f"the transfer stands at byte {self.offset}, wanted {offset}\n"
                f"{self.curl.tail()}",
            )

    def finish(self, timeout=60.0):
        """Returns the SHA-256 of what passed, after curl has reported success."""
        end = time.monotonic() + timeout
        self._thread.join(timeout)
        expect(not self._thread.is_alive(), f"the transfer hangs at byte {self.offset}")
        status = self.curl.wait(max(1.0, end - time.monotonic()))
        expect(
            status == 0, lambda: f"curl: status {status} at byte {self.offset}\n{self.curl.tail()}"
        )
        return self._hash.hexdigest()


class Download(Transfer):
    def __init__(self, lab, path, tls="1.3", rate=None, gate=None, to=None):
        super().__init__(lab, path, tls, rate, ["--no-buffer"], gate, to)

    def transfer(self):
        while piece := self.curl.stdout.read1(self.wait_gate()):
            self.passed(piece)


class HeldDownload(Download):
    """A download of `content` that stands at a byte until advance() or finish_whole()."""

    def __init__(self, lab, content, tls="1.3", at=100_000, to=None):
        self._expected = hashlib.sha256(content).hexdigest()
        lab.file("f", content)
        super().__init__(lab, "f", tls, gate=at, to=to)
        self.wait_offset(at)

    def advance(self, offset):
        """Checks that the connection works at this moment: bytes pass, up to this one."""
        self.allow(offset)
        self.wait_offset(offset)

    def finish_whole(self, timeout=60.0):
        """Checks that all of the content arrives."""
        self.allow(None)
        expect(self.finish(timeout) == self._expected, "the hash is wrong")


def begin_all(lab, content, downloads, uploads, to):
    """Begins transfers of `content` with the address `to`; all of them stand at one byte."""
    lab.file("f", content)
    transfers = [Upload(lab, content, gate=200_000, to=to) for _ in range(uploads)]
    transfers += [Download(lab, "f", gate=200_000, to=to) for _ in range(downloads)]
    for transfer in transfers:
        transfer.wait_offset(200_000)
    return transfers


def finish_all(transfers, content):
    """Checks that each transfers the whole content."""
    for transfer in transfers:
        transfer.allow(None)
    wanted = hashlib.sha256(content).hexdigest()
    expect({transfer.finish() for transfer in transfers} == {wanted}, "a hash is wrong")


class Upload(Transfer):
    """Sends `content` `repeat` times, in one request."""

    def __init__(self, lab, content, tls="1.3", rate=None, repeat=1, gate=None, to=None):
        self._content, self._repeat, self.answer = memoryview(content), repeat, ""
        length = len(content) * repeat
        super().__init__(
            lab,
            "upload",
            tls,
            rate,
            [
                "-X",
                "POST",
                "-T",
                "-",
                "-H",
                "Transfer-Encoding:",
                "-H",
                f"Content-Length: {length}",
                "-H",
                "Expect:",
            ],
            gate,
            to,
            stdin=subprocess.PIPE,
        )

    def transfer(self):
        for _ in range(self._repeat):
            self.write(self._content)
        self.curl.stdin.close()
        self.answer = self.curl.stdout.read().decode(errors="replace")

    def finish(self, timeout=60.0):
        """Returns the hash of what was sent, after the server has reported the same."""
        sent = super().finish(timeout)
        received = re.search(r"\b[0-9a-f]{64}\b", self.answer)
        expect(received, f"the server answered '{self.answer[:200]}'")
        if received.group() != sent:
            raise Failure(f"sent {sent}, the server received {received.group()}")
        return sent
