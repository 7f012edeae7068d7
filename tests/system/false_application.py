"""An application that answers orders to export, and exports nothing. It holds a connection of its
own, if it gets an address to listen at.

    false_application.py SOCKET SERVICE BEHAVIOUR [ADDRESS PORT]
"""
import contextlib
import json
import re
import socket
import sys
import time

MOST = 2**32 - 1
ORDER = re.compile(rb"event: export\ndata: (\{.*\})\n")
# The answers to one order: what is added to its number, and what it says.
ANSWERS = {
    "has-nothing": [(0, 0, 0)],
    "claims": [(0, 0, 1)],
    "says-it-exported": [(0, 1, 0)],
    "says-too-much": [(0, MOST, MOST)],
    "answers-others": [(1, 1, 0), (-1, 0, 1), (0, 0, 0), (0, 1, 0)],
    "is-silent": [],
    "comes-and-goes": [(0, 0, 0)],
}
ABSENCE = 0.3  # seconds: longer than between two looks of the drain


def say(text):
    print(text, flush=True)


class Application:
    def __init__(self, path, service, behaviour):
        self._path, self._service, self._behaviour = path, service, behaviour

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._path)
        return connection

    def _answer(self, request, exported, failed):
        query = f"request={request}&exported={exported}&failed={failed}"
        with contextlib.closing(self._connect()) as connection:
            connection.sendall(
                f"POST /v1/requests/done?{query} HTTP/1.1\r\nHost: sockmid\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            say(f"answered {connection.recv(4096).split()[1].decode()}")

    def _obey(self, order):
        say("ordered")
        for number, exported, failed in ANSWERS[self._behaviour]:
            self._answer((order["request"] + number) % 2**64, exported, failed)

    def run(self):
        while True:
            with contextlib.closing(self._connect()) as events:
                events.sendall(
                    f"GET /v1/events?service={self._service} HTTP/1.1\r\n"
                    "Host: sockmid\r\n\r\n".encode()
                )
                self._serve(events)
            time.sleep(ABSENCE)

    def _serve(self, events):
        text = b""
        while piece := events.recv(65536):
            if not text:
                say("registered")
            text += piece
            orders = list(ORDER.finditer(text))
            for order in orders:
                self._obey(json.loads(order[1]))
            text = text[orders[-1].end() :] if orders else text
            if orders and self._behaviour == "comes-and-goes":
                return


def main(path, service, behaviour, *address):
    held = []
    if address:
        listener = socket.create_server((address[0], int(address[1])))
        say("listening")
        held.append(listener.accept())
        listener.close()
    Application(path, service, behaviour).run()


main(*sys.argv[1:])
