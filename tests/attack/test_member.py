"""What a host with a valid certificate can do to others: no more than docs/operation.md says."""
import errno
import socket

import observe
from lab import PORT, expect
from member import Member, alive
from namespace import within
from socket_app import CONNECTED, SERVICE, SocketApp, imported

TYPES = range(1, 12)  # of image::Request


def test_a_message_without_a_request_is_refused(lab):
    lab.start_daemon(lab.hostA)
    member = Member(lab, lab.hostC, lab.hostA)
    for kind in TYPES:
        member.says("null", kind, check=[errno.EBADMSG])
    alive(lab.hostA)


def test_a_word_redirects_no_port_and_to_no_other_address(lab):
    lab.start_daemon(lab.hostA)
    lab.start_httpsd(lab.hostA)
    member = Member(lab, lab.hostC, lab.hostA)
    at = f"{lab.hostA.address}:{PORT}"
    own, client = lab.hostC.address, f"{lab.client.address}:4444"
    for words in (("moved", at, "-", own, "hostC", "web"),                                   # a whole port
                  ("moved", at, client, "198.51.100.1", "hostC", "web")):                    # to an address that is not its own
        code = member.says(*words)[0][0]
        expect(code in (errno.EACCES, errno.ENOENT, errno.EHOSTUNREACH), lambda: f"{words}: {code}")
    expect(not observe.redirects(lab.hostA), lambda: f"{observe.redirects(lab.hostA)}")
    connection = within(lab.client, lambda: socket.create_connection((lab.hostA.address, PORT), 5))
    connection.close()
    alive(lab.hostA)


def test_a_holder_moves_a_connection_only_to_where_that_host_is(lab):
    lab.start_daemon(lab.hostA)
    lab.start_daemon(lab.hostB)
    for host in (lab.hostA, lab.hostB):
        host.app = SocketApp(host, SERVICE)
    lab.client.app = SocketApp(lab.client)
    listener = lab.hostA.app.socket("4").listen()
    theirs = lab.client.app.socket("4").connect(lab.hostA)
    ours = listener.accept()
    lab.hostA.app.do("export", ours.fd, CONNECTED, SERVICE, lab.hostB.address)
    held = imported(lab.hostB, "4")
    before = observe.redirects(lab.hostA)
    connection = lab.hostA.api("/v1/connections")["connections"][0]
    # hostB says so itself, with hostB's own certificate, while its daemon serves.
    member = Member(lab, lab.hostB, lab.hostA)
    code = member.says("moved", connection["local"], connection["peer"], "198.51.100.1", "hostB", "web")[0][0]
    expect(code in (errno.EACCES, errno.EHOSTUNREACH), f"{code}")
    # And hostC, which never had it.
    Member(lab, lab.hostC, lab.hostA).says("ended", connection["local"], connection["peer"], check=[errno.EACCES])
    expect(observe.redirects(lab.hostA) == before, "the redirect has changed")
    held.close()
    theirs.close()
