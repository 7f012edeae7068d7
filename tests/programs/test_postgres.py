"""PostgreSQL through proxies whose hosts are drained."""
import re

from cases import long
from postgres import Postgres, Psql
from process import expect
from real_programs import Circle, start_proxies

CLIENTS, SECONDS = 10, 30
ROWS = 200_000
SUM = "SELECT count(*), sum(n) FROM kept"


def test_a_transaction_and_a_temporary_table_continue_through_three_drains(lab):
    server, circle = Postgres(lab), Circle(lab)
    start_proxies(lab)
    session = Psql(server)
    process = session.run("SELECT pg_backend_pid()")
    session.run("CREATE TEMPORARY TABLE kept (n int)")
    session.run("BEGIN")
    session.run("INSERT INTO kept VALUES (1)")
    for number in (2, 3, 4):
        circle.drain()
        expect(session.run("SELECT pg_backend_pid()") == process, "another session")
        session.run(f"INSERT INTO kept VALUES ({number})")
    expect(session.run(SUM) == ["4|10"], "within the transaction")
    session.run("COMMIT")
    circle.drain()
    expect(session.run(SUM) == ["4|10"], "after the transaction")
    expect(session.quit() == 0, "psql reports an error")
    expect(server.connections() == 1, f"{server.connections()} connections")


def test_a_query_continues_while_its_host_is_drained(lab):
    """The answer begins after the drain, and passes during the next one."""
    server, circle = Postgres(lab), Circle(lab)
    start_proxies(lab)
    session = Psql(server)
    session.run("SET statement_timeout = 0")
    session.begin("SELECT pg_sleep(3)")
    circle.drain()
    session.begin(f"SELECT repeat(md5(n::text), 30) FROM generate_series(1, {ROWS}) n")
    circle.drain()
    lines = session.run("SELECT 'end'")
    expect(len(lines) >= ROWS and lines[-1] == "end", f"{len(lines)} lines")
    expect(session.quit() == 0, "psql reports an error")
    expect(server.connections() == 1, f"{server.connections()} connections")


@long
def test_pgbench_aborts_nothing_while_hosts_are_drained(lab):
    server, circle = Postgres(lab), Circle(lab)
    server.direct("pgbench", "-i", "-q", "-s", 2)
    start_proxies(lab)
    before = server.connections()
    bench = server.through("pgbench", "-n", "-T", SECONDS, "-c", CLIENTS, "-P", 1)
    bench.wait_line("progress: 1")
    while not bench.says(f"progress: {SECONDS - 5}"):
        circle.drain(CLIENTS)
    expect(bench.wait() == 0, bench.tail)
    expect(circle.drains >= 3, f"{circle.drains} drains")
    expect(bench.says("number of failed transactions: 0 (0.000%)"), bench.tail)
    expect(not any(re.search("abort|error", line) for line in bench.lines), bench.tail)
    connections = server.connections() - before  # pgbench has one more, which looks for its tables
    expect(connections == CLIENTS + 1, f"{connections} connections")
