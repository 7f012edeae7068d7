# Everything goes to build/; the demo's picture to demo-out/.

# $(call BUILD_RELEASE,TARGET): the targets are in CMakeLists.txt.
BUILD_RELEASE = tools/build release $(1) -DSOCKMI_UNITY=ON -DSOCKMI_UNIT_TESTS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX)
BUILD_SANITIZE = tools/build sanitize all -DSOCKMI_UNITY=ON -DSOCKMI_SANITIZE=ON -DSOCKMI_BENCH=OFF

help:
	@echo "make demo      moves live HTTPS transfers, and drains hosts (network namespaces)"
	@echo "make test      runs all tests, with address and undefined sanitizers"
	@echo "make test-system  runs the system tests alone; K=test_three_hops: those that pytest -k selects"
	@echo "make test-programs  drains hosts with sockmi-proxy between real programs; K as above (root)"
	@echo "make test-openssl35  tests TLS with OpenSSL 3.5, in a Debian 13 that it makes in build/ (root)"
	@echo "make walks     moves connections at random until they end in a move: WALKS=5000 (root)"
	@echo "make fuzz      looks for inputs that break the readers: SECONDS=60 each, TARGET=all of tests/fuzz"
	@echo "make format    rewrites C, C++ and Python files as their formatters do"
	@echo "make tidy      runs clang-tidy over src/"
	@echo "make bench     prints figures as a table, and writes them to build/bench.json"
	@echo "make build     builds programs, libraries and examples in build/release"
	@echo "make build-sanitize  builds programs and tests with sanitizers in build/sanitize"
	@echo "make images    writes known-answer TLS images: GENERATION=name of a new folder"
	@echo "make install   builds and installs (DESTDIR, PREFIX)"
	@echo "make clean     removes build/ and demo-out/"

deps:
	@packaging/install-dependencies

PREFIX ?= /usr/local

build: deps
	@$(call BUILD_RELEASE,programs)

build-sanitize: deps
	@$(BUILD_SANITIZE)

# What the tests need of the release build.
build-tested: deps
	@$(call BUILD_RELEASE,tested)

demo: deps
	@$(call BUILD_RELEASE,demo)
	@/usr/bin/python3 demo/demo.py

test: build-tested build-sanitize
	@/usr/bin/python3 tests/run.py

test-system: build-tested build-sanitize
	@LAB_BUILD=build/sanitize /usr/bin/python3 -m pytest $(if $(K),-k "$(K)")

# Programs of other projects, whose packages it installs; the release build serves them.
test-programs: build-tested
	@packaging/install-dependencies packaging/programs-packages.txt
	@/usr/bin/python3 -m pytest tests/programs $(if $(K),-k "$(K)")

test-openssl35: build-sanitize
	@/usr/bin/python3 tests/compat/run.py

# Moves whose connections end in them, far more than in `make test`.
walks: build-tested
	@WALKS=$(or $(WALKS),5000) /usr/bin/python3 -m pytest tests/system/test_walks.py

SECONDS ?= 60
fuzz: build-sanitize
	@/usr/bin/python3 tests/fuzz/run.py --seconds $(SECONDS) $(TARGET)

# Adds known-answer images of today's build to those of earlier ones; see docs/image-format.md.
images: build-sanitize
	@build/sanitize/tests/golden/make_images tests/golden/images/$(GENERATION)

bench: deps
	@$(call BUILD_RELEASE,benchmarks)
	@/usr/bin/python3 bench/bench.py

# As .clang-format and pyproject.toml say; both checks are part of the tests.
format:
	@tools/check-format --fix
	@tools/check-python --fix

# As .clang-tidy says. It takes minutes on two cores, and is not part of the tests.
tidy: deps
	@packaging/install-dependencies packaging/tidy-packages.txt
	@$(call BUILD_RELEASE,schemas)
	@tools/tidy $(PARTS)

install: build
	@DESTDIR=$(DESTDIR) cmake --install build/release

clean:
	rm -rf build demo-out

.PHONY: help deps build build-sanitize build-tested demo test test-system test-programs test-openssl35 walks fuzz images bench format tidy install clean
