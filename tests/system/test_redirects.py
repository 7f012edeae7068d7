"""Rules in home's kernel live no longer than they are needed."""
import observe
from process import expect, wait_until
from transfer import Download, random_bytes

CONTENT = random_bytes(1 << 20)


def begin(lab):
    lab.file("f", CONTENT)
    transfer = Download(lab, "f", gate=100_000)
    transfer.wait_offset(100_000)
    return transfer


def test_a_redirect_ends_with_its_connection(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    lab.move(lab.hostA, lab.hostB)
    expect(len(observe.redirects(lab.hostA)) == 1, "no redirect while the connection is away")
    transfer.allow(None)
    transfer.finish()
    wait_until(lambda: not observe.redirects(lab.hostA), "the redirect goes", timeout=5)
    wait_until(lambda: not lab.hostA.api("/v1/connections")["connections"], "home forgets it")
    wait_until(lambda: lab.hostB.api("/v1/status")["lists"]["connected"]["used"] == 0, "its place in the import list is free")


def test_a_return_home_removes_the_redirect(lab):
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    lab.move(lab.hostA, lab.hostB)
    lab.move(lab.hostB, lab.hostA)
    expect(not observe.redirects(lab.hostA), lambda: f"still there: {observe.redirects(lab.hostA)}")
    transfer.allow(None)
    transfer.finish()


def test_home_redirects_straight_to_the_last_holder(lab):
    lab.start_all()
    transfer = begin(lab)
    lab.move(lab.hostA, lab.hostB)
    lab.move(lab.hostB, lab.hostC)
    wait_until(lambda: [c["at"] for c in lab.hostA.api("/v1/connections")["connections"]] == ["hostC"], "home learns the new place")
    [entry] = observe.redirects(lab.hostA)
    expect(lab.hostC.address in entry, entry)
    wait_until(lambda: not observe.redirects(lab.hostB), "the bridge over the gap goes", timeout=5)
    transfer.allow(None)
    transfer.finish()


def test_a_kill_before_the_redirect_leaves_none(lab):
    """The exporter dies between freeze and decision: there is no rule that has to be removed."""
    lab.start_all(lab.hostA, lab.hostB)
    transfer = begin(lab)
    lab.hostA.arm("prepare-send=kill")
    ignore_errors(lab.hostA.export)(lab.hostB)
    wait_until(lambda: not lab.hostA.daemon.running(), "the daemon dies")
    expect(not observe.redirects(lab.hostA), "a redirect was left")
    transfer.curl.kill()
    lab.hostA.run(lab.sockmictl, "flush")


def ignore_errors(function):
    def quiet(*arguments):
        try:
            function(*arguments)
        except Exception:  # the daemon that it calls is killed meanwhile
            pass
    return quiet
