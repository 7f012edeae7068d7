"""Tests the lab itself: if its instruments were blind, every other test would pass
without showing anything."""
import observe
from process import expect


def test_a_reset_is_counted(lab):
    # No socket listens there.
    lab.client.run("curl", "-s", f"http://{lab.hostA.address}:9/", check=False)
    received, _ = observe.resets(lab.client)
    expect(received == 1, f"{received} counted")
    lab.client.run("nft", "delete", "table", "inet", "observe")
    observe.count_resets(lab.client)  # from zero, otherwise this test would not end clean


def test_leftovers_are_seen(lab):
    expect(not observe.leftovers(lab.hostA), "something is there before anything began")
    lab.hostA.run("nft", "add", "table", "netdev", "sockmi")
    lab.hostA.run("ip", "rule", "add", "fwmark", "7", "lookup", "777")
    lab.hostA.run("ip", "route", "add", "local", "default", "dev", "lo", "table", "777")
    expect(len(observe.leftovers(lab.hostA)) == 3, observe.leftovers(lab.hostA))
