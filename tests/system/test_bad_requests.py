"""A client that sends nonsense to the daemon gets a 4xx with a reason, and the daemon
continues to serve."""
import array
import contextlib
import json
import os
import socket

from cases import cases
from lab import ROOT
from process import expect, run
from tls_client import connect_from

HEAD = (
    "POST /v1/exports HTTP/1.1\r\nHost: sockmid\r\n"
    "Content-Type: application/vnd.sockmi\r\nContent-Length: {}\r\n\r\n"
)
LISTENING, CONNECTED = 2, 4  # SOCKMI_LISTENING, SOCKMI_CONNECTED


def export_request(lab, part=None, **fields):
    """Returns the body that libsockmi would send, made from JSON by flatc."""
    folder = lab.folder / "flat"
    folder.mkdir(exist_ok=True)
    (folder / "request.json").write_text(
        json.dumps({"service": "web", "parts": [{"state": CONNECTED, **(part or {})}], **fields})
    )
    run(
        [
            "flatc",
            "--binary",
            "--root-type",
            "sockmi.wire.ExportRequest",
            "-o",
            str(folder),
            "-I",
            str(ROOT / "src/wire"),
            str(ROOT / "src/wire/control.fbs"),
            str(folder / "request.json"),
        ]
    )
    return (folder / "request.bin").read_bytes()


def post_export(body):
    return HEAD.format(len(body)).encode() + body


def talk(host, request, descriptors=()):
    """Returns (status, answer) to raw bytes; descriptors are sent with the first one."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(host.socket))
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            if descriptors
            else []
        )
        line.sendmsg([request[:1]], rights)
        line.sendall(request[1:])
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := line.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    expect(head.startswith(b"HTTP/1.1 "), f"answered {answer[:100]!r}")
    return int(head.split()[1]), json.loads(body)


def refused(lab, request, text, descriptors=(), status=None):
    code, answer = talk(lab.hostA, request, descriptors)
    expect(400 <= code < 500 and code == (status or code), f"status {code}: {answer}")
    expect(text.lower() in answer["error"].lower(), f"wanted '{text}' as the reason, got {answer}")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "the daemon does not serve on")


def test_garbage_is_refused(lab):
    lab.start_daemon(lab.hostA)
    refused(lab, b"\x16\x03\x01 hello\r\n\r\n", "HTTP")


def test_a_huge_header_is_refused(lab):
    lab.start_daemon(lab.hostA)
    refused(
        lab,
        b"GET /v1/status HTTP/1.1\r\nHost: sockmid\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        "header",
        status=431,
    )


@cases(("GET", "/v1/nothing", "unknown resource", 404), ("DELETE", "/v1/status", "method", 405))
def test_an_unknown_resource_or_method_is_refused(lab, method, path, reason, status):
    lab.start_daemon(lab.hostA)
    request = f"{method} {path} HTTP/1.1\r\nHost: sockmid\r\nConnection: close\r\n\r\n"
    refused(lab, request.encode(), reason, status=status)


def test_a_missing_descriptor_is_refused(lab):
    lab.start_daemon(lab.hostA)
    refused(lab, post_export(export_request(lab)), "descriptor")


@cases(
    ("other parts", [1, 2, 1], CONNECTED),
    ("more than 16", [1] * 17, CONNECTED),
    ("listening", [1, 1], LISTENING),
)
def test_an_impossible_group_is_refused(lab, text, groups, state):
    lab.start_daemon(lab.hostA)
    parts = [{"state": CONNECTED, "group": group} for group in groups]
    parts[-1]["state"] = state
    with contextlib.ExitStack() as sockets:
        plain = [sockets.enter_context(socket.socket()) for _ in parts]
        refused(
            lab,
            post_export(export_request(lab, parts=parts)),
            text,
            [each.fileno() for each in plain],
        )


def test_an_unknown_service_is_refused(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket() as plain:
        refused(
            lab,
            post_export(export_request(lab, service="nobody-knows")),
            "nobody-knows",
            [plain.fileno()],
        )


def test_a_body_of_two_mebibytes_is_refused(lab):
    lab.start_daemon(lab.hostA)
    refused(lab, post_export(b"x" * (2 << 20)), "larger", status=413)


def test_a_payload_over_the_limit_is_refused(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket() as plain:
        refused(
            lab,
            post_export(export_request(lab, {"payload": [7] * ((1 << 20) + 1)})),
            "payload",
            [plain.fileno()],
            status=413,
        )


def test_garbage_with_a_good_descriptor_is_refused(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket() as plain:
        refused(lab, post_export(os.urandom(500)), "", [plain.fileno()])


def test_invalid_states_are_refused(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket() as plain:
        for state in (0, 3, 128):
            refused(
                lab, post_export(export_request(lab, {"state": state})), "state", [plain.fileno()]
            )


@cases("a file", "a pipe", "UDP", "listening", "unconnected", "Unix")
def test_a_descriptor_of_another_kind_is_refused(lab, what):
    lab.start_daemon(lab.hostA)
    descriptors = {
        "a file": lambda: os.open("/etc/hostname", os.O_RDONLY),
        "a pipe": lambda: os.pipe()[0],
        "UDP": lambda: socket.socket(type=socket.SOCK_DGRAM).detach(),
        "listening": lambda: socket.create_server(("127.0.0.1", 0)).detach(),
        "unconnected": lambda: socket.socket().detach(),
        "Unix": lambda: socket.socket(socket.AF_UNIX).detach(),
    }
    descriptor = descriptors[what]()
    try:
        refused(lab, post_export(export_request(lab)), "", [descriptor])
    finally:
        os.close(descriptor)


def test_more_descriptors_than_parts_are_refused(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket() as one, socket.socket() as two:
        refused(lab, post_export(export_request(lab)), "descriptor", [one.fileno(), two.fileno()])


def test_refused_requests_leak_no_descriptors(lab):
    lab.start_daemon(lab.hostA)
    folder = f"/proc/{lab.hostA.daemon.pid}/fd"
    # The daemon opens its last descriptors right after it reports that it is ready.
    lab.hostA.api("/v1/status")
    before = len(os.listdir(folder))
    with socket.socket() as plain:
        for _ in range(20):
            talk(lab.hostA, post_export(os.urandom(100)), [plain.fileno()] * 3)
    expect(
        len(os.listdir(folder)) <= before + 1,
        f"{before} descriptors before, {len(os.listdir(folder))} after",
    )


def test_half_a_request_delays_nobody(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(lab.hostA.socket))
        line.sendall(b"POST /v1/exports HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
        expect(lab.hostA.api("/v1/status")["host"] == "hostA", "the daemon does not serve others")


def test_garbage_on_the_control_port_harms_nothing(lab):
    lab.start_daemon(lab.hostA)
    with connect_from(lab.client, (lab.hostA.address, 7078)) as line:
        line.sendall(os.urandom(10_000))
        line.shutdown(socket.SHUT_WR)
        try:
            while line.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
    # These were not connections of a peer.
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "the daemon does not serve on")


def test_garbage_on_the_discovery_port_harms_nothing(lab):
    lab.start_daemon(lab.hostA)
    lab.client.run(
        "bash",
        "-c",
        f"for i in 1 2 3; do head -c 500 /dev/urandom > /dev/udp/{lab.hostA.address}/7077; done",
    )
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "the daemon does not serve on")
