"""Runs code of the test itself in a host's network namespace. A socket stays in the
namespace where it was created."""
import ctypes
import os
import threading

_CLONE_NEWNET = 0x40000000


def within(host, function):
    """Returns what `function` returns, or raises what it raises, in the host's network
    namespace."""
    return within_named(host.name, function)


def within_named(name, function):
    """A thread may enter a namespace without the others."""
    outcome = []

    def enter_and_call():
        try:
            with open(f"/run/netns/{name}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            outcome.append((function(), None))
        except OSError as error:
            outcome.append((None, error))

    thread = threading.Thread(target=enter_and_call)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error:
        raise error
    return result


def sysctl(name, values):
    """Sets kernel parameters below net.* in the namespace of this name."""

    def write():
        for key, value in values.items():
            with open("/proc/sys/" + key.replace(".", "/"), "w", encoding="ascii") as file:
                file.write(str(value))

    within_named(name, write)
