"""Checks how many descriptors, sessions and how much memory of the daemon one user can hold."""
import os
import socket

from lab import expect, wait_until
from local_user import as_nobody, python
from test_bad_requests import refused

HOARD = """
import array, os, socket, sys, time
path, sessions, each, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
import resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held, refused = [], 0
for n in range(sessions):
    s = socket.socket(socket.AF_UNIX); s.connect(path)
    try:
        if mode == "descriptors":
            # Its own end among them: a process that holds it keeps the connection open for ever.
            passed = array.array("i", [s.fileno()] * each)
            s.sendmsg([b"POST /v1/exports HTTP/1.1\\r\\nContent-Length: 100\\r\\n"],
                      [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        elif mode == "bodies":
            s.sendall(b"POST /v1/exports HTTP/1.1\\r\\nHost: x\\r\\n"
                      b"Content-Length: 1300000\\r\\n\\r\\n")
        elif mode == "answers":
            s.sendall(b"GET /v1/migrations HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * each)
    except (BrokenPipeError, ConnectionResetError):
        refused += 1
    held.append(s)
print("done", refused, flush=True)
time.sleep(120)
"""


def descriptors_of(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def memory_of(process, name="VmRSS"):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name + ":")) // 1024


def hoard(host, sessions, each, mode):
    process = python(host, HOARD, host.socket, str(sessions), str(each), mode, name="hoarder")
    process.wait_line("done", timeout=60)
    return process


def test_descriptors_of_unfinished_requests_are_bounded_and_freed(lab):
    daemon = lab.start_daemon(lab.hostA)
    lab.hostA.api("/v1/status")
    before = descriptors_of(daemon)
    hoarder = hoard(lab.hostA, 320, 62, "descriptors")  # nearly 20,000
    held = descriptors_of(daemon)
    expect(held < before + 6000, f"{held} descriptors")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "root is not served")
    hoarder.kill()
    wait_until(lambda: descriptors_of(daemon) <= before + 1, "they are given back", timeout=30)


def test_announced_bodies_take_no_memory(lab):
    daemon = lab.start_daemon(lab.hostA)
    before = memory_of(daemon, "VmLck")
    hoarder = hoard(lab.hostA, 200, 0, "bodies")
    grown = memory_of(daemon, "VmLck") - before
    expect(grown < 20, f"{grown} MB are locked for 200 requests without a body")
    hoarder.kill()


def test_unread_answers_take_little_memory(lab):
    daemon = lab.start_daemon(lab.hostA)
    before = memory_of(daemon)
    hoarder = hoard(lab.hostA, 600, 40, "answers")
    grown = memory_of(daemon) - before
    expect(grown < 100, f"the daemon has grown by {grown} MB")
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "root is not served")
    hoarder.kill()


def test_the_sessions_of_one_user_are_limited(lab):
    daemon = lab.start_daemon(lab.hostA)
    hoarder = hoard(lab.hostA, 1500, 0, "nothing")
    expect(descriptors_of(daemon) < 1100, f"{descriptors_of(daemon)} descriptors")
    status, answer = as_nobody(lab.hostA, "GET", "/v1/status")
    expect(
        status == 503 and answer["name"] == "EDQUOT" and "sessions" in answer["error"],
        lambda: f"{status} {answer}",
    )
    expect(lab.hostA.api("/v1/status")["host"] == "hostA", "root is not served")
    hoarder.kill()
    wait_until(
        lambda: as_nobody(lab.hostA, "GET", "/v1/status")[0] == 200, "nobody is served again"
    )


def test_descriptors_are_accepted_with_exports_only(lab):
    daemon = lab.start_daemon(lab.hostA)
    lab.hostA.api("/v1/status")
    before = descriptors_of(daemon)
    with socket.socket() as plain:
        refused(
            lab,
            b"POST /v1/requests HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n",
            "descriptors",
            [plain.fileno()],
            status=400,
        )
    wait_until(lambda: descriptors_of(daemon) <= before, "they are given back")


def test_half_a_request_is_ended_by_a_deadline(lab):
    lab.start_daemon(lab.hostA)
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(20)
        line.connect(str(lab.hostA.socket))
        line.sendall(b"GET /v1/status HTTP/1.1\r\nHos")
        expect(line.recv(100) == b"", "half a request is answered")
