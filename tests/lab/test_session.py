"""Interactive sessions, and who may do what."""
import subprocess

from cases import cases
from lab import PORT
from process import expect


@cases("1.2", "1.3")
def test_s_client_goes_on(lab, tls):
    lab.file("g", b"hello from the file\n")
    first, second = lab.start_all(lab.hostA, lab.hostB)
    session = lab.client.popen("openssl", "s_client", "-quiet", "-no_ign_eof", f"-tls{tls.replace('.', '_')}", "-CAfile", lab.certificate()[0], "-connect",
                               f"{lab.hostA.address}:{PORT}", stdin=subprocess.PIPE)
    for source, target in [(lab.hostA, lab.hostB), (lab.hostB, lab.hostA), (lab.hostA, lab.hostB)]:
        seen = len(session.lines)
        session.stdin.write(b"GET /g HTTP/1.1\r\nHost: lab\r\n\r\n")
        session.stdin.flush()
        session.wait_line("hello from the file", after=seen)
        lab.move(source, target)
    session.stdin.close()
    expect(session.wait() == 0, session.tail)


def test_a_move_on_signal(lab):
    lab.file("g", b"hello\n")
    first, second = lab.start_all(lab.hostA, lab.hostB)
    session = lab.client.popen("openssl", "s_client", "-quiet", "-no_ign_eof", "-CAfile", lab.certificate()[0], "-connect", f"{lab.hostA.address}:{PORT}",
                               stdin=subprocess.PIPE)
    for server in (first, second):
        session.stdin.write(b"GET /g HTTP/1.1\r\nHost: lab\r\n\r\n")
        session.stdin.flush()
        session.wait_line("hello", after=session.lines.count("hello") and len(session.lines))
        seen = len(server.lines)
        server.signal(10)  # SIGUSR1
        server.wait_line("exported", after=seen)
    session.stdin.close()


def without_privilege():
    """A command that runs another one as nobody, or, where there is only one user, as one without any capability."""
    with open("/proc/self/uid_map", encoding="utf-8") as users:
        alone = users.read().split()[2] == "1"
    if alone:
        return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--no-new-privs"]


def test_applications_need_no_privilege(lab):
    lab.file("g", b"hello\n")
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host)
        server = lab.start_httpsd(host, wrap=without_privilege())
        capabilities = [line for line in open(f"/proc/{server.pid}/status", encoding="utf-8") if line.startswith("CapEff")]
        expect(int(capabilities[0].split()[1], 16) == 0, capabilities)
    session = lab.client.popen("openssl", "s_client", "-quiet", "-no_ign_eof", "-CAfile", lab.certificate()[0], "-connect", f"{lab.hostA.address}:{PORT}",
                               stdin=subprocess.PIPE)
    for source, target in [(lab.hostA, lab.hostB), (lab.hostB, lab.hostA)]:
        seen = len(session.lines)
        session.stdin.write(b"GET /g HTTP/1.1\r\nHost: lab\r\n\r\n")
        session.stdin.flush()
        session.wait_line("hello", after=seen)
        lab.move(source, target)
    session.stdin.close()
