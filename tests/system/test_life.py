"""The rules of a moved connection while daemons restart, and while its home does not answer."""
import hashlib
import http.client
import resource
import signal
import socket
import struct

import observe
import socket_app
from cases import cases
from lab import PORT
from namespace import within
from process import expect, wait_until
from transfer import Download, Upload, random_bytes

CONTENT = random_bytes(1 << 20)
WANTED = hashlib.sha256(CONTENT).hexdigest()
TERMINATED, KILLED = "SIGTERM", "SIGKILL"


def begin(lab):
    lab.file("f", CONTENT)
    transfer = Download(lab, "f", gate=100_000)
    transfer.wait_offset(100_000)
    return transfer


def finish(transfer):
    transfer.allow(None)
    expect(transfer.finish() == WANTED, "the hash is wrong")


def go(lab, transfer, offset):
    """Checks that the connection works at this moment: bytes pass."""
    transfer.allow(offset)
    transfer.wait_offset(offset)


def move(lab, source, target):
    """Moves it, and waits until the application there has it: not even the daemon has
    another descriptor of it."""
    server = application(lab, target)
    before = len(server.lines)
    lab.move(source, target)
    server.wait_line("event=imported", after=before)


def application(lab, host):
    [server] = [process for process in lab.processes if process.name == f"{host.name}:httpsd"]
    return server


def end_daemon(host, how):
    """Ends the daemon, and returns when it has ended."""
    host.daemon.signal(getattr(signal, how))
    status = host.daemon.wait()
    expect(status == (0 if how == TERMINATED else -signal.SIGKILL), f"{host.daemon.name}: status {status}\n{host.daemon.tail()}")


def restart(lab, host, how=TERMINATED):
    """Starts a new daemon, and waits until the application here is connected to it."""
    server = application(lab, host)
    before = len(server.lines)
    end_daemon(host, how)
    lab.start_daemon(host)
    server.wait_line("event=daemon_connected", after=before)


def at(host):
    """Returns where the host's daemon has its connections recorded."""
    return [(connection["role"], connection["at"]) for connection in host.api("/v1/connections")["connections"]]


def no_rules(*hosts):
    for host in hosts:
        wait_until(lambda: not observe.redirects(host), f"no redirect is left on {host.name}")
        wait_until(lambda: not at(host), f"{host.name} remembers nothing")


# --- hops ---

def test_three_hops_leave_no_redirect(lab):
    lab.start_all()
    transfer = begin(lab)
    for source, target, offset in ((lab.hostA, lab.hostB, 300_000), (lab.hostB, lab.hostC, 500_000), (lab.hostC, lab.hostA, 700_000)):
        move(lab, source, target)
        go(lab, transfer, offset)
    expect(at(lab.hostA) == [("imported", "hostA")], at(lab.hostA))
    for host in lab.hosts:
        wait_until(lambda: not observe.redirects(host), f"no redirect is left on {host.name}", timeout=5)
    expect(not at(lab.hostB) and not at(lab.hostC), "a host that it left remembers it")
    finish(transfer)


def test_a_connection_returns_to_a_host_that_redirected_it(lab):
    """A connection that a host redirects to the next one can come back to it."""
    lab.start_all()
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    move(lab, lab.hostB, lab.hostC)
    wait_until(lambda: not at(lab.hostB), "home knows that it is on hostC")
    move(lab, lab.hostC, lab.hostB)
    go(lab, transfer, 500_000)
    finish(transfer)
    no_rules(*lab.hosts)


# --- restarts ---

@cases((TERMINATED, "hostA"), (TERMINATED, "hostB"), (KILLED, "hostA"), (KILLED, "hostB"))
def test_a_download_survives_a_daemon(lab, how, name):
    lab.start_all(lab.hostA, lab.hostB)
    host = getattr(lab, name)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    end_daemon(host, how)
    go(lab, transfer, 500_000)  # without any daemon there
    lab.start_daemon(host)
    expect(at(lab.hostA) == [("moved", "hostB")] and at(lab.hostB) == [("imported", "hostB")], f"{at(lab.hostA)} {at(lab.hostB)}")
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)


