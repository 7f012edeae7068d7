"""OpenSSH through proxies whose hosts are drained."""
import hashlib

from cases import cases, long
from process import expect, wait_until
from real_programs import Circle, start_proxies
from ssh import Ssh, shell_through_drains

DRAINS = 5
SIZE = 1 << 30
RATE_KBIT = 320_000  # 27 s for the whole: the drains take place meanwhile


def test_an_interactive_shell_continues_through_five_drains(lab):
    expect(shell_through_drains(lab, ["proxy"], DRAINS) == 1, "another login")


def test_a_shell_behind_a_bastion_continues_when_the_bastions_host_is_drained(lab):
    """The client's connection with the bastion goes through the proxies; inside of it is another
    one, with the target."""
    expect(shell_through_drains(lab, ["-J", "proxy", "direct"], DRAINS) == 2, "another login")


def hash_of(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_random(path):
    with path.open("wb") as file, open("/dev/urandom", "rb") as source:
        for _ in range(SIZE >> 20):
            file.write(source.read(1 << 20))


@long
@cases("get", "put")
def test_sftp_of_a_gibibyte_continues_through_five_drains(lab, command):
    ssh, circle = Ssh(lab), Circle(lab)
    start_proxies(lab)
    source, target = lab.root / "source", lab.root / "target"
    write_random(source)
    sftp = ssh.client("sftp", "-l", RATE_KBIT, "-b", "-", "proxy")
    sftp.stdin.write(f"{command} {source} {target}\n".encode())
    sftp.stdin.close()
    for number in range(1, DRAINS + 1):
        part = number * SIZE // (DRAINS + 1)
        wait_until(lambda: target.exists() and target.stat().st_size >= part, "a part is there")
        circle.drain()
    expect(sftp.running(), "the transfer has ended before the last drain")
    expect(sftp.wait() == 0, sftp.tail)
    expect(hash_of(target) == hash_of(source), "the bytes differ")
    expect(ssh.logins() == 1, f"{ssh.logins()} logins")
