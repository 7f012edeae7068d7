"""Checks which of its addresses a host announces to others."""
import observe
from cases import topology
from process import expect, run, wait_until
from socket_app import Connection, refused, start
from daemons import TERMINATED, end_daemon


def test_an_expiring_address_is_not_announced(lab):
    run(
        [
            "ip",
            "-n",
            "hostB",
            "-6",
            "addr",
            "add",
            "fd77::999/64",
            "dev",
            "eth0",
            "valid_lft",
            "60",
            "preferred_lft",
            "30",
            "nodad",
        ]
    )
    start(lab)
    c = Connection(lab, "6")
    c.both_ways()
    c.move(lab.hostB)
    redirects = observe.redirects(lab.hostA)
    expect(
        redirects and all("fd77::2" in each and "fd77::999" not in each for each in redirects),
        f"home redirects to {redirects}",
    )
    c.both_ways()
    c.end()


def test_a_link_local_address_is_not_announced(lab):
    """hostB has no other IPv6 address: it accepts no IPv6 connection, and the reason says so."""
    run(["ip", "-n", "hostB", "-6", "addr", "del", "fd77::2/64", "dev", "eth0"])
    start(lab)
    c = Connection(lab, "6")
    c.both_ways()
    refused(c.ours, lab.hostB)
    expect(not observe.redirects(lab.hostA), "home redirects all the same")
    c.both_ways()
    c.end()


def address6(change, *words):
    run(["ip", "-n", "hostB", "-6", "addr", change, words[0], "dev", "eth0", *words[1:]])


def leads_to(lab, address):
    return wait_until(
        lambda: (redirects := observe.redirects(lab.hostA))
        and all(address in each for each in redirects),
        f"home redirects to {address}",
    )


def test_an_address_that_is_added_later_is_announced(lab):
    address6("del", "fd77::2/64")
    start(lab)
    address6("add", "fd77::2/64", "nodad")
    lab.hostB.daemon.wait_line("event=other_address_changed")
    wait_until(
        lambda: any(each.get("host") == "hostB" for each in lab.hostA.api("/v1/hosts")["hosts"]),
        "hostA hears of hostB",
    )
    c = Connection(lab, "6")
    c.both_ways()
    c.move(lab.hostB)
    leads_to(lab, "fd77::2")
    c.both_ways()
    c.end()


def test_home_redirects_to_the_holders_new_address(lab):
    start(lab)
    c = Connection(lab, "6")
    c.both_ways()
    c.move(lab.hostB)
    address6("add", "fd77::22/64", "nodad")
    address6("del", "fd77::2/64")
    leads_to(lab, "fd77::22")
    c.both_ways()
    address6("change", "fd77::22/64", "valid_lft", "600", "preferred_lft", "300")
    address6("add", "fd77::23/64", "nodad")
    leads_to(lab, "fd77::23")
    c.both_ways()
    c.end()


@topology("routed")
def test_home_redirects_to_the_holders_new_address_behind_a_router(lab):
    """Redirected packets carry that address until they arrive; the holder replaces it by home's."""
    start(lab, lab.hostA, lab.hostC)
    c = Connection(lab, "6")
    c.both_ways()
    c.move(lab.hostC)
    c.both_ways()
    run(["ip", "-n", "hostC", "-6", "addr", "add", "fd77:0:0:3::33/64", "dev", "eth0", "nodad"])
    run(["ip", "-n", "hostC", "-6", "addr", "del", "fd77:0:0:3::3/64", "dev", "eth0"])
    leads_to(lab, "fd77:0:0:3::33")
    c.both_ways()
    given_back = lab.hostC.run("nft", "list", "map", "inet", "sockmi", "rewritten6")
    expect("fd77:0:0:3::33 . 8443" in given_back, given_back)
    end_daemon(lab.hostC, TERMINATED)  # the next daemon can explain that entry
    lab.start_daemon(lab.hostC)
    expect(
        not any("event=destination_rewrite_orphaned" in line for line in lab.hostC.daemon.lines),
        lab.hostC.daemon.tail(),
    )
    c.both_ways()
    c.end()


def test_a_missing_own_address_is_reported(lab):
    start(lab)
    c = Connection(lab)
    c.both_ways()
    c.move(lab.hostB)
    for host, address in ((lab.hostA, "10.77.0.1"), (lab.hostB, "10.77.0.2")):
        run(["ip", "-n", host.name, "addr", "del", address + "/24", "dev", "eth0"])
        host.daemon.wait_line(f"event=address_disappeared address={address}")
        expect(
            any(
                f"address {address} is gone" in each for each in host.api("/v1/status")["warnings"]
            ),
            "no warning",
        )
        run(["ip", "-n", host.name, "addr", "add", address + "/24", "dev", "eth0"])
        host.daemon.wait_line(f"event=address_reappeared address={address}")
        expect(host.api("/v1/status")["warnings"] == [], "the warning stays")
    c.both_ways()
    c.move(lab.hostA)
    c.both_ways()
    c.end()
