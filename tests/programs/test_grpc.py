"""gRPC over TLS through proxies whose hosts are drained."""
import pathlib
import subprocess

from lab import PORT
from process import expect, wait_until
from real_programs import BACKEND_PORT, Circle, require_module, start_proxies

PROGRAM = pathlib.Path(__file__).parent / "grpc_echo.py"
DRAINS = 3


def test_a_stream_and_single_calls_continue_through_three_drains(lab):
    require_module("grpc", "python3-grpcio")
    python, circle = "/usr/bin/python3", Circle(lab)
    server = lab.client.popen(python, PROGRAM, "serve", f"{lab.client.address}:{BACKEND_PORT}")
    server.wait_line("listening")
    start_proxies(lab, tls=True, alpn=["h2"])
    address, certificate = f"{lab.hostA.address}:{PORT}", lab.certificate()[0]
    client = lab.client.popen(
        *(python, PROGRAM, "call", address, certificate), stdin=subprocess.PIPE
    )

    def wait_answers():
        before = client.lines.count("right")
        wait_until(lambda: client.lines.count("right") >= before + 20, "answers come")

    for _ in range(DRAINS):
        wait_answers()
        circle.drain()
    wait_answers()
    client.stdin.close()
    expect(client.wait() == 0, client.tail)
    states = [line for line in client.lines if line != "right"]
    expect(states == ["state IDLE", "state CONNECTING", "state READY"], states)
