"""OpenSSH: a server on the host `client`, and the options of clients that reach it by the proxies
or at its own address."""
import re
import subprocess

from lab import PORT
from process import expect, run
from real_programs import BACKEND_PORT, Circle, program, require_users, start_proxies

# An idle client asks every second, and gives up if the answer takes three.
OPTIONS = """
Host *
  User root
  IdentityFile {folder}/user
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking yes
  ServerAliveInterval 1
  ServerAliveCountMax 3
Host proxy
  HostName {proxy}
  Port {port}
Host direct
  HostName {direct}
  Port {backend_port}
"""

SERVER = """
Port {backend_port}
ListenAddress {direct}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""


class Ssh:
    """The names of the server for clients: `proxy` and `direct`."""

    def __init__(self, lab):
        sshd = program("sshd")
        require_users()
        self._lab, self._folder = lab, lab.folder / "ssh"
        self._folder.mkdir()
        for name in ("host", "user"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)])
        values = {
            "folder": self._folder,
            "proxy": lab.hostA.address,
            "port": PORT,
            "direct": lab.client.address,
            "backend_port": BACKEND_PORT,
        }
        self._config = self._write("ssh_config", OPTIONS.format(**values))
        key = (self._folder / "host.pub").read_text().rpartition(" ")[0]
        self._write(
            "known_hosts",
            "".join(
                f"[{address}]:{at} {key}\n"
                for address, at in ((values["proxy"], PORT), (values["direct"], BACKEND_PORT))
            ),
        )
        run(["mkdir", "-p", "/run/sshd"])  # of its unprivileged children
        config = self._write("sshd_config", SERVER.format(**values))
        self.server = lab.client.popen(sshd, "-D", "-e", "-f", config)
        self.server.wait_line("Server listening")

    def _write(self, name, text):
        path = self._folder / name
        path.write_text(text)
        return path

    def client(self, name, *arguments):
        """Starts ssh or sftp."""
        return self._lab.client.popen(
            program(name), "-F", self._config, *arguments, stdin=subprocess.PIPE
        )

    def logins(self):
        return sum("Accepted publickey" in line for line in self.server.lines)


class Shell:
    """An interactive shell with a terminal."""

    def __init__(self, ssh, *arguments):
        self._ssh, self._asked = ssh.client("ssh", "-tt", *arguments), 0

    def type(self, line):
        self._ssh.stdin.write(line.encode() + b"\n")
        self._ssh.stdin.flush()

    def ask(self, command):
        """Returns what a command prints, without the terminal's echo of the command."""
        self._asked += 1
        self.type(f"printf 'answer-%s=%s.\\n' {self._asked} \"$({command})\"")
        line = self._ssh.wait_line(f"answer-{self._asked}=")
        return re.search(r"answer-\d+=(.*)\.", line)[1]

    def begin_counting(self):
        """A job of the shell prints numbers from now on."""
        self.type('(i=0; while sleep 0.02; do i=$((i+1)); echo "tick $i."; done) &')
        self.wait_count(1)

    def wait_count(self, number):
        self._ssh.wait_line(f"tick {number}.")

    def counted(self):
        return [int(each) for line in self._ssh.lines for each in re.findall(r"tick (\d+)\.", line)]

    def exit(self, status):
        """Returns the exit status of ssh."""
        self.type(f"kill $!; exit {status}")
        return self._ssh.wait()


def shell_through_drains(lab, arguments, drains):
    """Uses an interactive shell, which also prints something all the time, between drains. Returns
    how many logins the server has seen."""
    ssh, circle, question = Ssh(lab), Circle(lab), "echo $$ $PPID $secret $(tty)"
    start_proxies(lab)
    shell = Shell(ssh, *arguments)
    shell.type("secret=of-this-shell")
    answer = shell.ask(question)
    expect("of-this-shell /dev/pts/" in answer, answer)
    shell.begin_counting()
    for _ in range(drains):
        circle.drain()
        expect(shell.ask(question) == answer, "another shell")
    expect(shell.exit(42) == 42, "the exit status is another")
    counted = shell.counted()
    expect(counted == list(range(1, len(counted) + 1)), f"{len(counted)} lines, not in order")
    return ssh.logins()
