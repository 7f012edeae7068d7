"""Interactive sessions, and the permissions of users."""
from cases import cases
from process import expect
from s_client import asks, s_client
from sandbox import without_privilege


@cases("1.2", "1.3")
def test_s_client_continues_after_each_move(lab, tls):
    lab.file("g", b"hello from the file\n")
    first, second = lab.start_all(lab.hostA, lab.hostB)
    session = s_client(lab, f"-tls{tls.replace('.', '_')}")
    for source, target in [(lab.hostA, lab.hostB), (lab.hostB, lab.hostA), (lab.hostA, lab.hostB)]:
        asks(session, "hello from the file")
        lab.move(source, target)
    session.stdin.close()
    expect(session.wait() == 0, session.tail)


def test_a_server_exports_on_a_signal(lab):
    lab.file("g", b"hello\n")
    first, second = lab.start_all(lab.hostA, lab.hostB)
    session = s_client(lab)
    for server in (first, second):
        asks(session, "hello")
        seen = len(server.lines)
        server.signal(10)  # SIGUSR1
        server.wait_line("exported", after=seen)
    session.stdin.close()


def test_applications_need_no_privilege(lab):
    lab.file("g", b"hello\n")
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host)
        server = lab.start_httpsd(host, wrap=without_privilege())
        capabilities = [
            line
            for line in open(f"/proc/{server.pid}/status", encoding="utf-8")
            if line.startswith("CapEff")
        ]
        expect(int(capabilities[0].split()[1], 16) == 0, capabilities)
    session = s_client(lab)
    for source, target in [(lab.hostA, lab.hostB), (lab.hostB, lab.hostA)]:
        asks(session, "hello")
        lab.move(source, target)
    session.stdin.close()
