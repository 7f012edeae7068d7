"""The operator gives up a host that never comes back."""
import observe
from process import expect, wait_until
from socket_app import Connection, start


def test_a_home_is_waited_for_until_it_is_forgotten(lab):
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    connection.both_ways()
    lab.hostA.daemon.kill()
    connection.end()
    pending_ends = lambda: lab.hostB.api("/v1/status")["home"]["pending_ends"]  # noqa: E731
    wait_until(lambda: pending_ends() == 1, "home is to hear that it has ended")
    said = lab.hostB.run(lab.sockmictl, "forget", "hostA")
    expect("1 ends" in said, said)
    expect(pending_ends() == 0, "home is still to hear it")
    lab.start_daemon(lab.hostA)  # it comes back after all, and queries
    wait_until(
        lambda: not lab.hostA.api("/v1/connections")["connections"],
        "home asks, and hears that it is not held",
    )


def test_connections_of_a_forgotten_holder_are_given_up(lab):
    start(lab)
    connection = Connection(lab)
    connection.move(lab.hostB)
    connection.both_ways()
    lab.hostB.daemon.kill()
    lab.hostB.app.process.kill()  # if the host were off, its kernel would not send anything, either
    lab.hostB.run(lab.sockmictl, "flush")
    said = lab.hostA.run(lab.sockmictl, "forget", "hostB")
    expect("1 connections" in said, said)
    wait_until(lambda: not observe.redirects(lab.hostA), "its redirect ends")
    expect(not lab.hostA.api("/v1/connections")["connections"], "it is still known")
    connection.theirs.begin("send", "up", 0, 1000)
    wait_until(lambda: connection.theirs.state() == "CLOSE", "the peer hears of it")
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")  # one RST was right


def test_only_root_may_forget_a_host(lab):
    from sandbox import without_privilege

    start(lab, lab.hostA)
    status, said = lab.hostA.run(
        *without_privilege(), lab.sockmictl, "forget", "hostB", check=False
    )
    expect(status == 1 and "EACCES" in said, said)
