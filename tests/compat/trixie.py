"""A Debian 13 in build/trixie, whose OpenSSL is 3.5: made once by debootstrap(8), entered by
chroot(8).

What is mounted for it is mounted in a mount namespace that ends with the program, however the
program ends. So nothing stays mounted below build/.
"""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "build" / "trixie"
_TREE = HERE / "sockmi"  # where the project is mounted inside
_STAMP = HERE / ".complete"  # written last: the packages that were installed
_LOG = ROOT / "build" / "trixie.log"
_FOLDER = pathlib.Path(__file__).resolve().parent
_OF_ITS_OWN = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class NotPossible(Exception):
    """The reason why no Debian 13 is available here."""


def _packages():
    return [
        line
        for line in (_FOLDER / "trixie-packages.txt").read_text().split("\n")
        if line and not line.startswith("#")
    ]


def _mirror():
    """Returns the mirror from which this machine's own apt gets Debian."""
    if not shutil.which("apt-get"):
        raise NotPossible("no apt here that could name a mirror of Debian")
    targets = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)",
            "Created-By: Packages",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    for target in targets.splitlines():
        if target.startswith("Debian Debian main "):
            return target.split(" ", 3)[3]
    raise NotPossible("this machine's apt knows no mirror of Debian")


def _install_debootstrap():
    installed = subprocess.run(
        [ROOT / "packaging/install-dependencies", _FOLDER / "host-packages.txt"], check=False
    )
    if installed.returncode != 0 or not shutil.which("debootstrap"):
        raise NotPossible("debootstrap can't be installed")


def provide():
    """Makes the Debian 13, unless it exists and is complete."""
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
        made = subprocess.run(
            [
                *_OF_ITS_OWN,
                "debootstrap",
                "--variant=minbase",
                f"--include={packages}",
                "trixie",
                HERE,
                mirror,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
        )
    if made.returncode != 0:
        print(*_LOG.read_text().splitlines()[-5:], sep="\n", file=sys.stderr)
        raise NotPossible(f"debootstrap failed, see {_LOG}")
    _TREE.mkdir()
    _STAMP.write_text(packages)


def mount():
    """Mounts the project, /proc, /dev and /tmp inside, in a mount namespace of the caller."""
    for source, target in [(ROOT, _TREE), ("/dev", HERE / "dev"), ("/tmp", HERE / "tmp")]:
        subprocess.run(["mount", "--bind", source, target], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", HERE / "proc"], check=True)


def command(*arguments):
    """Returns the command that runs `arguments` inside, in the project's folder."""
    return [
        "chroot",
        HERE,
        "/usr/bin/env",
        "--chdir=/sockmi",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        *map(str, arguments),
    ]
