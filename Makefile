# natsgate's two commands are `make demo` and `make test`; `make help` lists the rest.
# Both fetch what they need beside natsgate into .tools/ (scripts/setup) and say what is missing where they cannot.

CARGO ?= cargo
# Of test-faults.
SEEDS ?= 500
FIRST ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo dev setup setup-demo test test-full bench format lint unit model-full doc lean deny deny-required bench-revoke test-faults

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup-demo ## a real nats-server, an OpenID provider and natsgate play alice and mallory; exit 0 only if all of it held
	$(CARGO) build --locked
	$(CARGO) run --locked --quiet -- demo

dev: setup-demo ## the demo's set-up kept running, with commands to try by hand
	$(CARGO) build --locked
	$(CARGO) run --locked --quiet -- dev

setup: ## fetch everything that the tests run beside natsgate
	scripts/setup

setup-demo:
	scripts/setup demo

test: setup format lint unit doc lean deny ## formatting, lints, all fast tests, documentation
	@echo "make test: all of it held"

test-full: setup format lint unit model-full test-faults doc lean deny-required ## test, the model's long searches, hundreds of fault schedules, and cargo-deny must be there
	@echo "make test-full: all of it held"

bench: setup-demo ## what natsgate costs, step by step, and its connects per second beside a bare responder's; some minutes
	$(CARGO) build --locked --release -p natsgate
	$(CARGO) bench --locked -p natsgate-benches --bench hot_path --bench connects

bench-revoke: setup-demo ## from a revocation to closed sockets, beside the least that could do it; some minutes
	$(CARGO) build --locked --release -p natsgate
	$(CARGO) bench --locked -p natsgate-benches --bench revoke

format: ## rustfmt, check only
	$(CARGO) fmt --all --check

lint: ## clippy, warnings denied
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

unit: ## every test, the whole-system ones included
	$(CARGO) test --locked --workspace

model-full: ## the searches of the model that take minutes
	$(CARGO) test --locked --release -p natsgate-model --test holds -- --ignored --nocapture --test-threads=1

test-faults: setup ## SEEDS (500) schedules of faults, drawn from seeds from FIRST (1) on: no session may hold what was revoked
	FAULTS_SEEDS=$(SEEDS) FAULTS_FIRST=$(FIRST) $(CARGO) test --locked --workspace --test faults -- --ignored --nocapture

doc: ## build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

lean: ## what production links has no development servers in it
	scripts/check-lean
	$(CARGO) check --locked -p natsgate --no-default-features

deny: ## licences, banned and duplicate dependencies: where cargo-deny is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --locked check licenses bans sources; \
	else \
	  echo "**************************************************************"; \
	  echo "* NOT CHECKED: licences, banned and duplicate dependencies.   *"; \
	  echo "* cargo-deny is missing: cargo install --locked cargo-deny    *"; \
	  echo "**************************************************************"; \
	fi

deny-required: # advisories too: their database comes over the network
	@$(CARGO) deny --version >/dev/null 2>&1 || \
	  { echo "make test-full: cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny --locked check
