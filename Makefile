# What a newcomer needs: `make lab` for a running cloud, `make test` for all tests. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help prerequisites build page images lab lab-down test check unit unit-beside-images reproducible router beside-each-other schedules shapes scenarios soak bench bench-router bench-console openapi

# Where rustup puts cargo, for the first time that it is there.
export PATH := $(HOME)/.cargo/bin:$(PATH)

LAB := target/debug/podzol-lab
IMAGE := target/debug/podzol-image
CACHE := target/images/cache
COMPILED := $(CACHE)/init-target/x86_64-unknown-linux-gnu
PROXY_OF_TEMPLATE := $(COMPILED)/proxy/podzol-console-proxy

VIEWER := console-proxy/viewer
# Put into the console proxy's program when that is compiled.
PAGE := $(VIEWER)/dist/index.html

help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

prerequisites: ## Installs what is missing on this machine (root)
	@tests/lab/prerequisites

page: prerequisites $(PAGE) ## Builds the page on which browsers show consoles

$(PAGE): $(VIEWER)/package-lock.json $(VIEWER)/build.mjs $(shell find $(VIEWER)/src -type f 2> /dev/null)
	cd $(VIEWER) && npm ci --ignore-scripts --no-audit --no-fund && npm run build

build: page ## Builds all programs
	cargo build --locked --workspace --bins

# Images are made beside the build of the programs, whose large crates leave a processor idle.
images: page ## Builds templates, the image of the lab's servers, and the Debian packages
	cargo build --locked --workspace --bin podzol-image
	mkdir -p target/images; echo "making images beside the build, see target/images/log"; \
		for image in lab-host tiny router console-proxy; do \
			$(IMAGE) build $$image --out target/images/$$image --cache $(CACHE) || exit; \
		done > target/images/log 2>&1 & images=$$!; \
		trap "pkill -P $$images || true; kill $$images 2> /dev/null || true" EXIT; \
		cargo build --locked --workspace --bins; \
		wait $$images || { cat target/images/log; exit 1; }; \
		trap - EXIT; cat target/images/log
	$(IMAGE) build debs --bin-dir target/debug --out target/images/debs --cache $(CACHE)

lab: images ## Brings up a cloud on this machine: three emulated servers, two customers
	$(LAB) up

lab-down: ## Removes all that the lab made
	@if [ ! -x $(LAB) ] && ! ip netns list 2> /dev/null | grep -q '^pzlab-'; then echo "there is no lab: nothing was built"; exit; fi; \
		[ -x $(LAB) ] || cargo build --locked --workspace --bin podzol-lab; \
		$(LAB) down

test: check unit-beside-images reproducible beside-each-other ## Runs all tests, the lab's scenarios too
	@echo "all tests have passed"

# Images take minutes in which they wait for downloads and disks; compilers and tests leave them enough. The program that
# makes them is a copy, as building the tests may build it anew.
unit-beside-images: page
	cargo build --locked --workspace --bin podzol-image
	mkdir -p target/images; cp --remove-destination $(IMAGE) target/images/; \
		echo "making images beside the tests, see target/images/log"; \
		make_image() { nice -n 10 target/images/podzol-image build "$$@"; }; \
		{ for image in lab-host tiny router router-l7 debian console-proxy; do \
			make_image $$image --out target/images/$$image --cache $(CACHE) || exit; \
		done; nice -n 10 tests/lab/again build target/images/podzol-image $(PROXY_OF_TEMPLATE); } \
			> target/images/log 2>&1 & images=$$!; \
		trap "pkill -P $$images || true; kill $$images 2> /dev/null || true" EXIT; \
		$(MAKE) unit; \
		wait $$images || { cat target/images/log; exit 1; }; \
		trap - EXIT; cat target/images/log

# The lab waits a lot; what it leaves of the processors is enough for the schedules. A kernel that
# groups processes by session (sched(7), autogroup) minds their niceness within a session only, so theirs is one of its own.
beside-each-other: images
	setsid bash -c '{ echo 19 > /proc/self/autogroup; } 2> /dev/null || true; exec nice -n 19 "$$@"' -- \
		target/debug/podzol-schedules all --count 2000 --minutes 45 --jobs 1 > target/schedules.log 2>&1 & schedules=$$!; \
		trap "kill $$schedules 2> /dev/null || true" EXIT; \
		$(MAKE) scenarios; \
		echo "waiting for the schedules"; \
		wait $$schedules || { tail -n 40 target/schedules.log; exit 1; }; \
		trap - EXIT; tail -n 4 target/schedules.log

schedules: build ## Has every step fail on a simulated cloud, and runs two thousand random schedules on it
	target/debug/podzol-schedules all

shapes: build ## Records what this version's parts say to one another, for the version after it
	mkdir -p tests/schedules/shapes
	target/debug/podzol-schedules shapes > target/shapes.json
	mv target/shapes.json tests/schedules/shapes/$$(target/debug/podzol --version | sed -E 's/.* ([0-9]+\.[0-9]+).*/\1/').json

