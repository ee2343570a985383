# make demo and make test need only Python 3.11 or newer, make and the package registries.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo tools test test-unit test-docker test-browser screenshots observe-check lint format boundscheck fuzz chaos soak audit bench bench-quick lock env clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

env: $(READY) ## create the environment in .venv from the hash-locked requirements

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "creating the environment in $(VENV) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## run the whole system on this machine (ARGS="--transactions 5000 --exit" stops by itself)
	@$(BIN)/stream-scorer demo $(ARGS)

TOOLS := .venv-tools/.ready

# MLflow's server and DVC need older libraries than the product.
$(TOOLS): tests/integration/tracking/tools.lock
	@echo "creating the environment of MLflow's server and DVC in .venv-tools …"
	@test -x .venv-tools/bin/python || $(PYTHON) -m venv .venv-tools
	@.venv-tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

tools: $(TOOLS) ## create the environment of MLflow's server and DVC, for make test

# Most of the time of the slow tests is waiting, so that three processes suit two CPUs. With four, campaigns of
# faults pass their deadlines. A file stays in one process, because its tests share fixtures; files start in
# order, the long ones first.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder

test: $(READY) $(TOOLS) ## run all tests that need only Python, on an embedded Apache Kafka
	@$(BIN)/pytest $(PARALLEL) -m "not browser and not docker and not prometheus" $(ARGS)

test-unit: $(READY) ## run the unit tests alone, in two processes
	@$(BIN)/pytest -n 2 --dist loadfile tests/unit $(ARGS)

test-docker: $(READY) ## run the tests against a Kafka container (needs Docker)
	@$(BIN)/pytest -m "not browser" --kafka testcontainers tests/contract tests/integration $(ARGS)

UNPACKED := .cache/prometheus
MONITORING := $(if $(shell command -v promtool),,$(UNPACKED)/usr/bin/promtool) \
  $(if $(shell command -v alertmanager || command -v prometheus-alertmanager),,$(UNPACKED)/usr/bin/prometheus-alertmanager)

observe-check: $(READY) $(MONITORING) ## test alerts and Grafana boards with a real Prometheus on a real run
	@$(BIN)/pytest -m prometheus tests/k8s $(ARGS)

# The packages are unpacked and never installed, so they start no service. Debian's Alertmanager reads templates from
# /usr/share: this one from the folder that it runs in.
$(UNPACKED)/usr/bin/promtool: PACKAGE := prometheus
$(UNPACKED)/usr/bin/prometheus-alertmanager: PACKAGE := prometheus-alertmanager
$(UNPACKED)/usr/bin/promtool $(UNPACKED)/usr/bin/prometheus-alertmanager:
	@command -v apt-get >/dev/null && command -v dpkg >/dev/null \
	  || { echo "prometheus, promtool and alertmanager are needed: install them, or run this on Debian or Ubuntu"; exit 1; }
	@mkdir -p $(UNPACKED)/$(PACKAGE)
	@cd $(UNPACKED)/$(PACKAGE) && { apt-get download -qq $(PACKAGE) 2>/dev/null \
	  || { apt-get update -qq && apt-get download -qq $(PACKAGE); }; } && dpkg -x $(PACKAGE)_*.deb ..
	@rm -r $(UNPACKED)/$(PACKAGE)
	@LC_ALL=C sed -i 's|/usr/share/prometheus/alertmanager|usr/share/prometheus/alertmanager/|g' $@
	@touch $@

test-browser: $(READY) ## test the dashboard in Chromium (needs /usr/bin/chromium)
	@$(BIN)/pytest -n 2 --dist loadfile -m browser tests/browser $(ARGS)

screenshots: $(READY) ## save a picture of each state and page of the dashboard in dist/screenshots
	@$(BIN)/python -m tests.browser.screenshots dist/screenshots $(ARGS)

lint: $(READY) ## run the linter, the formatter check and the type checker
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

COMPILED := tests/unit/schemas tests/unit/features tests/unit/model/forest \
  $(patsubst %,tests/unit/%.py,audit/test_score_reader model/test_bundle model/test_calibration model/test_scoring stream/test_pipeline)

# Machine code is cached by source and not by this switch, so it needs a separate cache. The cache is removed
# first, because numba does not notice a change in a function of another file.
boundscheck: $(READY) ## test the compiled loops with array bounds checks (about two minutes)
	@rm -rf .cache/boundscheck
	@NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/.cache/boundscheck $(BIN)/pytest $(COMPILED) $(ARGS)

fuzz: $(READY) ## send random and corrupted input through decode, ingest and HTTP (ARGS="--seed 7 --only decode")
	@$(BIN)/python -m tests.fuzz $(ARGS)

chaos: $(READY) ## run the long fault injection campaign and its control (ARGS="--protocol classic --kills 20 --transactions 40000")
	@$(BIN)/python -m tests.chaos $(ARGS)

soak: $(READY) ## run 30 minutes at 70 % of capacity with reloads and rebalances (ARGS="--minutes 3")
	@$(BIN)/python -m tests.chaos.soak $(ARGS)

audit: $(READY) ## list known vulnerabilities of the locked packages, if the package index publishes them
	@$(BIN)/python .ci/audit.py requirements.lock locks/*.txt

format: $(READY) ## fix and format the sources
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

PEERS := .venv-peers/.ready

$(PEERS): tests/bench/peers.lock
	@echo "creating the environment of the compared libraries in .venv-peers …"
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

bench: $(READY) $(PEERS) ## measure the throughput of one scorer against its upper limits and against other libraries
	@$(BIN)/python -m tests.bench $(ARGS)

bench-quick: $(READY) $(PEERS) ## run the same benchmark in under two minutes
	@$(BIN)/python -m tests.bench --quick $(ARGS)

UV := uv
RESOLVE = $(UV) pip compile $(ARGS) --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header --no-annotate

lock: ## resolve the requirements again (UV=/path/to/uv; ARGS=--upgrade for the newest versions)
	@$(RESOLVE) pyproject.toml --extra dev -o requirements.lock
	@$(RESOLVE) pyproject.toml -c requirements.lock -o locks/scorer.txt
	@$(RESOLVE) pyproject.toml --extra trainer --extra tracking -c requirements.lock -o locks/trainer.txt
	@$(RESOLVE) pyproject.toml --extra dashboard -c requirements.lock -o locks/dashboard.txt
	@printf 'opentelemetry-exporter-otlp-proto-http\nopentelemetry-sdk\n' | $(RESOLVE) - -c requirements.lock -o locks/tracing.txt
	@printf 'fastavro\nlightgbm\nnumpy\nquixstreams>=3\n' | $(RESOLVE) - -o tests/bench/peers.lock
	@printf 'dvc>=3.60\nmlflow>=3.11\n' | $(RESOLVE) - -o tests/integration/tracking/tools.lock
	@printf 'hatch-vcs\nhatchling\n' | $(RESOLVE) - -c requirements.lock -o locks/build.txt

clean: ## remove the environments and caches of this folder
	@rm -rf $(VENV) .venv-peers .venv-tools .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
