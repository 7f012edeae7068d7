"""PostgreSQL: a server on the host `client`, which runs as nobody, and its clients."""
import pathlib
import subprocess

from counterparts import wait_listening
from lab import PORT
from process import run
from real_programs import BACKEND_PORT, NOBODY, program, require_users

DATABASE = "postgres"


def server_program(name):
    """Debian has a folder for each version."""
    folders = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    return program(name, str(folders[-1]) if folders else "")


class Postgres:
    def __init__(self, lab):
        initdb, postgres = server_program("initdb"), server_program("postgres")
        require_users()
        self._lab, folder = lab, lab.folder / "postgres"
        folder.mkdir()
        folder.chmod(0o777)
        data = folder / "data"
        run([*NOBODY, initdb, "--no-sync", "-A", "trust", "-U", "postgres", "-D", str(data)])
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all trust\n")
        self.server = lab.client.popen(
            *NOBODY,
            *(postgres, "-D", data, "-h", lab.client.address, "-p", BACKEND_PORT, "-k", folder),
            *("-c", "log_connections=on", "-c", "log_disconnections=on", "-c", "fsync=off"),
            name="postgres",
        )
        wait_listening(lab.client, BACKEND_PORT)
        self.server.wait_line("ready to accept connections")

    def direct(self, name, *arguments):
        """Runs a program of PostgreSQL that connects with the server itself."""
        to = ["-h", self._lab.client.address, "-p", BACKEND_PORT, "-U", "postgres"]
        return self._lab.client.run(program(name), *to, *arguments, DATABASE)

    def through(self, name, *arguments):
        """Starts a program of PostgreSQL that connects with a proxy."""
        to = ["-h", self._lab.hostA.address, "-p", PORT, "-U", "postgres"]
        return self._lab.client.popen(
            program(name), *to, *arguments, DATABASE, stdin=subprocess.PIPE
        )

    def connections(self):
        """Returns how many clients have logged in."""
        return sum("connection authorized" in line for line in self.server.lines)


class Psql:
    """A session with psql."""

    def __init__(self, server):
        self._psql = server.through("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1")

    def run(self, statement):
        """Returns what a statement prints."""
        before = len(self._psql.lines)
        self._psql.stdin.write(f"{statement};\n\\echo done\n".encode())
        self._psql.stdin.flush()
        self._psql.wait_line("done", after=before)
        return self._psql.lines[before:-1]

    def begin(self, statement):
        """Begins a statement that takes long."""
        self._psql.stdin.write(f"{statement};\n".encode())
        self._psql.stdin.flush()

    def quit(self):
        """Returns psql's exit status."""
        self._psql.stdin.close()
        return self._psql.wait()
