# What people and CI run. `make` lists it. Nothing is needed but make and Python 3.11 to 3.14.

LISTEN ?= 127.0.0.1:8080
ARGS   ?=
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
            $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null \
              && echo $$python && break; done)

VENV    := .venv
BIN     := $(VENV)/bin
RUNTIME := $(VENV)/.installed-runtime
DEV     := $(VENV)/.installed-dev
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
LOCK    := $(BIN)/uv pip compile --quiet --universal --upgrade --no-annotate --no-header --python-version 3.11

# Goldens are rendered without anything of this machine's, so that they are the same everywhere.
GOLDEN  := env -i PATH="$$PATH" AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
RENDER  := $(BIN)/oai-extproc envoy-config --config gateway.example.yaml --admin unix:/run/oai/admin.sock \
           --ca-file /etc/ssl/certs/ca-certificates.crt

.DEFAULT_GOAL := help
.PHONY: help run test test-unit lint fmt proto golden bench-translation docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUNTIME) ## Start everything on LISTEN (127.0.0.1:8080), with a demo token
	@exec $(BIN)/oai-extproc up --listen $(LISTEN) $(ARGS)

test: $(DEV) ## Run the whole suite; ARGS are pytest's
	$(BIN)/python -m pytest $(ARGS)

test-unit: $(DEV) ## Run the fast part: no Envoy, no sockets
	$(BIN)/python -m pytest tests/unit tests/properties $(ARGS)

lint: $(DEV) ## Check style, types and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(DEV) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(DEV) ## Generate the protobuf modules again
	PATH="$(CURDIR)/$(BIN):$$PATH" proto/generate

golden: $(DEV) ## Render the golden copies in envoy/ again
	$(GOLDEN) $(RENDER) > envoy/bootstrap.yaml
	$(GOLDEN) AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http://127.0.0.1:9000 $(RENDER) > envoy/bootstrap-local.yaml

bench-translation: $(DEV) ## Measure the translation: µs per request and per frame
	$(BIN)/python bench/translation.py

docs: $(DEV) ## Write docs/compatibility.md again
	$(BIN)/python tests/unit/translate/test_compatibility.py > docs/compatibility.md.new
	mv docs/compatibility.md.new docs/compatibility.md

lock: $(DEV) ## Choose the pinned versions of Python packages again
	$(LOCK) --all-extras --output-file constraints.txt pyproject.toml
	$(LOCK) --output-file tests/clients/requirements/litellm.txt tests/clients/requirements/litellm.in

clean: ## Remove everything that was made here
	rm -rf $(VENV) .venv-clients tests/clients/node/node_modules .run \
	  .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.14 found; install one, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' \
	  || { echo "make: $(PYTHON) is not Python 3.11 to 3.14; say make PYTHON=/path/to/python3"; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "make: no venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the gateway needs"
	@$(INSTALL) -e '.[envoy,tokens]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the gateway and its tests need"
	@$(INSTALL) -e '.[envoy,tokens,dev]'
	@touch $(RUNTIME) $@
