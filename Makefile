# What a newcomer needs: `make lab` for a running cloud, `make test` for all tests. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help prerequisites build page images lab lab-down test check format without-lab image-builder programs template-of-proxy \
	templates-for-tests templates unit control-plane others on-templates in-browsers reproducible router beside-each-other schedules shapes scenarios \
	soak bench bench-router bench-console openapi

# Where rustup puts cargo, for the first time that it is there.
export PATH := $(HOME)/.cargo/bin:$(PATH)

LAB := target/debug/podzol-lab
IMAGE := target/debug/podzol-image
CACHE := target/images/cache
COMPILED := $(CACHE)/init-target/x86_64-unknown-linux-gnu
PROXY_OF_TEMPLATE := $(COMPILED)/proxy/podzol-console-proxy

VIEWER := console-proxy/viewer
BENCH_CONSOLE := tests/bench/console
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
		cargo build --locked --workspace --exclude podzol-bench --bins; \
		wait $$images || { cat target/images/log; exit 1; }; \
		trap - EXIT; cat target/images/log
	$(IMAGE) build debs --bin-dir target/debug --out target/images/debs --cache $(CACHE)

lab: images ## Brings up a cloud on this machine: three emulated servers, two customers
	$(LAB) up

lab-down: ## Removes all that the lab made
	@if [ ! -x $(LAB) ] && ! ip netns list 2> /dev/null | grep -q '^pzlab-'; then echo "there is no lab: nothing was built"; exit; fi; \
		[ -x $(LAB) ] || cargo build --locked --workspace --bin podzol-lab; \
		$(LAB) down

test: format without-lab beside-each-other reproducible ## Runs all tests, the lab's scenarios too
	@echo "all tests have passed"

# Tests are built by clippy, which is the compiler with lints: to check beside building would take half as long again.
test: export RUSTC_WORKSPACE_WRAPPER := clippy-driver
test: export CLIPPY_ARGS := -Dwarnings__CLIPPY_HACKERY__

# What needs no lab, three at a time: templates, then routers of them; browsers; the control plane; all else. Each needs what others
# have made, and most tests wait, for agents that report, for what is due, for lines that are lost. Each command shows what it printed
# when it has ended.
without-lab: image-builder
	+$(MAKE) --jobs 3 --output-sync=line templates others in-browsers on-templates control-plane
	cat target/images/log

# A copy, as building the tests may build it anew.
image-builder: page
	cargo build --locked --workspace --bin podzol-image
	mkdir -p target/images; cp --remove-destination $(IMAGE) target/images/

make_images = ( for image in $(1); do \
		target/images/podzol-image build $$image --out target/images/$$image --cache $(CACHE) || exit; \
	done ) >> target/images/log 2>&1 || { cat target/images/log; exit 1; }

template-of-proxy: image-builder
	@echo "making images beside the tests, see target/images/log"; rm -f target/images/log
	$(call make_images,console-proxy)

templates-for-tests: template-of-proxy
	$(call make_images,router router-l7 debian)

templates: templates-for-tests
	$(call make_images,lab-host tiny)

# The lab waits a lot; what it leaves of the processors is enough for more. A kernel that groups processes by session (sched(7),
# autogroup) minds their niceness within a session only, so theirs is one of its own. (With $(MAKE) in it, `make -n` would run this.)
beside-each-other: images
	setsid tests/lab/beside $(PROXY_OF_TEMPLATE) > target/beside.log 2>&1 & beside=$$!; \
		trap "kill -- -$$beside 2> /dev/null || true" EXIT; \
		$(MAKE_COMMAND) scenarios; \
		echo "waiting for what was begun beside the lab"; \
		wait $$beside || { tail -n 60 target/beside.log; exit 1; }; \
		trap - EXIT; tail -n 4 target/beside.log

schedules: build ## Has every step fail on a simulated cloud, and runs two thousand random schedules on it
	target/debug/podzol-schedules all

shapes: build ## Records what this version's parts say to one another, for the version after it
	mkdir -p tests/schedules/shapes
	target/debug/podzol-schedules shapes > target/shapes.json
	mv target/shapes.json tests/schedules/shapes/$$(target/debug/podzol --version | sed -E 's/.* ([0-9]+\.[0-9]+).*/\1/').json

format: prerequisites
	cargo fmt --all --check
	rustfmt --edition 2024 --check console-proxy/scenes/main.rs

