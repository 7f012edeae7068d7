"""mosquitto behind proxies that terminate TLS, while hosts are drained."""
import re
import subprocess

import mqtt
from cases import long
from counterparts import wait_listening
from lab import PORT
from process import expect, wait_until
from real_programs import BACKEND_PORT, Circle, program, start_proxies

CLIENTS, SUBSCRIBERS, DRAINS = 1000, 5, 3
BROKER = f"""
listener {BACKEND_PORT} {{address}}
allow_anonymous true
persistence false
user root
log_dest stderr
log_type error
log_type warning
log_type notice
"""


class Broker:
    def __init__(self, lab):
        path = lab.folder / "mosquitto.conf"
        path.write_text(BROKER.format(address=lab.client.address))
        self._process = lab.client.popen(program("mosquitto"), "-c", path)
        wait_listening(lab.client, BACKEND_PORT)

    def clients(self):
        """Returns the names of all clients that have ever connected."""
        return [
            match[1]
            for line in self._process.lines
            if (match := re.search(r"New client connected from \S+ as (\w+)", line))
        ]

    def ended(self):
        """Returns the lines about clients that have gone, in order or not."""
        return [
            line
            for line in self._process.lines
            if line.split(": ", 1)[-1].startswith("Client ") or "rror" in line
        ]


def program_of_mosquitto(lab, name, *options):
    certificate, _ = lab.certificate()
    to = ["-h", lab.hostA.address, "-p", PORT, "--cafile", certificate, "-q", "1"]
    return lab.client.popen(program(name), *to, *options, stdin=subprocess.PIPE)


class Sentences:
    """mosquitto_pub publishes numbered lines; each mosquitto_sub prints them."""

    def __init__(self, lab, broker):
        self._subscribers = [
            program_of_mosquitto(lab, "mosquitto_sub", "-i", f"sub{number}", "-t", "real/#")
            for number in range(SUBSCRIBERS)
        ]
        self.publisher = program_of_mosquitto(
            lab, "mosquitto_pub", "-i", "pub", "-t", "real/text", "-l"
        )
        self._sent = 0
        wait_until(lambda: len(broker.clients()) == SUBSCRIBERS + 1, "all have connected")
        self.publish()

    def publish(self):
        """Publishes a line, which all subscribers get."""
        self._sent += 1
        self.publisher.stdin.write(f"line {self._sent}.\n".encode())
        self.publisher.stdin.flush()
        for each in self._subscribers:
            each.wait_line(f"line {self._sent}.")

    def end(self):
        """Checks that each line came once, and nothing else was printed."""
        self.publisher.stdin.close()
        expect(self.publisher.wait() == 0 and not self.publisher.lines, self.publisher.tail)
        for each in self._subscribers:
            lines = [f"line {number}." for number in range(1, self._sent + 1)]
            expect(each.lines == lines, each.tail)


@long
def test_a_thousand_clients_keep_their_subscriptions_through_three_drains(lab):
    """When a drain begins, each client has a message that is not acknowledged. Others follow."""
    broker, circle = Broker(lab), Circle(lab)
    start_proxies(lab, tls=True)
    sentences = Sentences(lab, broker)
    crowd = mqtt.Crowd(lab.client, (lab.hostA.address, PORT), str(lab.certificate()[0]), CLIENTS)
    relays = CLIENTS + SUBSCRIBERS + 1
    for _ in range(DRAINS):
        before = crowd.count()
        crowd.hold()
        crowd.publish()
        wait_until(lambda: crowd.count() == before + CLIENTS, "all have got a message")
        crowd.begin_publishing(interval=2)
        circle.drain(relays)
        crowd.end_publishing()
        crowd.release()
        wait_until(crowd.has_all, "all is acknowledged")
        sentences.publish()
    expect(crowd.in_order(), "a message is missing, or came twice")
    names = broker.clients()
    expect(len(names) == len(set(names)) == relays, f"{len(names)} connections")
    expect(not broker.ended(), broker.ended)
    crowd.leave()
    sentences.end()
    wait_until(lambda: len(broker.ended()) >= CLIENTS, "the broker sees it when clients go")
