# Everything starts here. Each target installs and starts what it needs, so nothing has to be prepared by hand.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
export PRIMITIVES_HOME ?= $(CURDIR)/var
SOURCES := pyproject.toml constraints.txt hatch_build.py $(shell find proto -name '*.proto')
CODE := services bench tests deploy client docs/notebooks hatch_build.py

.PHONY: help setup demo up down test test-gpu chaos bench budgets pictures audit images secrets requirements smoke lint format release clean

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(VENV)/dev.stamp $(VENV)/checkov.stamp servers ## Install everything for development and tests.

demo: $(if $(STACK),setup,$(VENV)/all.stamp) ## Train, extract, render and open the pages at http://127.0.0.1:8000 (ONCE=1 ends with the plan, STACK=1 uses real servers).
	$(if $(STACK),$(BIN)/python -m deploy.local.stack demo,$(BIN)/primitives demo $(if $(FRESH),--fresh)) $(if $(ONCE),--once)

up: setup ## Start RabbitMQ, an S3 server, PostgreSQL and the four services, a process each, in the background.
	$(BIN)/python -m deploy.local.stack up

down: $(VENV)/all.stamp ## Stop what `make up` started.
	$(BIN)/python -m deploy.local.stack down

test: setup ## Run all tests (S3=s3://KEY:SECRET@HOST:PORT?secure=false uses that empty store instead of a new one).
	OMP_NUM_THREADS=1 $(if $(S3),TEST_S3_URL='$(S3)' )$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long and not gpu" $(ARGS)

test-gpu: setup ## Run the tests that need a CUDA device.
	$(BIN)/python -m pytest -m gpu tests/gpu $(ARGS)

chaos: setup ## Run the long ledger (jobs while every part is made to fail) and print it, the sweep over all networks, ten times the generated requests of `make test`, and 2,000 damaged files of all layouts.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/chaos tests/integration/test_bench_plan.py tests/integration/test_fuzz_http.py tests/integration/test_fuzz_grpc.py tests/unit/imaging/test_layers.py tests/unit/training/raw/test_fuzz.py $(ARGS)

bench: setup ## Run every bench on real servers and print its figures, one line of JSON each (ARGS=--quick for small benches).
	$(BIN)/python -m deploy.local.stack bench $(ARGS) --json

budgets: setup ## Measure script, style, paint and response of each page in a browser, and print them as JSON.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.e2e.budgets

pictures: setup ## Take the pictures of all pages in docs/pictures/pages again.
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.e2e.pictures

secrets: ## Create the secrets of docker-compose.yml below var/secrets; existing ones are kept.
	$(PYTHON) -m deploy.secrets

requirements: $(VENV)/all.stamp ## Write deploy/requirements from constraints.txt: the packages of the images, with hashes.
	$(BIN)/python -m deploy.lock

smoke: setup ## Build the images, start docker-compose.yml on a separate Docker engine, and run the demo on it (Debian, root).
	$(BIN)/python -m deploy.smoke.run $(ARGS)

audit: $(VENV)/dev.stamp $(VENV)/audit.stamp ## Check every pin of the images for known vulnerabilities; a pin that cannot be checked fails (ARGS="-s osv" queries OSV).
	$(BIN)/python -m deploy.release.audit $(ARGS)

images: $(VENV)/dev.stamp ## Check that every image is named by a digest or an exact tag, and list those without a digest.
	$(BIN)/python -m deploy.release.image_names

lint: $(VENV)/dev.stamp ## Check style, types and protos.
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/buf lint proto

format: $(VENV)/dev.stamp ## Format the code.
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

release: $(VENV)/dev.stamp ## Store the protos and the OpenAPI of the code as contracts that later code must not break (docs/contracts.md).
	$(BIN)/python -m deploy.release.contracts keep

clean: ## Remove everything that was created here: the environment, the data of demo and up, caches.
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `all` installs the packages of the services; `dev` adds the Python client, and the tools for lint and tests. Changed
# pins or protos install again.
$(VENV)/all.stamp: $(SOURCES) | $(VENV)/pip
	$(PIP) install --constraint constraints.txt --editable '.[all]'
	@touch $@

$(VENV)/dev.stamp: $(SOURCES) client/pyproject.toml | $(VENV)/pip
	$(PIP) install --constraint constraints.txt --editable '.[dev]' --editable ./client
	@touch $@ $(VENV)/all.stamp

# The checker of manifests has its own environment, because its pins differ from the product's.
$(VENV)/checkov.stamp: k8s/checkov.txt | $(VENV)/pip
	$(PYTHON) -m venv $(VENV)/checkov
	$(VENV)/checkov/bin/pip --quiet --disable-pip-version-check install --requirement $<
	@touch $@

# The audit has its own environment: its packages are not part of the product and not bound to its versions.
$(VENV)/audit.stamp: Makefile | $(VENV)/pip
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip --quiet --disable-pip-version-check install pip-audit==2.10.1
	@touch $@

$(VENV)/pip:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Installs missing programs that tests run, from Debian's packages.
.PHONY: servers
servers:
	@missing=""; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	test -x /usr/lib/rabbitmq/bin/rabbitmq-server || missing="$$missing rabbitmq-server"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	test -f /usr/share/orthanc/plugins/libOrthancDicomWeb.so || missing="$$missing orthanc orthanc-dicomweb"; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	test -z "$$missing" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; }
