SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help provision wasm demo demo-readme docs test coverage mutants test-matrix test-compose test-readme fuzz fuzz-report bench bench-counts bench-counts-check bench-memory faults soak upgrade oci dist examples test-istio test-envoy-gateway reproducible lint circles fmt clean

# Arguments for the demo: make demo DEMO_ARGS="..."
DEMO_ARGS ?=
# How often `make bench` lets each contender have its turn
BENCH_SWEEPS ?= 40
# Which of the supported Envoys `make test-matrix` takes; all, if empty
VERSIONS ?=
# Options for the faults, and how long the soak takes
FAULTS_ARGS ?=
SOAK_MINUTES ?= 20
# The module to upgrade from; built from this commit if none is given
OLD ?=
OLD_COMMIT ?= 1392991

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

coverage: ## Measure which lines the unit tests run (100 % of the decision core, or it fails), and report
	@scripts/coverage.sh --write

mutants: ## Change the decision core in every way that cargo-mutants knows, and see that a test notices (about an hour)
	@scripts/mutants.sh

test-matrix: wasm ## Run the Envoy suite on each supported Envoy, and report (VERSIONS="..." for some, and no table)
	@scripts/test-matrix.sh $(VERSIONS)

test-compose: ## Run envoy/docker-compose.yaml for real (about 5 min without a registry; skipped without Docker)
	@scripts/test-compose.sh || { code=$$?; [[ $$code -eq 77 ]] || exit $$code; }

docs: ## Build the book to target/book, and check links, anchors and examples (installs mdBook if it is missing)
	@scripts/docs.sh

test-readme: ## Run the commands of README and "Get started" as they are written (skipped without root)
	@scripts/test-readme.sh || { code=$$?; [[ $$code -eq 77 ]] || exit $$code; }

fuzz: ## Fuzz what reads bytes from outside, FUZZ_SECONDS=20 for each target (skipped without a nightly toolchain)
	@scripts/fuzz.sh || { code=$$?; [[ $$code -eq 77 ]] || exit $$code; }

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

upgrade: provision wasm ## Upgrade under load from an old module (OLD=path, else built from OLD_COMMIT) and back (some 3 min)
	@. .tools/env.sh && old=$(OLD) && OLD=$${old:-$$(scripts/old-module.sh $(OLD_COMMIT))} && export OLD && \
		cargo run --locked -p trials --bin upgrade

oci: wasm ## Pack the module as OCI images for oci:// URLs: target/oci, target/oci.tar (no registry, no daemon)
	@scripts/oci.sh

dist: ## Make what a release consists of: module, images, tool, schema, manifests, SBOMs, checksums in target/dist
	@scripts/dist.sh

examples: ## Write envoy/examples, and the chart's copies of other files, from envoy/chart (needs Go, or a helm on PATH)
	@command -v helm >/dev/null || scripts/mesh.sh helm
	@scripts/examples.sh

test-istio: ## Run the chart on a real Istio, with traffic (needs root and Go; 20 min to build Istio once, then 3)
	@scripts/test-mesh.sh istio || { code=$$?; [[ $$code -eq 77 ]] || exit $$code; }

test-envoy-gateway: ## Run the chart on a real Envoy Gateway, with traffic (needs root and Go; 10 min to build it once, then 1)
	@scripts/test-mesh.sh envoy-gateway || { code=$$?; [[ $$code -eq 77 ]] || exit $$code; }

reproducible: ## Build the module twice, in different directories, and compare
	@scripts/reproducible.sh

lint: ## Check formatting, clippy (host and wasm), imports (no circles), dependencies (if cargo-deny is installed)
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/clippy-wasm.sh
	@$(MAKE) --no-print-directory circles
	@if cargo deny --version >/dev/null 2>&1; \
		then set -x; cargo deny --locked check --hide-inclusion-graph bans licenses sources && \
		cargo deny --locked --manifest-path fuzz/Cargo.toml check --hide-inclusion-graph bans licenses sources; \
		else echo "==> cargo-deny is not installed: dependencies not checked (cargo install --locked cargo-deny)"; fi

circles: ## Find files of one crate that import each other in a circle
	cargo run --locked --quiet -p tools --bin circles -- Cargo.toml fuzz/Cargo.toml

fmt: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

clean: ## Remove what was built; what was downloaded (.tools) stays
	cargo clean