@cases(TERMINATED, KILLED)
def test_an_upload_survives_both_daemons(lab, how):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = Upload(lab, CONTENT, gate=200_000)
    transfer.wait_offset(200_000)
    move(lab, lab.hostA, lab.hostB)
    for host in (lab.hostA, lab.hostB):
        restart(lab, host, how)
    transfer.allow(None)
    transfer.finish()
    no_rules(lab.hostA, lab.hostB)


def test_a_connection_moves_after_restarts(lab):
    lab.start_all()
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    restart(lab, lab.hostB, KILLED)
    move(lab, lab.hostB, lab.hostC)
    go(lab, transfer, 400_000)
    restart(lab, lab.hostA, KILLED)
    restart(lab, lab.hostC)
    move(lab, lab.hostC, lab.hostA)
    finish(transfer)
    no_rules(*lab.hosts)


@cases("hostA", "hostB")
def test_an_end_without_a_daemon_is_settled_by_the_next(lab, name):
    """The daemon of home, or of the holder, does not run when the connection ends."""
    lab.start_all(lab.hostA, lab.hostB)
    host = getattr(lab, name)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    end_daemon(host, KILLED)
    finish(transfer)
    expect(observe.redirects(lab.hostA), "the redirect has gone though nobody could tell that the connection has ended")
    lab.start_daemon(host)
    no_rules(lab.hostA, lab.hostB)
    wait_until(lambda: lab.hostB.api("/v1/status")["homes"]["untold"] == 0, "home was told")


