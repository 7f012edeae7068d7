"""A host's certificate in the hands of an attacker (member.cc)."""
from lab import expect


class Member:
    """Acts with the certificate of `host`, against `victim`."""

    def __init__(self, lab, host, victim):
        self.lab, self.host, self.victim = lab, host, victim

    def run(self, *words):
        """Returns the output of member.cc."""
        return self.host.run(
            self.lab.program("tests/attack/member"),
            self.lab.identity(self.host),
            self.host.address,
            self.victim.name,
            f"{self.victim.address}:7078",
            *words,
        )

    def says(self, *words, check=None):
        """Returns the answers to what it sends: (errno, decided, reason)."""
        output = self.run(*words)
        lines = [line.split(" ", 3) for line in output.splitlines() if line.startswith("answer ")]
        expect(lines, lambda: f"{words}: {output}")
        answers = [(int(code), int(decided), reason) for _, code, decided, reason in lines]
        return (
            answers
            if check is None
            else expect(answers[0][0] in check, lambda: f"{words}: {answers[0]}")
        )


def alive(host):
    expect(host.daemon.running(), lambda: f"{host.name}'s daemon is gone: {host.daemon.tail()}")
    expect(host.api("/v1/status")["host"] == host.name, "it does not serve")


def reserve(member, first, count, times):
    output = member.run("reserve", first, count, times)
    return [int(line.split()[1]) for line in output.splitlines() if line.startswith("reserved ")]
