"""Programs that were not written for sockmi: with its provider as a module of their
OpenSSL, and nothing else, their SSL objects move.

A preloaded library (tests/preload) continually moves them from one SSL object to another. No
host and no daemon takes part in it.
"""
import hashlib
import re
import subprocess

from cases import cases
from lab import PORT, ROOT
from process import expect, wait_until
from s_client import asks, s_client
from transfer import TLS, random_bytes

BUILD = "release"  # Debian's programs are built without sanitizers
SIZE = 4 << 20


def configuration(lab):
    """Returns the installed configuration, with the module of this build."""
    installed = lab.program("packaging/openssl.cnf").read_text()
    path = lab.folder / "openssl.cnf"
    path.write_text(
        re.sub(
            "^module = .*", f"module = {lab.program('src/lib/sockmi.so')}", installed, flags=re.M
        )
    )
    return path


def hopping(lab, module=True):
    """Returns the command that precedes the program's command; a program that hangs is ended."""
    variables = [f"LD_PRELOAD={lab.program('tests/preload/libhop.so')}"] + (
        [f"OPENSSL_CONF={configuration(lab)}"] if module else []
    )
    return ["timeout", "60", "env", *variables]


def hops(process):
    """Returns, for a program that has ended well, its hops, and how often each errno
    occurred instead."""
    expect(process.wait() == 0, process.tail)
    report = process.wait_line("hop:")
    expect("BROKEN" not in report, report)
    return int(re.search(r"(\d+) hops", report)[1]), {
        name: int(count) for count, name in re.findall(r"(\d+) (E\w+)", report)
    }


def expect_hops(process, refused=True):
    """Checks that there are enough hops, and no other refusal than in the middle of a
    record, if these are allowed."""
    count, errors = hops(process)
    expect(count >= 5, f"{process.name}: {count} hops")
    expect(set(errors) <= ({"EAGAIN"} if refused else set()), f"{process.name}: {errors}")


def serve(lab, connections=1, module=True):
    certificate, key = lab.certificate()
    server = lab.hostA.popen(
        *hopping(lab, module),
        "/usr/bin/python3",
        ROOT / "tests/system/https_server.py",
        lab.hostA.address,
        PORT,
        certificate,
        key,
        lab.root,
        connections,
        name="server",
    )
    server.wait_line("ready")
    return server


def curl(lab, tls, *options, module=True):
    return lab.client.popen(
        *hopping(lab, module),
        "curl",
        "-sS",
        "--fail",
        "--cacert",
        lab.certificate()[0],
        *TLS[tls],
        *options,
        name="curl",
        stdout=subprocess.PIPE,
    )


def url(lab, path):
    return f"https://{lab.hostA.address}:{PORT}/{path}"


def expect_same(sent, received):
    expect(
        hashlib.sha256(sent).digest() == hashlib.sha256(received).digest(),
        f"{len(received)} bytes came of {len(sent)}, or others",
    )


def forget_resets(lab):
    """curl and Python's server end by an RST about once in a hundred times, with the
    module as without it (2 of 200 each), and without any rule of sockmi."""
    lab.client.run("nft", "reset", "counters", "table", "inet", "observe")


@cases("1.2", "1.3")
def test_curl_downloads_while_both_ends_move(lab, tls):
    content = random_bytes(SIZE)
    lab.file("f", content)
    server = serve(lab)
    client = curl(lab, tls, url(lab, "f"))
    expect_same(content, client.stdout.read())
    expect_hops(client)  # its socket does not block: sometimes libssl holds half a record
    expect_hops(server, refused=False)
    forget_resets(lab)


@cases("1.2", "1.3")
def test_curl_uploads_while_both_ends_move(lab, tls):
    content = random_bytes(SIZE)
    path = lab.file("f", content)
    # So that the socket often accepts a record in part.
    lab.client.run("sysctl", "-qw", "net.ipv4.tcp_wmem=4096 16384 32768")
    server = serve(lab)
    client = curl(lab, tls, "-T", path, url(lab, "x"))
    expect(
        client.stdout.read().decode() == hashlib.sha256(content).hexdigest(),
        "the server received something else",
    )
    expect_hops(client)
    expect_hops(server)
    forget_resets(lab)


