SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help provision wasm demo demo-readme docs test coverage mutants test-matrix test-compose test-readme fuzz fuzz-report bench bench-counts bench-counts-check bench-memory faults soak upgrade oci dist tool examples test-istio test-envoy-gateway reproducible lint circles actionlint cargo-deny advisories unit msrv package release test-release fmt clean

# Arguments for the demo: make demo DEMO_ARGS="..."
DEMO_ARGS ?=
# How often `make bench` lets each contender have its turn
BENCH_SWEEPS ?= 40
# What `make tool` builds for
TARGET ?= x86_64-unknown-linux-musl
# What `make release` sets
VERSION ?=
# Which of the supported Envoys `make test-matrix` takes; all, if empty
VERSIONS ?=
# Options for the faults, and how long the soak takes
FAULTS_ARGS ?=
SOAK_MINUTES ?= 20
# The module to upgrade from: a file, or a release's image; else built from the last tag, or the last commit before the redesign
OLD ?=
OLD_IMAGE ?=
OLD_COMMIT ?= $(shell git describe --tags --abbrev=0 --match 'v*' HEAD^ 2>/dev/null || echo 1392991)
# What looks at dependencies
CARGO_DENY := 0.20.2
# Options for cargo package: --allow-dirty
PACKAGE_ARGS ?=
# A script that cannot run here says so and ends with 77. That is no failure, unless NO_SKIP is set
skippable = || { code=$$?; [[ $$code -eq 77 && -z $${NO_SKIP:-} ]] || exit $$code; }

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

provision: ## Get what build and tests need: a wasm target, Envoy, a C compiler
	@scripts/provision.sh

wasm: ## Build the module: target/wasm32-wasip1/release/genesys_mtls_filter.wasm
	@scripts/build-wasm.sh

demo: provision wasm ## Run the demo (DEMO_ARGS=--keep to call it yourself, DEMO_ARGS=--help for more)
	@. .tools/env.sh && cargo run --locked -p testbed --bin demo -- $(DEMO_ARGS)

demo-readme: ## Run the demo, and show the callers of its first act in README.md
	@scripts/demo-readme.sh

test: provision wasm ## Run all tests, against a real Envoy (ENVOY=path or ENVOY_VERSION=x.y.z to choose)
	@. .tools/env.sh && cargo test --locked --workspace

unit: ## Run the tests that need no Envoy: of every crate's library and binaries
	@cargo test --locked --workspace --lib --bins

coverage: ## Measure which lines the unit tests run (100 % of the decision core, or it fails), and report
	@scripts/coverage.sh --write

mutants: ## Change the decision core in every way that cargo-mutants knows, and see that a test notices (about an hour)
	@scripts/mutants.sh

test-matrix: wasm ## Run the Envoy suite on each supported Envoy, and report (VERSIONS="..." for some, and no table)
	@scripts/test-matrix.sh $(VERSIONS)

test-compose: ## Run envoy/docker-compose.yaml for real (about 5 min without a registry; skipped without Docker)
	@scripts/test-compose.sh $(skippable)

docs: ## Build the book to target/book, and check links, anchors and examples (installs mdBook if it is missing)
	@scripts/docs.sh

test-readme: ## Run the commands of README and "Get started" as they are written (skipped without root)
	@scripts/test-readme.sh $(skippable)

fuzz: ## Fuzz what reads bytes from outside, FUZZ_SECONDS=20 for each target (skipped without a nightly toolchain)
	@scripts/fuzz.sh $(skippable)

fuzz-report: ## Report what the last runs of the fuzz targets came to
	@scripts/fuzz-report.sh

bench: provision wasm ## Measure what a request costs in Envoy, next to the alternatives (about 6 min), and report
	@scripts/build-wasm.sh --rivals
	@. .tools/env.sh && cargo run --locked -p bench --bin envoy -- $(BENCH_SWEEPS)

bench-counts: wasm ## Count what a request costs, report, and write bench/baseline.json
	@scripts/bench-counts.sh --write

bench-counts-check: wasm ## Count, and fail if a number grew by more than 2 % or a budget is exceeded
	@scripts/bench-counts.sh

bench-memory: wasm ## A million requests and 10,000 refreshes in the interpreter: memory stays flat (some minutes)
	@cargo run --locked -p bench --bin memory

