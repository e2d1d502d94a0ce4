# What a newcomer needs: `make lab` for a running cloud, `make test` for all tests. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help prerequisites build images lab lab-down test check unit unit-beside-images reproducible router beside-each-other schedules shapes scenarios soak bench openapi

# Where rustup puts cargo, for the first time that it is there.
export PATH := $(HOME)/.cargo/bin:$(PATH)

LAB := target/debug/podzol-lab
IMAGE := target/debug/podzol-image
CACHE := target/images/cache
AGAIN := --out target/images-again
AGAIN_CACHE := --cache target/images-again/cache
# The appliance takes minutes to compile, in the same way as the tiny template's init, which is compiled once more.
AGAIN_ROUTER := $(AGAIN)/router $(AGAIN_CACHE) --init $(CACHE)/init-target/x86_64-unknown-linux-gnu/init/podzol-appliance

help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

prerequisites: ## Installs what is missing on this machine (root)
	@tests/lab/prerequisites

build: prerequisites ## Builds all programs
	cargo build --locked --workspace --bins

# Images are made beside the build of the programs, whose large crates leave a processor idle.
images: prerequisites ## Builds the template, the image of the lab's servers, and the Debian packages
	cargo build --locked --workspace --bin podzol-image
	mkdir -p target/images; echo "making images beside the build, see target/images/log"; \
		for image in lab-host tiny; do \
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
unit-beside-images: prerequisites
	cargo build --locked --workspace --bin podzol-image
	mkdir -p target/images; cp --remove-destination $(IMAGE) target/images/; \
		echo "making images beside the tests, see target/images/log"; \
		make_image() { nice -n 10 target/images/podzol-image build "$$@"; }; \
		{ for image in lab-host tiny router debian; do \
			make_image $$image --out target/images/$$image --cache $(CACHE) || exit; \
		done; make_image tiny $(AGAIN)/tiny $(AGAIN_CACHE) && make_image router $(AGAIN_ROUTER); } \
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
	cargo clippy --locked --workspace --all-targets -- -D warnings

unit: prerequisites ## Runs the tests that need no lab
	PODZOL_MUST_RUN=1 cargo test --locked --workspace

reproducible: images router ## Builds templates once more elsewhere: they must be the same to the byte
	$(IMAGE) build tiny $(AGAIN)/tiny $(AGAIN_CACHE)
	$(IMAGE) build router $(AGAIN_ROUTER)
	for image in tiny router; do \
		cmp target/images/$$image/$$image.qcow2 target/images-again/$$image/$$image.qcow2; \
	done
	rm -rf target/images-again

router: prerequisites ## Builds the template of the routing appliance
	cargo build --locked --workspace --bin podzol-image
	$(IMAGE) build router --out target/images/router --cache $(CACHE)

scenarios: images router ## Runs a router's tests on its template; brings up a lab, runs the scenarios on it, and removes it
	$(IMAGE) build debian --out target/images/debian --cache $(CACHE)
	PODZOL_ROUTER=$(CURDIR)/target/images/router/router.qcow2 PODZOL_DEBIAN=$(CURDIR)/target/images/debian/debian.qcow2 \
		cargo test --locked --workspace --features podzol-scenarios/lab --test netns
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
	$(LAB) up
	target/release/bench-start 20
	gzip -1 < target/release/bench-hostnet | $(LAB) exec h1 'gunzip > /tmp/bench-hostnet && chmod 755 /tmp/bench-hostnet'
	$(LAB) exec h1 /tmp/bench-hostnet 500 2
	$(LAB) down

openapi: build ## Renews the checked-in OpenAPI document
	target/debug/podzol-mgmt openapi > mgmt/api/openapi.json
