"""Which of its addresses a host tells others."""
from process import expect, run
import observe
from socket_app import Connection, start


def test_an_address_that_expires_is_not_told(lab):
    run(["ip", "-n", "hostB", "-6", "addr", "add", "fd77::999/64", "dev", "eth0", "valid_lft", "60", "preferred_lft", "30", "nodad"])
    start(lab)
    c = Connection(lab, "6")
    c.both_ways()
    c.move(lab.hostB)
    led = observe.redirects(lab.hostA)
    expect(led and all("fd77::2" in each and "fd77::999" not in each for each in led), f"home redirects to {led}")
    c.both_ways()
    c.end()


def test_an_address_of_one_link_is_not_told(lab):
    """hostB has no other IPv6 address: it takes no IPv6 connection, and the reason says so."""
    from socket_app import refused
    run(["ip", "-n", "hostB", "-6", "addr", "del", "fd77::2/64", "dev", "eth0"])
    start(lab)
    c = Connection(lab, "6")
    c.both_ways()
    refused(c.ours, lab.hostB)
    expect(not observe.redirects(lab.hostA), "home redirects all the same")
    c.both_ways()
    c.end()