DOWNLOAD = """
import hashlib, ssl, sys, urllib.request
url, certificate, version = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
print(hashlib.sha256(urllib.request.urlopen(url, context=context).read()).hexdigest())
"""


@cases("1.2", "1.3")
def test_python_downloads_while_both_ends_move(lab, tls):
    content = random_bytes(SIZE)
    lab.file("f", content)
    server = serve(lab)
    client = lab.client.popen(
        *hopping(lab),
        "/usr/bin/python3",
        "-c",
        DOWNLOAD,
        url(lab, "f"),
        lab.certificate()[0],
        f"TLSv{tls.replace('.', '_')}",
        name="python",
    )
    expect_hops(client)
    expect_hops(server)
    client.wait_line(hashlib.sha256(content).hexdigest())


@cases("1.2", "1.3")
def test_s_client_and_s_server_talk_while_both_ends_move(lab, tls):
    certificate, key = lab.certificate()
    version = f"-tls{tls.replace('.', '_')}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = lab.hostA.popen(
        *hopping(lab),
        "openssl",
        "s_server",
        "-accept",
        f"{lab.hostA.address}:{PORT}",
        "-naccept",
        "1",
        "-cert",
        certificate,
        "-key",
        key,
        "-quiet",
        version,
        name="s_server",
        **pipes,
    )
    wait_until(lambda: f":{PORT}" in lab.hostA.run("ss", "-Hltn"), "s_server listens")
    client = lab.client.popen(
        *hopping(lab),
        "openssl",
        "s_client",
        "-quiet",
        "-no_ign_eof",
        "-CAfile",
        certificate,
        "-connect",
        f"{lab.hostA.address}:{PORT}",
        version,
        name="s_client",
        **pipes,
    )
    for text in [f"{i} ".encode() * (1 + 97 * i) for i in range(40)]:
        for source, target in ((client, server), (server, client)):
            source.stdin.write(text)
            source.stdin.flush()
            expect_same(text, target.stdout.read(len(text)))
    client.stdin.close()
    expect_hops(client)
    expect_hops(server)


def test_without_the_module_nothing_moves_and_nothing_breaks(lab):
    content = random_bytes(SIZE)
    lab.file("f", content)
    server = serve(lab, module=False)
    client = curl(lab, "1.3", url(lab, "f"), module=False)
    expect_same(content, client.stdout.read())
    for process in (client, server):
        count, refused = hops(process)
        expect(
            count == 0 and refused.get("ENOKEY", 0) >= 5, f"{process.name}: {count} hops, {refused}"
        )
    forget_resets(lab)


def test_the_module_works_with_an_application_that_calls_enable(lab):
    """The application itself calls sockmi_enable()."""
    lab.file("g", b"hello\n")
    for host in (lab.hostA, lab.hostB):
        lab.start_daemon(host)
        lab.start_httpsd(host, wrap=["env", f"OPENSSL_CONF={configuration(lab)}"])
    session = s_client(lab)
    for source, target in [(lab.hostA, lab.hostB), (lab.hostB, lab.hostA)]:
        asks(session, "hello")
        lab.move(source, target)
    session.stdin.close()


def test_the_installed_configuration_finds_the_module(lab):
    """The configuration names the module's real place, and the module finds its library
    from there."""
    lab.client.run("env", f"DESTDIR={lab.folder}", "cmake", "--install", lab.build)
    [installed] = lab.folder.glob("**/sockmi/openssl.cnf")
    path = lab.folder / "openssl.cnf"
    path.write_text(
        re.sub("^module = ", f"module = {lab.folder}", installed.read_text(), flags=re.M)
    )
    listed = lab.client.run("env", f"OPENSSL_CONF={path}", "openssl", "list", "-providers")
    expect(re.search(r"^  sockmi\n.*\n.*\n    status: active", listed, re.M), listed)
