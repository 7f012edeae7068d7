"""What a user without privilege does on a host: programs, requests, an event stream."""
import json

from sandbox import without_privilege


def python(host, program, *arguments, wrap=None, name="attacker", **options):
    """Starts a program as a user without privilege."""
    return host.popen(
        *(without_privilege() if wrap is None else wrap),
        "/usr/bin/python3",
        "-c",
        program,
        *arguments,
        name=name,
        **options,
    )


def as_nobody(host, method, path, body=""):
    """Returns (status, answer) to a request of a user without privilege."""
    output = host.run(
        *without_privilege(),
        "curl",
        "-s",
        "-m",
        "15",
        "-X",
        method,
        "-d",
        body,
        "-w",
        "\n%{http_code}",
        "--unix-socket",
        host.socket,
        f"http://sockmid{path}",
        check=False,
    )[1]
    answer, _, status = output.rstrip().rpartition("\n")
    return int(status), json.loads(answer) if answer.strip() else {}


EVENTS = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(b"GET /v1/events?service=%s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % sys.argv[2].encode())
for line in s.makefile("r"):
    if line.strip(): print(line.strip(), flush=True)
"""


def subscribe(host, service="web", wrap=None, name="subscriber"):
    """Opens an event stream, by default as a user without privilege."""
    process = python(host, EVENTS, host.socket, service, wrap=wrap, name=name)
    process.wait_line("HTTP/1.1 200")
    return process
