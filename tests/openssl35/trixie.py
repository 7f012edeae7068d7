"""A Debian 13 in build/trixie, whose OpenSSL is 3.5: made once by debootstrap(8), entered by chroot(8).

Whatever is mounted for it is mounted in a mount namespace that ends with the program, however it ends: nothing is left mounted below build/.
"""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "build" / "trixie"
_TREE = HERE / "sockmi"         # where the project is seen inside
_STAMP = HERE / ".complete"     # made last: the packages that were installed
_LOG = ROOT / "build" / "trixie.log"
_FOLDER = pathlib.Path(__file__).resolve().parent
_OF_ITS_OWN = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class NotPossible(Exception):
    """Why there is no Debian 13 to be had here."""


def _packages():
    return [line for line in (_FOLDER / "trixie-packages.txt").read_text().split("\n") if line and not line.startswith("#")]


def _mirror():
    """The one that this machine's own apt takes Debian from."""
    if not shutil.which("apt-get"):
        raise NotPossible("no apt here that could name a mirror of Debian")
    targets = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    for target in targets.splitlines():
        if target.startswith("Debian Debian main "):
            return target.split(" ", 3)[3]
    raise NotPossible("this machine's apt knows no mirror of Debian")


def _install_debootstrap():
    installed = subprocess.run([ROOT / "packaging/install-dependencies", _FOLDER / "host-packages.txt"], check=False)
    if installed.returncode != 0 or not shutil.which("debootstrap"):
        raise NotPossible("debootstrap can't be installed")


def provide():
    """Makes it, unless it is there already and complete."""
    if os.geteuid() != 0:
        raise NotPossible("making and entering a Debian 13 takes root")
    packages = ",".join(_packages())
    if _STAMP.exists() and _STAMP.read_text() == packages:
        return
    mirror = _mirror()
    _install_debootstrap()
    subprocess.run(["rm", "-rf", "--one-file-system", HERE], check=True)
    HERE.mkdir(parents=True)
    print(f"making a Debian 13 in {HERE} (once; some minutes)", flush=True)
    with open(_LOG, "w") as log:
        made = subprocess.run([*_OF_ITS_OWN, "debootstrap", "--variant=minbase", f"--include={packages}", "trixie", HERE, mirror],
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
    if made.returncode != 0:
        print(*_LOG.read_text().splitlines()[-5:], sep="\n", file=sys.stderr)
        raise NotPossible(f"debootstrap failed, see {_LOG}")
    _TREE.mkdir()
    _STAMP.write_text(packages)


def mount():
    """Inside a mount namespace of the caller's own: the project, /proc, /dev and /tmp are seen inside."""
    for source, target in [(ROOT, _TREE), ("/dev", HERE / "dev"), ("/tmp", HERE / "tmp")]:
        subprocess.run(["mount", "--bind", source, target], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", HERE / "proc"], check=True)


def command(*arguments):
    """What runs `arguments` inside, in the project's folder."""
    return ["chroot", HERE, "/usr/bin/env", "--chdir=/sockmi", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *map(str, arguments)]