check: prerequisites ## Checks format and lints
	cargo fmt --all --check
	rustfmt --edition 2024 --check console-proxy/scenes/main.rs
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Each test that damages packets at random does so for two seconds more than it does the same each time, from a beginning
# of its own that it prints when it fails. The control plane's tests mostly wait, for agents that report and for what is due:
# more of them than processors run at a time.
unit: page ## Runs the tests that need no lab
	PODZOL_MUST_RUN=1 PODZOL_FUZZ_SECONDS=2 cargo test --locked --workspace --exclude podzol-control-plane-tests
	PODZOL_MUST_RUN=1 cargo test --locked --workspace --test control-plane -- --test-threads=6
	cd $(VIEWER) && npm test

reproducible: images ## Builds templates once more elsewhere: they must be the same to the byte, and a router's no larger than 24 MB
	for image in router-l7 debian; do $(IMAGE) build $$image --out target/images/$$image --cache $(CACHE); done
	tests/lab/again build $(IMAGE) $(PROXY_OF_TEMPLATE)
	tests/lab/again compare
	size=$$(stat -c %s target/images/router/router.qcow2); \
		[ $$size -le 24000000 ] || { echo "a router's template has $$size bytes"; exit 1; }

router: prerequisites ## Builds the template of the routing appliance
	cargo build --locked --workspace --bin podzol-image
	$(IMAGE) build router --out target/images/router --cache $(CACHE)

scenarios: images ## Runs a router's tests on its template; brings up a lab, runs the scenarios on it, and removes it
	$(IMAGE) build debian --out target/images/debian --cache $(CACHE)
	$(IMAGE) build router-l7 --out target/images/router-l7 --cache $(CACHE)
	PODZOL_ROUTER=$(CURDIR)/target/images/router/router.qcow2 PODZOL_DEBIAN=$(CURDIR)/target/images/debian/debian.qcow2 \
		cargo test --locked --workspace --features podzol-scenarios/lab --test netns
	PODZOL_ROUTER=$(CURDIR)/target/images/router-l7/router-l7.qcow2 \
		cargo test --locked --workspace --features podzol-scenarios/lab --test netns -- balancer_l7
	cd $(VIEWER) && PODZOL_MUST_RUN=1 PODZOL_CONSOLE_PROXY=$(CURDIR)/target/debug/podzol-console-proxy \
		PODZOL_CONSOLE_PROXY_OF_TEMPLATE=$(CURDIR)/$(PROXY_OF_TEMPLATE) npm run test-browser
	cargo test --locked --workspace --features podzol-scenarios/lab --test killed
	$(MAKE) lab
	cargo test --locked --workspace --features podzol-scenarios/lab --test scenarios -- --test-threads=2 --nocapture \
		|| { tail -n 40 target/lab/mgmt.log; $(MAKE) lab-down; exit 1; }
	$(MAKE) lab-down

soak: prerequisites ## Runs random schedules of operations and faults on a simulated cloud for an hour, from a new seed
	cargo build --locked --release -p podzol-schedules
	target/release/podzol-schedules storms --from $$(date +%s) --count 1000000000 --minutes 60

bench: images ## Measures what is claimed, on a lab of its own; figures are kept in tests/bench/README.md
	cargo build --locked --release -p podzol-bench
	target/release/bench-placement
	cargo build --locked --release -p podzol-mgmt
	target/release/bench-cloud
	target/release/bench-rule
	$(LAB) up
	target/release/bench-start 20
	target/release/bench-lease
	gzip -1 < target/release/bench-hostnet | $(LAB) exec h1 'gunzip > /tmp/bench-hostnet && chmod 755 /tmp/bench-hostnet'
	$(LAB) exec h1 /tmp/bench-hostnet 500 2
	$(LAB) down

bench-router: router ## Measures the routing appliance beside others; figures are kept in tests/bench/README.md
	$(IMAGE) build debian --out target/images/debian --cache $(CACHE)
	cargo build --locked --release -p podzol-bench -p podzol-appliance --bin bench-router --bin podzol-appliance
	target/release/bench-router

# The proxy is built as it is for its template. websockify is what noVNC's page needs.
BENCH_CONSOLE := tests/bench/console
bench-console: prerequisites $(PAGE) ## Measures the console beside noVNC; figures are kept in tests/bench/README.md
	cargo build --locked --profile proxy -p podzol-console-proxy
	cd $(BENCH_CONSOLE) && npm ci --ignore-scripts --no-audit --no-fund && npm run check
	[ -x $(BENCH_CONSOLE)/venv/bin/websockify ] || { python3 -m venv $(BENCH_CONSOLE)/venv && \
		$(BENCH_CONSOLE)/venv/bin/pip install -q websockify==0.13.0; }
	cd $(BENCH_CONSOLE) && PODZOL_CONSOLE_PROXY=$(CURDIR)/target/proxy/podzol-console-proxy \
		WEBSOCKIFY=$(CURDIR)/$(BENCH_CONSOLE)/venv/bin/websockify npm run --silent bench -- $(PARTS)

openapi: build ## Renews the checked-in OpenAPI document
	target/debug/podzol-mgmt openapi > mgmt/api/openapi.json
