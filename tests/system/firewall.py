"""The firewall of a careful administrator: it drops what does not belong to a known
connection or to a service.

A connection is known if connection tracking has it. Connection tracking does not have a
connection that has just moved here, and the port of a client's end is not the port of a
service. So such a firewall is the hardest one for sockmi, and a very common one.
"""
from process import run

SERVICES = "8440-8449"  # TCP; the tests' servers
SOCKMI = {"udp": 7077, "tcp": 7078}

NFTABLES = f"""
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    ct state invalid drop
    iif lo accept
    meta l4proto ipv6-icmp accept
    udp dport {SOCKMI["udp"]} accept
    tcp dport {{ {SERVICES}, {SOCKMI["tcp"]} }} accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
  }}
}}
"""


def iptables(icmp):
    return f"""*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -i lo -j ACCEPT
{icmp}
-A INPUT -p udp --dport {SOCKMI["udp"]} -j ACCEPT
-A INPUT -p tcp -m multiport --dports {SERVICES.replace("-", ":")},{SOCKMI["tcp"]} -j ACCEPT
COMMIT
"""


def install(host, kind):
    inside = ["nsenter", f"--net=/run/netns/{host}", "--"]
    if kind == "nftables":
        run([*inside, "nft", "-f", "-"], stdin=NFTABLES.encode())
    elif kind == "iptables":
        run([*inside, "iptables-restore"], stdin=iptables("").encode())
        run(
            [*inside, "ip6tables-restore"],
            stdin=iptables("-A INPUT -p ipv6-icmp -j ACCEPT").encode(),
        )
    else:
        raise ValueError(f"no firewall is called {kind}")
