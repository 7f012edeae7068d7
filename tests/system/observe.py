"""What a host's kernel has seen, and what it still has of sockmi."""
import json
import re

# Counted at the hooks, not read from SNMP: SNMP counts RSTs of unknown connections only
# in part.
#
# On a busy machine an RST comes now and then for a connection that both ends have ended in
# order, without any move: a FIN that the client has repeated crosses the last acknowledgement
# on another processor, and finds no socket at the server. The client is in TIME_WAIT then. So
# those that meet a socket are counted apart: a mark is read of a live socket only.
RST_COUNTER = """
table inet observe {
  counter rst_in { }
  counter rst_live { }
  counter rst_out { }
  chain in {
    type filter hook prerouting priority -400
    tcp flags & rst == rst counter name rst_in
    tcp flags & rst == rst socket mark 0 counter name rst_live
  }
  chain out {
    type filter hook postrouting priority 400
    tcp flags & rst == rst counter name rst_out
  }
}
"""


def count_resets(host):
    host.run("nft", "-f", "-", stdin=RST_COUNTER.encode())


def resets(host):
    """Returns how many RSTs this host has received and sent since count_resets()."""
    found = _reset_counters(host)
    return found["rst_in"], found["rst_out"]


def live_resets(host):
    """Returns how many of those RSTs came for a connection that the host still had. Its
    sockets have no mark."""
    return _reset_counters(host)["rst_live"]


def _reset_counters(host):
    listing = json.loads(host.run("nft", "-j", "list", "counters", "table", "inet", "observe"))
    return {
        entry["counter"]["name"]: entry["counter"]["packets"]
        for entry in listing["nftables"]
        if "counter" in entry
    }


class Counter:
    """Counts packets that a host's kernel receives ("in") or sends ("out") and that an
    expression of nft(8) matches, from now on."""

    def __init__(self, host, way, expression, name="some"):
        self._host, self._table = host, f"observe_{name}"
        hook = (
            "type filter hook prerouting priority -399"
            if way == "in"
            else "type filter hook postrouting priority 401"
        )
        host.run(
            "nft",
            "-f",
            "-",
            stdin=(
                f"table inet {self._table} {{\n counter c {{ }}\n chain c {{\n {hook}\n"
                f" {expression} counter name c\n }}\n}}\n"
            ).encode(),
        )

    def packets(self):
        listing = json.loads(
            self._host.run("nft", "-j", "list", "counters", "table", "inet", self._table)
        )
        return next(
            entry["counter"]["packets"] for entry in listing["nftables"] if "counter" in entry
        )


class Dropped:
    """While it lasts, a host drops the packets that it receives ("in") or sends ("out")
    and that an expression of nft(8) matches."""

    def __init__(self, host, way, expression):
        self._host, self._way, self._expression = host, way, expression

    def __enter__(self):
        hook = (
            "type filter hook prerouting priority -398"
            if self._way == "in"
            else "type filter hook postrouting priority 402"
        )
        self._host.run(
            "nft",
            "-f",
            "-",
            stdin=(
                f"table inet dropped {{\n chain c {{\n {hook}\n {self._expression} drop\n }}\n}}\n"
            ).encode(),
        )

    def __exit__(self, *_):
        self._host.run("nft", "delete", "table", "inet", "dropped")


def kernel_counter(host, *names):
    """Returns the sum of TCP counters by their names in nstat(8), since the host was created."""
    listing = json.loads(host.run("nstat", "-asjz", *names))["kernel"]
    return sum(listing[name] for name in names)


def resent(host):
    return kernel_counter(host, "TcpRetransSegs")


def received_twice(host):
    return kernel_counter(host, "TcpExtTCPDSACKOldSent")


def redirects(host):
    """Returns the elements of home's map, as text; nothing if there is no table."""
    status, listing = host.run("nft", "list", "table", "netdev", "sockmi", check=False)
    return (
        re.findall(r"[\da-f.:]+ \. \d+ \. [\da-f.:]+ \. \d+[^,}]*", listing.replace("\n", " "))
        if status == 0
        else []
    )


def leftovers(host):
    """Returns everything of sockmi in this host's kernel, one line each."""
    found = [line for line in host.run("nft", "list", "tables").splitlines() if "sockmi" in line]
    for family in ("-4", "-6"):
        found += [
            line
            for line in host.run("ip", family, "rule").splitlines()
            if not re.search(r"lookup (local|main|default)$", line.strip())
        ]
        found += [
            line
            for line in host.run("ip", family, "route", "show", "table", "all").splitlines()
            if " table " in line and " table local " not in line
        ]
    return found
