# Everything a user or a developer runs. `make` alone lists it.
# GNU make; every step that is done already is skipped by the tool behind it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup tools libtorch data build dist demo test test-tools test-dist test-deploy drawings bench bench-space bench-searchers bench-coordinator bench-load bench-overhead bench-trainer bench-search goldens test-tables test-parity test-cuda chaos lint fmt docs clean

CARGO ?= cargo
DATA  ?= $(or $(ESPALIER_DATA_ROOT),data)
SPEC  ?= examples/fashion-mnist.yaml
TARGET = $(or $(CARGO_TARGET_DIR),target)

# $(call step,what it does,command,what to do when it fails)
define step
@echo "==> $(1)"
@$(2) || { echo "make $@: failed: $(1)" >&2; echo "  $(3)" >&2; exit 1; }
endef

# As root, or as somebody who may be without a password; else this fails, and says what to install.
APT = $(if $(filter 0,$(shell id -u)),,sudo -n) apt-get

# The commit and the rest, for --version.
BUILD_INFO = env $$(deploy/dist/build-info)
# What `make dist` puts into the tarballs; the build itself takes LIBTORCH or .libtorch.
LIBTORCH_DIR ?= $(or $(LIBTORCH),.libtorch)

# Compiling libtorch's bindings takes about 2 GB in one compiler process.
BUILD_HINT = the first error above says why; 'signal: 9' means out of memory: try CARGO_BUILD_JOBS=1 make $@

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: # what must be there before anything else
	@missing=0; \
	need() { command -v "$$1" >/dev/null || { echo "make: $$1 is missing: $$2" >&2; missing=1; }; }; \
	need $(CARGO) "install stable Rust from https://rustup.rs (then open a new shell, or: . ~/.cargo/env)"; \
	need cc "Debian, Ubuntu: apt-get install gcc"; \
	need c++ "Debian, Ubuntu: apt-get install g++"; \
	need python3 "Debian, Ubuntu: apt-get install python3 python3-pip"; \
	if command -v python3 >/dev/null && [ -z "$${LIBTORCH:-}" ] && [ ! -e .libtorch/.stamp ]; then \
	  python3 -m pip --version >/dev/null 2>&1 || { echo "make: Python's pip is missing: Debian, Ubuntu: apt-get install python3-pip" >&2; missing=1; }; \
	fi; \
	[ $$missing = 0 ] || { echo "make: install what is missing, then run make again" >&2; exit 1; }

libtorch: tools
	$(call step,libtorch: get it once (530 MB) unless it is here,deploy/libtorch/install,the message above says what to do; LIBTORCH=/path/to/libtorch makes the build take yours)

data: tools
	$(call step,data: get Fashion-MNIST once (31 MB) unless it is here,deploy/datasets/fetch fashion-mnist "$(DATA)",the message above says what to do)

setup: libtorch data ## get libtorch and the demo's data set, once

build: libtorch ## build the release binaries (the first time takes minutes)
	$(call step,build: release binaries into $(TARGET)/release,$(BUILD_INFO) $(CARGO) build --release --workspace --bins,$(BUILD_HINT))

dist: build ## make relocatable tarballs in target/dist (LIBTORCH_DIR=folder: with a CUDA libtorch)
	$(call step,dist: tarballs into $(TARGET)/dist,deploy/dist/pack --binaries "$(TARGET)/release" --libtorch "$(LIBTORCH_DIR)" --out "$(TARGET)/dist",the message above says what to do)

test-dist: dist ## unpack the tarballs elsewhere and run a search with the repository out of reach
	$(call step,test-dist: a search from the tarballs,deploy/dist/try "$(TARGET)/dist" --hide . --hide "$(LIBTORCH_DIR)",the message above says what failed)

