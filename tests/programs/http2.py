"""An HTTP/2 server without TLS on the host `client`, behind proxies that terminate TLS, and
transfers by a curl that insists on HTTP/2."""
import hashlib
import subprocess

from counterparts import wait_listening
from lab import PORT
from process import expect
from real_programs import BACKEND_PORT, Circle, program, start_proxies
from transfer import Transfer, random_bytes

# Printed by curl on standard error at the end of a transfer.
REPORT = ["--http2", "-w", "%{stderr}HTTP/%{http_version}, %{num_connects} connection\n"]


def start(lab, tls=True, **options):
    """The server serves the files of the lab, and answers an upload with what was uploaded."""
    arguments = ["--no-tls", "--echo-upload", "-a", lab.client.address, "-d", lab.root]
    lab.client.popen(program("nghttpd"), *arguments, BACKEND_PORT)
    wait_listening(lab.client, BACKEND_PORT)
    return start_proxies(lab, tls, alpn=["h2"] if tls else [], **options)


class Http2Transfer(Transfer):
    def __init__(self, lab, path, options, gate, **others):
        super().__init__(lab, path, "1.3", None, [*REPORT, *options], gate, **others)

    def finish(self, timeout=60.0):
        """Checks that all went by one connection."""
        digest = super().finish(timeout)
        expect(self.curl.says("HTTP/2, 1 connection"), self.curl.tail)
        return digest


class Download(Http2Transfer):
    def __init__(self, lab, path, gate):
        super().__init__(lab, path, ["--no-buffer"], gate)

    def transfer(self):
        while piece := self.curl.stdout.read1(self.wait_gate()):
            self.passed(piece)


class Upload(Http2Transfer):
    """The hash is that of the answer, which comes when all is uploaded."""

    def __init__(self, lab, content, gate):
        self._content, self._answer = memoryview(content), b""
        length = f"Content-Length: {len(content)}"
        options = ["-X", "POST", "-T", "-", "-H", length, "-H", "Expect:"]
        super().__init__(lab, "upload", options, gate, stdin=subprocess.PIPE)

    def transfer(self):
        self.write(self._content)
        self.curl.stdin.close()
        self._answer = self.curl.stdout.read()

    def finish(self, timeout=60.0):
        super().finish(timeout)
        return hashlib.sha256(self._answer).hexdigest()


class Load:
    """h2load: `connections` clients make `requests` together. `options`: of h2load."""

    def __init__(self, lab, connections, requests, *options, tls=True):
        self._requests = requests
        self._h2load = lab.client.popen(
            program("h2load"),
            *("-c", connections, "-n", requests, *options),
            f"{'https' if tls else 'http'}://{lab.hostA.address}:{PORT}/f",
        )
        self._h2load.wait_line("Application protocol: h2")

    def running(self):
        return self._h2load.running()

    def finish(self, timeout=300):
        """Checks that all requests have succeeded. No connection begins twice: h2load counts its
        requests as failed."""
        expect(self._h2load.wait(timeout) == 0, self._h2load.tail)
        succeeded = f"{self._requests} succeeded, 0 failed, 0 errored, 0 timeout"
        expect(self._h2load.says(succeeded), self._h2load.tail)
        expect(self._h2load.says(f"status codes: {self._requests} 2xx"), self._h2load.tail)


def transfer_through_drains(lab, kind, size, drains):
    """Drains hosts at equal parts of a Download or an Upload, and checks its bytes."""
    content, circle = random_bytes(size), Circle(lab)
    lab.file("f", content)
    start(lab)
    transfer = kind(lab, "f" if kind is Download else content, gate=1)
    for number in range(1, drains + 1):
        part = number * size // (drains + 1)
        transfer.allow(part)
        transfer.wait_offset(part)
        circle.drain()
    transfer.allow(None)
    expect(transfer.finish() == hashlib.sha256(content).hexdigest(), "the bytes differ")
