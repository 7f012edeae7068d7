"""What a host's kernel saw, and what of sockmi is left in it."""
import json
import re

# Counted at the hooks, not read from SNMP: an RST for a connection that is unknown counts there only in part.
RST_COUNTER = """
table inet observe {
  counter rst_in { }
  counter rst_out { }
  chain in {
    type filter hook prerouting priority -400
    tcp flags & rst == rst counter name rst_in
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
    """How many RST this host received and sent since count_resets()."""
    listing = json.loads(host.run("nft", "-j", "list", "counters", "table", "inet", "observe"))
    found = {entry["counter"]["name"]: entry["counter"]["packets"] for entry in listing["nftables"] if "counter" in entry}
    return found["rst_in"], found["rst_out"]


def kernel_counter(host, *names):
    """The sum of TCP counters by their names of nstat(8), since the host was made."""
    listing = json.loads(host.run("nstat", "-asjz", *names))["kernel"]
    return sum(listing[name] for name in names)


def resent(host):
    return kernel_counter(host, "TcpRetransSegs")


def received_twice(host):
    return kernel_counter(host, "TcpExtTCPDSACKOldSent")


def redirects(host):
    """The elements of home's map, as text; none if there is no table."""
    status, listing = host.run("nft", "list", "table", "netdev", "sockmi", check=False)
    return re.findall(r"[\d.]+ \. \d+ \. [\d.]+ \. \d+[^,}]*", listing.replace("\n", " ")) if status == 0 else []


def leftovers(host):
    """Everything of sockmi's in this host's kernel, one line each."""
    found = [line for line in host.run("nft", "list", "tables").splitlines() if "sockmi" in line]
    for family in ("-4", "-6"):
        found += [line for line in host.run("ip", family, "rule").splitlines() if not re.search(r"lookup (local|main|default)$", line.strip())]
        found += [line for line in host.run("ip", family, "route", "show", "table", "all").splitlines()
                  if " table " in line and " table local " not in line]
    return found