test-deploy: tools ## check units, scripts, images and chart with tools from packages (gets them once)
	$(call step,test-deploy: get the tools,python3 -m venv "$(TARGET)/deploy-tools" && "$(TARGET)/deploy-tools/bin/pip" install --quiet --disable-pip-version-check --requirement deploy/requirements.txt,Debian and Ubuntu have venv in python3-venv)
	$(call step,test-deploy: build the programs,$(CARGO) build --bin espalier --bin espalier-worker,$(BUILD_HINT))
	$(call step,test-deploy: check,"$(TARGET)/deploy-tools/bin/python" deploy/check --bin "$(TARGET)/debug" --all,the lines with FAILED say what is wrong)

demo: setup build ## search for a network on Fashion-MNIST: a coordinator and two workers here
	$(call step,demo: espalier run $(SPEC) with two workers,$(TARGET)/release/espalier run $(SPEC) --workers 2 --threads 1 --data-root "$(DATA)" --data-dir "espalier-runs/demo-$$(date +%Y%m%d-%H%M%S)",the message above says what to do)

# The tests run the recipes of docs/logs.md, which are written for jq.
test-tools: tools
	@command -v jq >/dev/null || { \
	  echo "==> test: get jq"; \
	  $(APT) install --yes --quiet jq >/dev/null 2>&1 || \
	  { $(APT) update --quiet && $(APT) install --yes --quiet jq; } >/dev/null; \
	} || { echo "make: jq is missing: Debian, Ubuntu: apt-get install jq" >&2; exit 1; }

# The binaries come first: the whole-system tests start them as processes.
test: setup test-tools ## run all tests
	$(call step,test: build the binaries and the tests,$(CARGO) build --workspace --bins --tests,$(BUILD_HINT))
	$(call step,test: run them,$(CARGO) test --workspace,the names of the failed tests are above; run one with: cargo test --workspace NAME)

# With the seeds of a failure: ESPALIER_CHAOS_SEED=N make chaos MINUTES=1
MINUTES ?= 30
chaos: tools ## kill, freeze, cut off and fill up a cluster for MINUTES=30; prints what came of it
	$(call step,chaos: build the binaries and the test,$(CARGO) build -p espalier-coordinator -p espalier-worker --bins,$(BUILD_HINT))
	$(call step,chaos: run,ESPALIER_CHAOS_MINUTES="$(MINUTES)" $(CARGO) test -p espalier-tests --test chaos for_as_long_as_asked -- --ignored --nocapture,the message above names the seed and the folder of the logs)

drawings: tools ## make the drawings of the docs anew from its examples
	$(call step,drawings: docs/drawings from docs/spec.md,ESPALIER_REMAKE_DRAWINGS=1 $(CARGO) test -q -p espalier-view --test drawings,the message above names the example)

bench: bench-space bench-coordinator bench-load bench-overhead bench-trainer ## run the benchmarks and print their ratios

bench-space: tools ## count candidates a second, and time the largest specs and networks
	$(call step,bench-space: build and run,$(CARGO) bench -p espalier-common --bench space,$(BUILD_HINT))

bench-searchers: tools ## measure how long searchers take to be asked and told (minutes)
	$(call step,bench-searchers: build and run,$(CARGO) bench -p espalier-core --bench searchers -- --long,$(BUILD_HINT))

bench-coordinator: tools ## compare the coordinator's trials per second with bare gRPC calls
	$(call step,bench-coordinator: build and run,$(CARGO) bench -p espalier-coordinator --bench coordinator,$(BUILD_HINT))

# PARTS narrows it down: PARTS="load idle" of load, idle, crowd, tls, logs.
bench-load: tools ## measure what thousands of workers, TLS and a reader of the log cost a coordinator (minutes)
	$(call step,bench-load: build and run,$(CARGO) bench -p espalier-coordinator --bench load -- $(PARTS),$(BUILD_HINT))

bench-overhead: setup build ## measure what a trial costs beside its training
	$(call step,bench-overhead: run,python3 worker/bench/overhead.py "$(TARGET)/release/espalier" "$(DATA)",the message above says what failed)

