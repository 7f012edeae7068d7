"""An interactive session of openssl s_client with hostA's httpsd, which continues while
its other end moves."""
import subprocess

from lab import PORT


def s_client(lab, *options):
    return lab.client.popen(
        "openssl",
        "s_client",
        "-quiet",
        "-no_ign_eof",
        *options,
        "-CAfile",
        lab.certificate()[0],
        "-connect",
        f"{lab.hostA.address}:{PORT}",
        stdin=subprocess.PIPE,
    )


def asks(session, answer):
    """Requests /g, and waits for the answer."""
    seen = len(session.lines)
    session.stdin.write(b"GET /g HTTP/1.1\r\nHost: lab\r\n\r\n")
    session.stdin.flush()
    session.wait_line(answer, after=seen)
