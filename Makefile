# make demo | test | test-system | test-openssl35 | walks | fuzz | images | bench | format | build | deps | install | clean
# Everything goes to build/; the demo's picture to demo-out/.

JOBS := $(shell nproc)
CMAKE_BUILD = cmake -G Ninja -S . -B build/$(1) -DCMAKE_BUILD_TYPE=$(2) -DSOCKMI_UNITY=ON $(3) >build/$(1).log && cmake --build build/$(1) -j$(JOBS)

help:
	@echo "make demo      a live HTTPS transfer moves between hosts (network namespaces; installs what it needs)"
	@echo "make test      all tests, with address and undefined sanitizers"
	@echo "make test-system  the system tests alone; K=test_three_hops: those that pytest -k selects"
	@echo "make test-openssl35  the TLS part with OpenSSL 3.5, in a Debian 13 that is made in build/ (root)"
	@echo "make walks     connections walk over hosts and end in a move: WALKS=5000 (root)"
	@echo "make fuzz      looks for inputs that break the readers: SECONDS=60 each, TARGET=all of tests/fuzz"
	@echo "make format    rewrites C and C++ files as .clang-format says"
	@echo "make bench     figures, as a table and in build/bench.json"
	@echo "make build     the programs and libraries, in build/release"
	@echo "make install   installs them (DESTDIR, PREFIX)"

deps:
	@packaging/install-dependencies

PREFIX ?= /usr/local

build: deps
	@mkdir -p build && $(call CMAKE_BUILD,release,RelWithDebInfo,-DSOCKMI_UNIT_TESTS=OFF -DCMAKE_INSTALL_PREFIX=$(PREFIX))

build-sanitize: deps
	@mkdir -p build && $(call CMAKE_BUILD,sanitize,RelWithDebInfo,-DSOCKMI_SANITIZE=ON -DSOCKMI_BENCH=OFF)

demo: build
	@/usr/bin/python3 demo/demo.py

test: build build-sanitize
	@/usr/bin/python3 tests/run.py

test-system: build build-sanitize
	@LAB_BUILD=build/sanitize /usr/bin/python3 -m pytest $(if $(K),-k "$(K)")

test-openssl35: build-sanitize
	@/usr/bin/python3 tests/compat/run.py

# Moves whose connections end in them, far more than in `make test`.
walks: build
	@WALKS=$(or $(WALKS),5000) /usr/bin/python3 -m pytest tests/system/test_walks.py

SECONDS ?= 60
fuzz: build-sanitize
	@/usr/bin/python3 tests/fuzz/run.py --seconds $(SECONDS) $(TARGET)

# Known-answer images of today's build, beside those of earlier ones; see docs/image-format.md.
images: build-sanitize
	@build/sanitize/tests/golden/make_images tests/golden/images/$(GENERATION)

bench: build
	@/usr/bin/python3 bench/bench.py

# As .clang-format says; tools/check-format is part of the tests.
format:
	@tools/check-format --fix

install: build
	@DESTDIR=$(DESTDIR) cmake --install build/release

clean:
	rm -rf build demo-out

.PHONY: help deps build build-sanitize demo test test-system test-openssl35 walks fuzz images bench format install clean