# On a GPU, with a wider network: DEVICE=cuda:0 WIDTH=8 make bench-trainer
DEVICE ?= cpu
WIDTH  ?= 1
bench-trainer: setup ## compare the trainer's speed with eager PyTorch in Python (gets PyTorch once)
	$(call step,bench-trainer: build,$(CARGO) build --release -p espalier-trainer --example speed,$(BUILD_HINT))
	$(call step,bench-trainer: run,python3 worker/trainer/bench/compare.py "$(TARGET)/release/examples/speed" "$(DATA)" --device "$(DEVICE)" --width "$(WIDTH)",ESPALIER_BENCH_PYTHON names a Python that has PyTorch 2.11.0)

# SEEDS, SEARCHERS, WORKERS, BENCHMARKS and THREADS narrow it down: SEEDS=10 SEARCHERS=random,bayesian WORKERS=1
bench-search: tools ## measure searchers on published tables of results: TABLES=folder make bench-search (long)
	@[ -n "$${TABLES:-}" ] || { echo "make bench-search: TABLES names the folder with nb201.csv.gz and nb_macro.csv.gz" >&2; exit 1; }
	$(call step,bench-search: build,$(BUILD_INFO) $(CARGO) build --release -p espalier-coordinator --bin espalier,$(BUILD_HINT))
	$(call step,bench-search: run,python3 coordinator/bench/search.py "$(TARGET)/release/espalier" "$$TABLES" $(if $(SEEDS),--seeds "$(SEEDS)") $(if $(SEARCHERS),--searchers "$(SEARCHERS)") $(if $(WORKERS),--workers "$(WORKERS)") $(if $(BENCHMARKS),--benchmarks "$(BENCHMARKS)") $(if $(THREADS),--threads "$(THREADS)"),the message above says what failed)

test-tables: tools ## compare the counts of NAS-Bench-201 with every row of the published table: TABLES=folder make test-tables
	@[ -n "$${TABLES:-}" ] || { echo "make test-tables: TABLES names the folder with nb201.csv.gz" >&2; exit 1; }
	$(call step,test-tables: build and run,$(CARGO) test -p espalier-common --lib of_the_table_that_is_named -- --ignored,the message above names the row)

# PyTorch comes into a virtual environment in the user's cache folder, as for bench-trainer.
goldens: setup ## write what PyTorch says about candidates of every space (gets PyTorch once)
	$(call step,goldens: build,$(CARGO) build -p espalier-trainer --example candidates,$(BUILD_HINT))
	$(call step,goldens: run,python3 worker/trainer/goldens/goldens.py write "$(TARGET)/debug/examples/candidates",ESPALIER_BENCH_PYTHON names a Python that has PyTorch 2.11.0)

test-parity: setup ## compare 1,000 candidates of every space with PyTorch, outputs too (gets PyTorch once; long)
	$(call step,test-parity: build,$(CARGO) build --release -p espalier-trainer --example candidates,$(BUILD_HINT))
	$(call step,test-parity: run,python3 worker/trainer/goldens/goldens.py parity "$(TARGET)/release/examples/candidates",the differences are above; ESPALIER_BENCH_PYTHON names a Python that has PyTorch 2.11.0)

# LIBTORCH=/path/to/libtorch names one with CUDA.
test-cuda: setup ## test the trainer on the GPU of this machine; fails where there is none
	$(call step,test-cuda: build and run,ESPALIER_REQUIRE_CUDA=1 $(CARGO) test --release -p espalier-trainer --test cuda -- --nocapture,the message above says what failed)

lint: libtorch ## check the format and run clippy
	$(call step,lint: format,$(CARGO) fmt --all --check,run: make fmt)
	$(call step,lint: clippy,$(CARGO) clippy --workspace --all-targets -- -D warnings,mend what clippy says above)

fmt: tools ## format the code
	$(call step,fmt: rustfmt,$(CARGO) fmt --all,rustup component add rustfmt)

docs: ## build the book into target/book
	@command -v mdbook >/dev/null || { echo "make docs: mdbook is missing: cargo install mdbook" >&2; exit 1; }
	$(call step,docs: the book into target/book,mdbook build docs,the message above says which page)

clean: ## remove what was built (libtorch and the data stay; remove .libtorch and data by hand)
	$(call step,clean: target,$(CARGO) clean,check who owns target/)
