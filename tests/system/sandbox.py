"""A sandbox for the lab: everything that is made inside ends with the program, however
the program ends.

The program runs again under unshare(1) in its own network, mount and process namespaces,
and without root in its own user namespace too. The process namespace ensures the cleanup:
when its first process ends, the kernel kills all others in it, and network namespaces,
tables, rules and mounts end with the last of them.
"""
import os
import shlex
import subprocess
import sys

NOT_POSSIBLE = 77  # exit code: nothing was tested
_INSIDE = "SOCKMI_LAB_SANDBOX"


def unshare_command():
    command = [
        "unshare",
        "--net",
        "--mount",
        "--ipc",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    return command if os.geteuid() == 0 else command + ["--user", "--map-root-user"]


def workers(count):
    """Returns the option tx of pytest-xdist for `count` workers, each in a sandbox that ends with
    the program that starts them."""
    os.environ[_INSIDE] = "1"  # the process number inside
    command = ["setpriv", "--pdeathsig", "KILL", "--", *unshare_command(), "--", sys.executable]
    return [f"popen//python={shlex.join(command)}"] * count


def inside():
    return os.environ.get(_INSIDE) == str(os.getpid())


def require():
    """Exits with NOT_POSSIBLE, and says why, where a sandbox can not be made."""
    command = unshare_command()
    trial = subprocess.run([*command, "true"], capture_output=True, text=True)
    if trial.returncode != 0:
        why = (
            "user namespaces are not allowed here, and this is not root"
            if os.geteuid() != 0
            else "namespaces are not allowed here"
        )
        print(
            f"SKIPPED: the lab needs namespaces of its own: {why}.\n"
            f"  {' '.join(command)}: {trial.stderr.strip()}\n"
            "  Run it as root (sudo), or allow user namespaces.",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(NOT_POSSIBLE)


def enter(*program):
    """Returns inside the sandbox: as root, with a network of its own, an empty /run, as
    process 1. `program`: the arguments of Python there (default: those of this program)."""
    if inside():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "lab", "/run"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    require()
    command = unshare_command()
    os.environ[_INSIDE] = "1"  # the process number inside
    os.execvp(command[0], [*command, "--", sys.executable, *(program or sys.argv)])


def one_user():
    """Returns whether there is no user but root, as in a sandbox that was made without root."""
    with open("/proc/self/uid_map", encoding="utf-8") as users:
        return users.read().split()[2] == "1"


def without_privilege(user=None):
    """Returns a command that runs another one as nobody, or as another user without
    privilege, or, if there is only one user, as one without any capability."""
    if one_user():
        return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    return [
        "setpriv",
        f"--reuid={user or 65534}",
        f"--regid={user or 65534}",
        "--clear-groups",
        "--inh-caps=-all",
        "--no-new-privs",
    ]
