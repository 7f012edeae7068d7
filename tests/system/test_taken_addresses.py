"""What a host does with an address that it took over: keeps, restores, reports or gives it up."""
import signal

from cases import cases, long
from lab import SERVICE_ADDRESS as SERVICE, expect, wait_until
from takeover import TAKEOVER, begin, finish, holders, start, take_over, unplug, who_answers


def test_an_address_moved_by_hand_serves_new_clients(lab):
    """The address moves by hand, or by VRRP: its new holder serves new clients, although
    it belonged to the home of a foreign connection there."""
    start(lab)
    transfers = begin(lab)
    lab.move(lab.hostA, lab.hostB, connections=3)
    lab.hostA.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    lab.client.run("ip", "neigh", "flush", "to", SERVICE)
    expect("hostB" in who_answers(lab, "--connect-timeout", 3), "hostB does not answer")
    finish(transfers)


@long
def test_a_second_holder_of_the_address_is_reported(lab):
    """As after a link was split into two parts."""
    start(lab)
    take_over(lab, lab.hostA, lab.hostB)
    lab.hostC.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_conflict_found", timeout=40)
    warnings = lab.hostB.api("/v1/status")["warnings"]
    expect(any(SERVICE in warning for warning in warnings), f"{warnings}")
    lab.hostC.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_conflict_ended", timeout=40)


def test_an_address_removed_by_hand_is_restored(lab):
    """A network manager that has no record of the address removes it. It is not restored
    if another host has it: then it was moved by hand."""
    start(lab)
    transfers = begin(lab)
    take_over(lab, lab.hostA, lab.hostB)
    lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_restored")
    expect("hostB" in who_answers(lab, "--connect-timeout", 3), "hostB does not answer")
    finish(transfers)
    lab.hostC.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostB.daemon.wait_line("event=address_lost")
    expect(SERVICE not in lab.hostB.run("ip", "-br", "addr"), "two hosts have it")


def lifetimes(host):
    return host.run("ip", "-4", "addr", "show", "to", SERVICE)


def test_an_address_that_returns_is_kept_permanently(lab):
    """The address comes back soon after it was here before: the new holder has it
    permanently, not for the seconds of a Hold."""
    start(lab)
    take_over(lab, lab.hostA, lab.hostB)
    wait_until(
        lambda: any(each["host"] == "hostA" for each in lab.hostB.api("/v1/hosts")["hosts"]),
        "hostB knows hostA",
    )
    take_over(lab, lab.hostB, lab.hostA)
    take_over(lab, lab.hostA, lab.hostB)
    expect("valid_lft forever" in lifetimes(lab.hostB), lifetimes(lab.hostB))


def journalled(host):
    """Returns the addresses that the journal has as taken over."""
    found = set()
    for words in map(str.split, (host.folder / "state" / "journal").read_text().splitlines()):
        if words[0] in ("taken", "-taken"):
            (found.add if words[0] == "taken" else found.discard)(words[1])
    return sorted(found)


@cases("running", "down")
def test_the_next_daemon_restores_a_taken_over_address(lab, when):
    """The address is removed, by somebody or by a boot, while a daemon runs that has not
    taken it over itself, or while none runs."""
    start(lab)
    transfers = begin(lab)
    take_over(lab, lab.hostA, lab.hostB)
    finish(transfers)
    unplug(lab.hostA)
    lab.hostB.daemon.signal(signal.SIGTERM)
    expect(lab.hostB.daemon.wait() == 0, lab.hostB.daemon.tail)
    expect(SERVICE in lab.hostB.run("ip", "-br", "addr"), "the address has gone with the daemon")
    if when == "running":
        lab.start_daemon(lab.hostB, **TAKEOVER)
    lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    if when == "down":
        lab.start_daemon(lab.hostB, **TAKEOVER)
    lab.hostB.daemon.wait_line("event=address_restored")
    expect("hostB" in who_answers(lab, "--connect-timeout", 3), "hostB does not answer")
    lab.hostA.run(lab.sockmictl, "flush")


def test_the_next_daemon_does_not_restore_an_address_that_it_lost(lab):
    """The address was handed on; another host has it now; or the configuration no longer
    allows it here."""
    start(lab)

    def restart(**changes):
        lab.hostB.daemon.signal(signal.SIGTERM)
        expect(lab.hostB.daemon.wait() == 0, lab.hostB.daemon.tail)
        lab.hostB.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0", check=False)
        lab.start_daemon(lab.hostB, **{**TAKEOVER, **changes})

    take_over(lab, lab.hostA, lab.hostB)
    expect(journalled(lab.hostB) == [SERVICE], journalled(lab.hostB))
    wait_until(
        lambda: any(each["host"] == "hostA" for each in lab.hostB.api("/v1/hosts")["hosts"]),
        "hostB knows hostA",
    )
    take_over(lab, lab.hostB, lab.hostA)
    expect(
        (journalled(lab.hostA), journalled(lab.hostB)) == ([SERVICE], []),
        "hostB did not forget it, or hostA does not know it",
    )
    restart()
    take_over(lab, lab.hostA, lab.hostB)
    lab.hostC.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    restart()
    lab.hostB.daemon.wait_line("event=address_lost")
    expect((journalled(lab.hostB), holders(lab)) == ([], ["hostC"]), "two hosts have it")
    lab.hostC.run("ip", "addr", "del", f"{SERVICE}/24", "dev", "eth0")
    lab.hostA.run("ip", "addr", "add", f"{SERVICE}/24", "dev", "eth0")
    take_over(lab, lab.hostA, lab.hostB)
    restart(takeover={})
    lab.hostB.daemon.wait_line("event=address_given_up")
    expect((journalled(lab.hostB), holders(lab)) == ([], []), "it was put back")
