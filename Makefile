# Every command a developer types. `make up` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench

.PHONY: up test test-unit lint audit secrets-baseline format chaos chaos-selftest fuzz bench profile proto docs lock clean

up: $(STAMP)  ## Start the whole system, send a recorded session through the front door, show what came out
	@$(BIN)/chaukas-gateway up

test: $(STAMP)  ## Every test, real Kafka, Faust and ClickHouse engine included
	@$(BIN)/python -m pytest

test-unit: $(STAMP)  ## The tests without I/O: two minutes
	@$(BIN)/python -m pytest tests/unit

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tests.supply_chain.secrets
	@$(BIN)/python -m tests.supply_chain.audit

audit: $(STAMP)  ## Known vulnerabilities of the pinned dependencies; fails when the advisory service cannot be asked
	@$(BIN)/python -m tests.supply_chain.audit --strict

secrets-baseline: $(STAMP)  ## Take what looks like a secret, was looked at and is none, into .secrets.baseline
	@$(BIN)/python -m tests.supply_chain.secrets --update

format: $(STAMP)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: $(STAMP)  ## What must survive kills and failures, again and again; ONLY=name, TRIAL=name, SEED=number, ROUNDS=number
	@$(BIN)/python -m tests.conservation $(if $(ONLY),--only $(ONLY)) $(if $(TRIAL),--trial $(TRIAL)) $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS))

chaos-selftest: $(STAMP)  ## The proof that the account of a trial notices: the product broken on purpose; TRIAL=name for one
	@$(BIN)/python -m tests.conservation --selftest $(if $(TRIAL),--trial $(TRIAL)) $(if $(SEED),--seed $(SEED))

fuzz: $(STAMP)  ## Hostile input to every door and parser; REQUESTS=number (a million), SEED=number
	@$(BIN)/python -m tests.fuzz $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(SEED),--seed $(SEED))

bench: $(BENCH_STAMP)  ## Ratios against a baseline of the same run, as a table and as JSON; ONLY=name (or ONLY="one two")
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

profile: $(BENCH_STAMP)  ## Where the CPU of a hot path goes; ONLY=gateway-batch, gateway-unary, processors or sink
	@$(BIN)/python -m benchmarks.profile $(if $(ONLY),--only $(ONLY))

proto: $(STAMP)  ## Generate contracts/v1/*_pb2* from contracts/v1/*.proto
	@$(BIN)/python -m contracts.v1.generate

docs: $(STAMP)  ## Generate the parts of docs/ that come from the code
	@$(BIN)/python -m runtime.settings > docs/settings.md
	@$(BIN)/python -m cli.capacity docs/capacity.md
	@for part in runtime.catalogue gateway.metrics processors.metrics sink.metrics; do $(BIN)/python -m $$part || exit 1; done > docs/metrics.md
	@$(BIN)/python -m deploy.grafana.build

lock: $(STAMP)  ## Renew the pinned requirement files (needs the package uv)
	@$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --extra tracing -o requirements/runtime.txt pyproject.toml
	@$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --extra local --extra tracing --group dev -o requirements/dev.txt pyproject.toml
	@$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --group pyproject.toml:bench -c requirements/dev.txt -o requirements/bench.txt
	@echo "hatchling>=1.27" | $(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements/build.txt -

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version)'
	@echo "Installing dependencies into $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

$(BENCH_STAMP): $(STAMP) requirements/bench.txt
	@echo "Installing what pictures and profiles need (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $(BENCH_STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