def test_nothing_is_left_after_the_last_connection(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    finish(transfer)
    no_rules(lab.hostA)
    for host in (lab.hostA, lab.hostB):
        end_daemon(host, TERMINATED)
        expect(not observe.leftovers(host), lambda: f"{host.name}: {observe.leftovers(host)}")


def test_tables_with_other_chains_keep_their_redirects(lab):
    """A daemon with other interfaces, and so with other chains."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    end_daemon(lab.hostA, KILLED)
    lab.hostA.run("ip", "link", "add", "spare", "type", "veth", "peer", "name", "other")
    lab.start_daemon(lab.hostA, **{"": {"interfaces": ["spare", "eth0"]}})
    expect(len(observe.redirects(lab.hostA)) == 1, "the redirect is gone")
    go(lab, transfer, 500_000)
    chains = lab.hostA.run("nft", "list", "table", "netdev", "sockmi")
    expect(chains.count("hook ingress") == 2, chains)
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)


def test_an_unexplained_redirect_is_removed(lab):
    """A redirect of a connection that lives here is removed immediately. One of an
    unknown connection is removed if no host claims it in time."""
    lab.start_all(lab.hostA)
    transfer = begin(lab)
    peer, port = transfer.curl_address(lab).rsplit(":", 1)
    end_daemon(lab.hostA, KILLED)
    for source in (port, "9"):
        lab.hostA.run("nft", f"add element netdev sockmi redir4 {{ {peer} . {source} . {lab.hostA.address} . 8443 : {lab.hostB.address} }}")
    lab.start_daemon(lab.hostA)
    [left] = observe.redirects(lab.hostA)
    expect(" . 9 . " in left and "expires" in left, left)
    finish(transfer)


def test_a_daemon_that_fails_to_start_keeps_the_redirects(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    end_daemon(lab.hostA, TERMINATED)
    settings = lab.configure(lab.hostA, transfer={"port": PORT})  # the application has that port
    status, output = lab.hostA.run(lab.program("src/sockmid/sockmid"), "--config", settings, check=False)
    expect(status == 1 and "in use" in output, f"status {status}: {output}")
    go(lab, transfer, 500_000)
    lab.start_daemon(lab.hostA)
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)


@cases("hostA", "hostB")
def test_a_moved_listener_survives_a_daemon(lab, name):
    socket_app.start(lab)
    listener = socket_app.move(lab.hostA.app.socket("4").listen(), lab.hostB, socket_app.LISTENING)
    [host] = [host for host in lab.hosts if host.name == name]
    end_daemon(host, TERMINATED)
    lab.start_daemon(host)
    wait_until(lambda: lab.hostA.api("/v1/peers")["peers"], "the holder is heard")
    expect((at(lab.hostA), at(lab.hostB)) == ([("moved", "hostB")], [("imported", "hostB")]), lambda: f"{at(lab.hostA)} {at(lab.hostB)}")
    theirs, stream = lab.client.app.socket("4").connect(lab.hostA), socket_app.Stream("s")
    ours = listener.accept()
    stream.send(theirs, 1000)
    stream.receive(ours)


# --- ends ---

def closed_by_peer(lab, transfer):
    transfer.allow(None)
    transfer.finish()


def reset_by_peer(lab, transfer):
    transfer.curl.kill()  # with unread bytes: its kernel sends an RST


def application_killed(lab, transfer):
    application(lab, lab.hostB).kill()
    transfer.allow(None)


ENDS = {function.__name__: function for function in (closed_by_peer, reset_by_peer, application_killed)}


@cases(*ENDS)
def test_every_kind_of_end_removes_the_redirect(lab, how):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    ENDS[how](lab, transfer)
    no_rules(lab.hostA, lab.hostB)
    # Packets to a killed application are answered by RST, whether moved or not.
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")


def test_a_redirect_lingers_for_the_last_packets(lab):
    """The holder is in TIME_WAIT: it still answers the peer's repeated FIN, by way of home."""
    lab.start_daemon(lab.hostA, steer={"linger_ms": 60_000})
    lab.start_daemon(lab.hostB, steer={"linger_ms": 60_000})
    lab.start_httpsd(lab.hostA), lab.start_httpsd(lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    finish(transfer)
    wait_until(lambda: not at(lab.hostA), "home knows that it has ended")
    [entry] = observe.redirects(lab.hostA)
    expect("expires" in entry, entry)


# --- a home that does not answer, or has lost its records ---

def test_the_last_exporter_forwards_while_home_is_silent(lab):
    lab.start_all()
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    end_daemon(lab.hostA, TERMINATED)
    move(lab, lab.hostB, lab.hostC)
    go(lab, transfer, 400_000)
    expect(lab.hostB.address in observe.redirects(lab.hostA)[0] and lab.hostC.address in observe.redirects(lab.hostB)[0], "the packets find no way")
    expect(at(lab.hostB) == [("forwarded", "hostC")], at(lab.hostB))
    expect(lab.hostC.export(lab.hostB) == (0, 1) and "EBUSY" in lab.hostC.last_error(), "it went back though home could mistake the order")
    wait_until(lambda: lab.hostB.api("/v1/status")["homes"]["silent"] == ["hostA"], "hostB says that home is silent")
    lab.start_daemon(lab.hostA)
    wait_until(lambda: at(lab.hostA) == [("moved", "hostC")], "home learns the new place", timeout=20)
    expect(lab.hostC.address in observe.redirects(lab.hostA)[0], "the path is not short")
    wait_until(lambda: not observe.redirects(lab.hostB) and not at(lab.hostB), "hostB forgets it")
    finish(transfer)
    no_rules(*lab.hosts)


def test_an_end_is_reported_once_home_answers_again(lab):
    """Home would not accept the end from the last host. The host before it is notified,
    and notifies home when it answers again."""
    lab.start_all()
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    end_daemon(lab.hostA, KILLED)
    move(lab, lab.hostB, lab.hostC)
    finish(transfer)
    no_rules(lab.hostB, lab.hostC)
    wait_until(lambda: lab.hostC.api("/v1/status")["homes"]["untold"] == 0, "hostC is rid of its duty")
    restart(lab, lab.hostB, KILLED)  # the pending notice is in its journal
    expect(lab.hostB.api("/v1/status")["homes"]["untold"] == 1, "hostB has forgotten its duty")
    lab.start_daemon(lab.hostA)
    wait_until(lambda: not observe.redirects(lab.hostA) and not at(lab.hostA), "home is told", timeout=20)


def silence(client):
    """Stops the client from sending: the kernel of a home that has lost its tables would
    answer by RST."""
    client.run("nft", "-f", "-", stdin=b"table inet quiet {\n chain c {\n type filter hook output priority 0\n tcp dport 8443 drop\n }\n}")


def forget_everything(lab, host, tables):
    """Ends the host's daemon, and deletes its journal."""
    end_daemon(host, KILLED)
    lab.hostA.run("rm", "-rf", host.folder / "state")
    if tables:
        host.run(lab.sockmictl, "flush")


def test_a_home_without_its_journal_is_told_by_the_holder(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    forget_everything(lab, lab.hostA, tables=False)
    lab.start_daemon(lab.hostA)
    wait_until(lambda: at(lab.hostA) == [("moved", "hostB")], "home is told by the holder", timeout=20)
    lab.hostB.daemon.wait_line("event=home_had_forgotten")
    expect(lab.hostB.api("/v1/status")["homes"]["told_again"] == 1, "the status does not say so")
    expect("expires" not in observe.redirects(lab.hostA)[0], "the redirect would end")
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)


def test_a_home_without_its_tables_is_told_by_the_holder(lab):
    """Home's tables are gone too, and its administrator has set steer.believe_holders."""
    lab.start_all(lab.hostA, lab.hostB, steer={"linger_ms": 200, "believe_holders": True})
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    transfer.wait_offset(100_000)
    silence(lab.client)
    forget_everything(lab, lab.hostA, tables=True)
    lab.start_daemon(lab.hostA, steer={"linger_ms": 200, "believe_holders": True})
    wait_until(lambda: observe.redirects(lab.hostA), "home redirects again", timeout=20)
    lab.client.run("nft", "delete", "table", "inet", "quiet")
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)


def test_a_home_without_the_service_refuses_the_holders_claim(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    silence(lab.client)
    forget_everything(lab, lab.hostA, tables=True)
    lab.start_daemon(lab.hostA, service__web={})
    lab.hostB.daemon.wait_line("event=disowned")
    expect(lab.hostB.api("/v1/status")["homes"]["disowned"] == 1, "the status does not say so")
    expect(not observe.redirects(lab.hostA), "home redirects a service that it does not serve")
    # The holder's socket waits for acknowledgements that home no longer forwards: its
    # rules stay.
    lab.stop()
    lab.hostB.run(lab.sockmictl, "flush")


def test_a_holder_without_its_journal_is_told_by_home(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    forget_everything(lab, lab.hostB, tables=False)
    lab.start_daemon(lab.hostB)
    wait_until(lambda: at(lab.hostB) == [("imported", "hostB")], "home reminds it", timeout=20)
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)


# --- many, and none ---

def test_flush_removes_rules_of_live_connections(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    silence(lab.client)
    for host in (lab.hostA, lab.hostB):
        status, output = host.run(lab.sockmictl, "flush", check=False)
        expect(status == 1 and "another sockmid" in output, f"status {status}: {output}")
        end_daemon(host, TERMINATED)
        expect(observe.leftovers(host), "nothing is left; then what is flushed?")
        host.run(lab.sockmictl, "flush")
        expect(not observe.leftovers(host), lambda: f"{host.name}: {observe.leftovers(host)}")
    transfer.curl.kill()


def test_an_end_among_twenty_thousand_others_is_noticed(lab):
    """These connections have not moved; one that has ends among the last."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    move(lab, lab.hostA, lab.hostB)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    many = within(lab.hostB, lambda: pairs(min(10_000, most // 2 - 1000)))
    lab.hostB.daemon.pause()
    for each in many:
        each.close()
    finish(transfer)
    lab.hostB.daemon.resume()
    no_rules(lab.hostA, lab.hostB)


def pairs(count):
    """Returns both ends of `count` connections, which end by RST."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    out = []
    for _ in range(count):
        ends = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        out += ends
    listener.close()
    return out


# --- a daemon that is killed while a connection is frozen ---

def die_in_export(lab, moment):
    lab.hostA.arm(moment + "=kill")
    try:
        lab.hostA.export(lab.hostB)
    except (OSError, http.client.HTTPException):
        pass
    status = lab.hostA.daemon.wait()
    expect(status == -signal.SIGKILL, f"the daemon's status is {status}")


@cases("prepare-send", "redirect", "journal")
def test_a_kill_before_the_decision_leaves_the_connection(lab, moment):
    """It is unfrozen immediately, and without another daemon."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    die_in_export(lab, moment)
    go(lab, transfer, 500_000)
    lab.start_daemon(lab.hostA)
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)


def test_a_kill_after_the_decision_completes_the_move(lab):
    """Its socket on the old host, which an application still has, is dead; the importer
    queries the next daemon."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    die_in_export(lab, "decided")
    lab.start_daemon(lab.hostA)
    expect(at(lab.hostA) == [("moved", "hostB")], at(lab.hostA))
    go(lab, transfer, 500_000)
    finish(transfer)
    no_rules(lab.hostA, lab.hostB)