check: format ## Checks format and lints
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Each test that damages packets at random does so for two seconds more than it does the same each time, from a beginning
# of its own that it prints when it fails.
TESTS := PODZOL_MUST_RUN=1 PODZOL_FUZZ_SECONDS=2 cargo test --locked --workspace
NETNS := cargo test --locked --workspace --features podzol-scenarios/lab --test netns --
OF_ROUTER := PODZOL_ROUTER=$(CURDIR)/target/images/router/router.qcow2 PODZOL_DEBIAN=$(CURDIR)/target/images/debian/debian.qcow2
OF_ROUTER_L7 := PODZOL_ROUTER=$(CURDIR)/target/images/router-l7/router-l7.qcow2

unit: control-plane others ## Runs the tests that need no template and no lab

programs: image-builder
	cargo build --locked --workspace --exclude podzol-bench --bins
	$(TESTS) --no-run
	$(TESTS) --no-run --features podzol-scenarios/lab

control-plane: programs
	$(TESTS) --test control-plane -- --test-threads=6
	cd $(VIEWER) && npm test
	cd $(BENCH_CONSOLE) && npm ci --ignore-scripts --no-audit --no-fund && npm run check

others: programs
	RUST_TEST_THREADS=3 $(TESTS) --exclude podzol-control-plane-tests

in-browsers: programs template-of-proxy
	cd $(VIEWER) && PODZOL_MUST_RUN=1 PODZOL_CONSOLE_PROXY=$(CURDIR)/target/debug/podzol-console-proxy \
		PODZOL_CONSOLE_PROXY_OF_TEMPLATE=$(CURDIR)/$(PROXY_OF_TEMPLATE) npm exec -- vitest run --project browser

# Each boots a router, which takes ten seconds of a processor: all have been run without (`others`). These are those that have to do with
# the template's kernel, its init, its links or the programs in it.
of_template := balancer::members_get balancer::a_member_that_dies control::links_have control::an_interface control::a_link_that \
	control::a_router_that control::a_router_ends control::a_router_follows control::services_that dhcp::fifty diagnosis::a_capture_has dns::vms_names flood:: \
	metadata::a_vm_is_told ra_dhcp6::networkd rules::vms_reach rules::static_nat rules::what_a_network rules6::a_vm_reaches \
	rules6::what_is_too_big rules6::a_routing_header upkeep::routes_of cloud_init a_router_without_haproxy
on-templates: programs templates-for-tests
	$(OF_ROUTER) $(NETNS) $(of_template)
	$(OF_ROUTER_L7) $(NETNS) balancer_l7::a_cookie balancer_l7::tls_ends balancer_l7::new_processes balancer_l7::a_process_that
	$(OF_ROUTER) $(TESTS) --test control-plane -- cloud_init

reproducible: images ## Builds templates once more elsewhere: they must be the same to the byte, and a router's no larger than 24 MB
	$(IMAGE) build all --out target/images --cache $(CACHE)
	tests/lab/again sign $(IMAGE)
	tests/lab/again build $(IMAGE) $(PROXY_OF_TEMPLATE)
	tests/lab/again compare
	size=$$(stat -c %s target/images/router/router.qcow2); \
		[ $$size -le 24000000 ] || { echo "a router's template has $$size bytes"; exit 1; }

router: prerequisites ## Builds the template of the routing appliance
	cargo build --locked --workspace --bin podzol-image
	$(IMAGE) build router --out target/images/router --cache $(CACHE)

scenarios: images ## Brings up a lab, runs the scenarios on it, and removes it
	cargo test --locked --workspace --features podzol-scenarios/lab --test killed
	$(MAKE) lab
	cargo test --locked --workspace --features podzol-scenarios/lab --test scenarios -- --test-threads=3 --nocapture \
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
bench-console: prerequisites $(PAGE) ## Measures the console beside noVNC; figures are kept in tests/bench/README.md
	cargo build --locked --profile proxy -p podzol-console-proxy
	cd $(BENCH_CONSOLE) && npm ci --ignore-scripts --no-audit --no-fund && npm run check
	[ -x $(BENCH_CONSOLE)/venv/bin/websockify ] || { python3 -m venv $(BENCH_CONSOLE)/venv && \
		$(BENCH_CONSOLE)/venv/bin/pip install -q websockify==0.13.0; }
	cd $(BENCH_CONSOLE) && PODZOL_CONSOLE_PROXY=$(CURDIR)/target/proxy/podzol-console-proxy \
		WEBSOCKIFY=$(CURDIR)/$(BENCH_CONSOLE)/venv/bin/websockify npm run --silent bench -- $(PARTS)

openapi: build ## Renews the checked-in OpenAPI document
	target/debug/podzol-mgmt openapi > mgmt/api/openapi.json
