#!/usr/bin/python3
"""Installs a build into a folder, and compiles C11 and C++11 programs against the headers and
libraries that are there, without a warning. Then it runs them. The C code of README.md and of
the man pages' EXAMPLES must compile as well.

run.py [BUILD]   a whole build without sanitizers (default: build/release)

The last line is "N passed, N failed".
"""
import functools
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WARNINGS = ["-Wall", "-Wextra", "-pedantic", "-Werror"]
COMPILERS = {"C11": ["cc", "-std=c11", "-x", "c"], "C++11": ["c++", "-std=c++11", "-x", "c++"]}
# Source, the header that it uses, and the pkg-config packages that it is built with, one at a time.
PROGRAMS = [
    ("sockets.c", "sockmi.h", ["sockmi", "appsockmi"]),
    ("ssl.c", "appsockmi.h", ["appsockmi"]),
]
INCLUDES = "".join(
    f"#include <{name}>\n"
    for name in ("arpa/inet.h", "stdio.h", "stdlib.h", "unistd.h", "sockmi/appsockmi.h")
)


class Failed(Exception):
    pass


def run(*command, **environment):
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


class Installation:
    """What `cmake --install` makes of a build."""

    def __init__(self, build, folder):
        run("cmake", "--install", str(build), DESTDIR=str(folder))
        self.folder = folder
        self.packages = next(folder.rglob("sockmi.pc")).parent
        self.include = next(folder.rglob("sockmi.h")).parent

    def flags(self, *query):
        return run(
            "pkg-config",
            *query,
            PKG_CONFIG_PATH=str(self.packages),
            PKG_CONFIG_SYSROOT_DIR=str(self.folder),
        ).split()

    def compile(self, language, text, package):
        """Compiles the text, but links nothing."""
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "source"
            source.write_text(text, encoding="utf-8")
            run(
                *COMPILERS[language],
                *WARNINGS,
                "-fsyntax-only",
                *self.flags("--cflags", package),
                str(source),
            )

    def run_program(self, language, name, package):
        with tempfile.TemporaryDirectory() as folder:
            program = f"{folder}/program"
            run(
                *COMPILERS[language],
                *WARNINGS,
                *self.flags("--cflags", package),
                str(HERE / name),
                "-x",
                "none",
                "-o",
                program,
                *self.flags("--libs", package),
            )
            run(
                program,
                LD_LIBRARY_PATH=str(self.packages.parent),
                SOCKMID_SOCKET=f"{folder}/no-daemon",
            )

    def functions(self, header):
        return re.findall(
            r"^SOCKMI_API [^(;]*?(\w+)\(", (self.include / header).read_text("utf-8"), re.MULTILINE
        )


def check_complete(installation, name, header):
    """Every function of the header is used."""
    text = "".join((HERE / each).read_text(encoding="utf-8") for each in (name, "expect.h"))
    functions = installation.functions(header)
    missing = [each for each in functions if not re.search(rf"\b{each}\(", text)]
    if missing or not functions:
        raise Failed(f"{name} does not use {missing or 'anything'} of {header}")


def example_of_readme():
    [text] = re.findall(
        r"^```c$(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return text


def examples_of_page(page):
    [section] = re.findall(
        r"^\.Sh EXAMPLES$(.*?)^\.Sh ", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    blocks = re.findall(r"^\.Bd -literal[^\n]*$(.*?)^\.Ed$", section, re.MULTILINE | re.DOTALL)
    return INCLUDES + "\n".join(blocks).replace("\\e", "\\")


def cases(installation):
    """(name, function) of each test."""
    for language in COMPILERS:
        for header in sorted(path.name for path in installation.include.iterdir()):
            yield f"{header} alone as {language}", functools.partial(
                installation.compile,
                language,
                f"#include <sockmi/{header}>\nint main(void) {{ return 0; }}\n",
                "appsockmi",
            )
        for name, _, packages in PROGRAMS:
            for package in packages:
                yield f"{name} as {language} with {package}", functools.partial(
                    installation.run_program, language, name, package
                )
    for name, header, _ in PROGRAMS:
        yield f"{name} is complete", functools.partial(check_complete, installation, name, header)
    yield "example of README.md", functools.partial(
        installation.compile, "C11", example_of_readme(), "appsockmi"
    )
    for page in sorted((ROOT / "man").glob("*.3")):
        yield f"example of {page.name}", functools.partial(
            installation.compile, "C11", examples_of_page(page), "appsockmi"
        )


def main():
    build = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/release"
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="installed.", dir=build) as folder:
        for name, test in cases(Installation(build, pathlib.Path(folder))):
            try:
                test()
                passed += 1
            except Failed as why:
                failed += 1
                print(f"FAILED headers: {name}\n{why}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