faults: provision wasm ## Break one thing after another under load (some 15 min), and report (FAULTS_ARGS=--help)
	@. .tools/env.sh && cargo run --locked -p trials --bin faults -- $(FAULTS_ARGS)

soak: provision wasm ## Run mixed traffic for SOAK_MINUTES (20), see that nothing grows, and report
	@. .tools/env.sh && SOAK_MINUTES=$(SOAK_MINUTES) cargo run --locked -p trials --bin soak

upgrade: provision wasm ## Upgrade under load from an old module (OLD=path, OLD_IMAGE=registry/image, else OLD_COMMIT) and back (some 3 min)
	@. .tools/env.sh && old=$(OLD) && OLD=$${old:-$$(scripts/old-module.sh $(if $(OLD_IMAGE),docker://$(OLD_IMAGE),$(OLD_COMMIT)))} && export OLD && \
		cargo run --locked -p trials --bin upgrade

oci: wasm ## Pack the module as OCI images for oci:// URLs: target/oci, target/oci.tar (no registry, no daemon)
	@scripts/oci.sh

tool: ## Build and pack the command-line tool for TARGET, in target/tool
	@mkdir -p target/tool && scripts/tool.sh $(TARGET) target/tool

dist: ## Make what a release consists of, in target/dist: module, images, chart, tool, SBOMs, checksums (scripts/dist.sh)
	@DIST_EXTRA=$(DIST_EXTRA) GENESYS_MTLS_IMAGES=$(GENESYS_MTLS_IMAGES) scripts/dist.sh

test-release: ## Use what `make dist` made, from a registry: images, chart, tool, demo, upgrade (skipped without root)
	@scripts/test-release.sh $(skippable)

release: ## Set the version everywhere, and date the changelog (VERSION=1.2.3)
	@scripts/release.sh "$(VERSION)"

examples: ## Write envoy/examples, and the chart's copies of other files, from envoy/chart (needs Go, or a helm on PATH)
	@command -v helm >/dev/null || scripts/mesh.sh helm
	@scripts/examples.sh

test-istio: ## Run the chart on a real Istio, with traffic (needs root and Go; 20 min to build Istio once, then 3)
	@scripts/test-mesh.sh istio $(skippable)

test-envoy-gateway: ## Run the chart on a real Envoy Gateway, with traffic (needs root and Go; 10 min to build it once, then 1)
	@scripts/test-mesh.sh envoy-gateway $(skippable)

reproducible: ## Build the module twice, in different directories, and compare
	@scripts/reproducible.sh

lint: ## Check formatting, clippy (host and wasm), imports (no circles), dependencies (with cargo-deny), workflows (with Go)
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/clippy-wasm.sh
	@$(MAKE) --no-print-directory circles
	@if cargo deny --version >/dev/null 2>&1; \
		then set -x; cargo deny --locked check --hide-inclusion-graph bans licenses sources && \
		cargo deny --locked --manifest-path fuzz/Cargo.toml check --hide-inclusion-graph bans licenses sources; \
		else echo "==> cargo-deny is not installed: dependencies not checked (make cargo-deny)"; fi
	@if command -v go >/dev/null; then $(MAKE) --no-print-directory actionlint; \
		else echo "==> go is not installed: workflows not checked"; fi

circles: ## Find files of one crate that import each other in a circle
	cargo run --locked --quiet -p tools --bin circles -- Cargo.toml fuzz/Cargo.toml

actionlint: ## Check the workflows (needs Go)
	@cd testbed/go/actionlint && go tool actionlint $(addprefix ../../../,$(wildcard .github/workflows/*.yml))

cargo-deny: ## Install what checks dependencies, unless it is there
	@cargo deny --version 2>/dev/null || cargo install --quiet --debug --locked cargo-deny@$(CARGO_DENY)

advisories: cargo-deny ## Check dependencies against the advisories of RustSec (needs github.com)
	cargo deny --locked check --hide-inclusion-graph advisories
	cargo deny --locked --manifest-path fuzz/Cargo.toml check --hide-inclusion-graph advisories

msrv: ## Check the published crates with the oldest Rust that Cargo.toml promises
	@scripts/msrv.sh

package: ## Pack the published crates, and build each from its package
	cargo package --locked $(addprefix -p ,genesys-mtls-filter genesys-mtls-verifier genesys-mtls) $(PACKAGE_ARGS)

fmt: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

clean: ## Remove what was built; what was downloaded (.tools) stays
	cargo clean
