"""What the tests of real programs share: the programs themselves, proxies on all hosts, and drains
that chase their relays from host to host."""
import importlib.util
import os
import shutil

import pytest

from lab import PORT
from process import expect
from proxy_moves import start_host
from sandbox import one_user
from test_drain import drain_to_end, moved

BACKEND_PORT = 9001
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def program(name, folder=""):
    """Returns the path of another project's program. The test is skipped without it."""
    path = shutil.which(name, path=f"{folder}:{os.environ['PATH']}:/usr/sbin")
    if not path:
        pytest.skip(f"{name} is not installed: see packaging/programs-packages.txt")
    return path


def require_module(name, package):
    """The test is skipped without this module of Python."""
    if not importlib.util.find_spec(name):
        pytest.skip(f"{package} is not installed: see packaging/programs-packages.txt")


def require_users():
    """The test is skipped where programs cannot change their user."""
    if one_user():
        pytest.skip("the sandbox has one user: the test needs root")


class Backend:
    """The address of a program on the host `client`, as proxies want it."""

    def __init__(self, lab, port=BACKEND_PORT):
        self.address = (lab.client.address, port)


def start_proxies(lab, tls=False, alpn=(), **options):
    """Starts a daemon and a proxy on each host. All of them relay to one backend."""
    if tls:
        chain, key = lab.certificate()
        options["listener"] = {"tls": "terminate", **options.get("listener", {})}
        options["listener__in__certificate__a"] = {"chain": chain, "key": key}
    if alpn:
        options["service"] = {"alpn": list(alpn)}
    return [
        start_host(lab, host, Backend(lab), listen=[f"{host.address}:{PORT}"], **options)
        for host in lab.hosts
    ]


class Circle:
    """Drains the host where the relays are into the next one: hostA, hostB, hostC, hostA, …"""

    def __init__(self, lab):
        self._hosts, self._sockmictl, self.drains = lab.hosts, lab.sockmictl, 0

    def drain(self, relays=1):
        """Checks that all relays go."""
        source, target = (self._hosts[(self.drains + step) % len(self._hosts)] for step in range(2))
        drain_to_end(source, "--to", target.name)
        counts = moved(source)
        expect(counts == {target.name: 2 * relays}, f"{source.name}: {counts}, {relays} relays")
        source.run(self._sockmictl, "undrain")
        self.drains += 1
