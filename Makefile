# Commands for people and CI; `make` lists them. They need make and Python 3.11 to 3.14.

LISTEN ?= 127.0.0.1:8080
ARGS   ?=
SECONDS ?= 60
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
            $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null \
              && echo $$python && break; done)
PYTHON_FITS = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'

VENV    := .venv
BIN     := $(VENV)/bin
RUNTIME := $(VENV)/.installed-runtime
DEV     := $(VENV)/.installed-dev
BENCH   := $(VENV)/.installed-bench
FUZZ    := $(VENV)/.installed-fuzz
AUDIT   := $(VENV)/.installed-audit
PROXY   := .venv-clients/litellm-proxy
COMPILED := .run/compiled
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
LOCK    := $(BIN)/uv pip compile --quiet --universal --upgrade --no-annotate --no-header --python-version 3.11

# A wheel of this checkout. `build` is removed before, lest what an earlier build left there gets into it.
WHEEL   := $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps

HASHES  := $(BIN)/uv pip compile --quiet --generate-hashes --constraints constraints.txt --no-annotate --no-header \
           --python-version 3.13 --python-platform linux

# Outside of the checkout, so that it is built once on a machine.
HELM_VERSION := v4.3.2
HELM         := $(shell dirname "$$(mktemp -u)")/engine/helm/$(HELM_VERSION)/helm

# Debian's packages of a proxy, of Prometheus and of Redis, unpacked there too: they are not installed. Without apt, tests with
# them are skipped.
TINYPROXY    := $(shell dirname "$$(mktemp -u)")/engine/tinyproxy/usr/bin/tinyproxy
PROMETHEUS   := $(shell dirname "$$(mktemp -u)")/engine/prometheus/usr/bin/prometheus
REDIS        := $(shell dirname "$$(mktemp -u)")/engine/redis/usr/bin/redis-server

# The images' labels. SOURCE is the URL of the repository, if it has one.
VERSION  := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' extproc/__init__.py)
REVISION  = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
SOURCE   ?= unknown
LABELS    = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE)

# Golden copies are rendered without this machine's settings, so that they are the same everywhere.
GOLDEN  := env -i PATH="$$PATH" AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
RENDER  := $(BIN)/oai-extproc envoy-config --config gateway.example.yaml \
           --ca-file /etc/ssl/certs/ca-certificates.crt
WHOLE   := --admin unix:/run/oai/admin.sock --health 0.0.0.0:8081
TLS     := --listen 0.0.0.0:8443 --tls /etc/oai/tls/tls.crt /etc/oai/tls/tls.key --tls-secrets /run/oai
PARTS   := filter cluster route reply metrics
BEHIND  := HTTPS_PROXY=http://proxy.example:3128

UNIT     := tests/unit tests/properties
PROGRAMS := tests --ignore tests/unit --ignore tests/properties

# Tests that take minutes, and cover both transports in any run: `make test` runs them once. Of the code that floods
# pass, HTTP/2 is compiled. What fidelity tests, the translation, is the same on any transport; so is what tests of
# tenants are for. The compiled run has both, and those of SAME: how a start fails, CORS and limits of addresses, which
# Envoy alone has and which name their transports themselves, more of the translation, and what the worker does on any
# transport: its own calls, reloads, and rules about models. WAITING wait for timers most of the time, of Envoy and of
# code that is not compiled: CI runs them beside all else.
MINUTES  := --deselect tests/envoy/gateway/test_long_calls.py::test_calls_of_minutes
FLOODS   := --ignore tests/envoy/gateway/test_floods.py
FIDELITY := --ignore tests/envoy/gateway/fidelity
TENANTS  := $(patsubst %,--ignore tests/envoy/gateway/test_%.py,aliases books_agree budgets budgets_at_once catalogue features geography issuers_keys jwt jwt_keys keys last_used ledger lists metrics move_to_table organisations_rules otlp_ledger rate_limit_service rate_limits redis redis_budgets regions request_metadata roles table token_usage two_organisations usage usage_api usage_rotations)
SAME     := $(patsubst %,--ignore tests/envoy/gateway/test_%.py,address_limit bad_directories cors fair_jobs forbidden_models operators_settings reload start tool_schemas)
WAITING  := $(patsubst %,--ignore tests/envoy/gateway/test_%.py,proxy table_times)

PACKAGES := bedrock exchange limits openai telemetry tenancy translate transport
ON_COMPILED := HYPOTHESIS_PROFILE=brief PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) $(BIN)/python -m pytest --compiled

.DEFAULT_GOAL := help
.PHONY: help run test test-unit debian test-programs test-grpcio test-compiled test-compiled-unit test-compiled-gateway test-compose \
        compiled wheel wheel-compiled sdist supported installed image images sbom lint fmt proto golden \
        bench bench-smoke bench-peers bench-profile bench-tokens bench-directory bench-limits bench-queries bench-translation bench-steps bench-instructions fuzz properties audit test-chaos \
        engines wire-check test-kubernetes test-istio test-envoy-gateway test-helm soak reliability docs lock lock-images clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: supported $(RUNTIME) ## Start everything on LISTEN (127.0.0.1:8080), with a demo token
	@exec $(BIN)/oai-extproc up --listen $(LISTEN) $(ARGS)

test: $(DEV) $(TINYPROXY) $(PROMETHEUS) $(REDIS) ## Run the whole suite; ARGS are pytest's
	$(BIN)/python -m pytest $(ARGS)

test-unit: $(DEV) ## Run the fast part: no Envoy, no sockets
	$(BIN)/python -m pytest $(UNIT) $(ARGS)

test-programs: $(DEV) $(TINYPROXY) $(PROMETHEUS) $(REDIS) ## Run the other part: with Envoy, sockets and SDKs
	$(BIN)/python -m pytest $(PROGRAMS) $(ARGS)

debian: ## Install nginx and Chromium, with which a few tests run, from Debian's packages; nothing where that is not for root
	@if command -v nginx >/dev/null && command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends nginx-light chromium >/dev/null; then :; \
	else echo "make: nginx and Chromium are not installed, which takes root on Debian: tests with them are skipped"; fi

test-grpcio: $(DEV) ## Run the Envoy tests on grpcio, which TCP and TLS use; `make test` has the default
	$(BIN)/python -m pytest tests/envoy/gateway --transport grpcio $(MINUTES) $(WAITING) $(FLOODS) $(FIDELITY) $(TENANTS) $(SAME) $(ARGS)

test-compiled: test-compiled-unit test-compiled-gateway ## Run the tests of the compiled packages on compiled code, as in the image

test-compiled-unit: $(DEV) compiled ## Run the fast part of test-compiled
	$(ON_COMPILED) $(addprefix tests/unit/,$(PACKAGES)) tests/unit/test_payload.py tests/properties $(ARGS)

test-compiled-gateway: $(DEV) compiled ## Run the other part of test-compiled: with Envoy
	$(ON_COMPILED) tests/envoy/gateway tests/clients/test_streaming.py tests/install/test_compiled_wheel.py $(MINUTES) $(WAITING) -k 'not (test_floods and grpcio)' $(ARGS)

compiled: $(COMPILED)/.built ## Compile the hot packages into .run/compiled: a minute, with a C compiler

wheel: $(BIN)/python ## Build the wheel into dist/: Python only, for every machine
	@rm -rf build
	@$(WHEEL) --wheel-dir dist .
	@rm -rf build

wheel-compiled: $(DEV) ## Build the wheel with compiled packages into dist/, for this Python and system: a minute, with a C compiler
	@rm -rf build
	@OAI_EXTPROC_COMPILE=1 $(WHEEL) --no-build-isolation --wheel-dir dist .
	@rm -rf build

sdist: $(DEV) ## Build the source distribution into dist/
	@$(BIN)/uv build --quiet --sdist --out-dir dist .

lint: $(DEV) ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(DEV) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image: images ## Build the two container images; print their size and the seconds until they serve
	@deploy/docker/measure.py

images:
	docker build $(LABELS) --target bedrock-local --tag oai-extproc-bedrock-local:latest .
	docker build $(LABELS) --target extproc --tag oai-extproc:latest .

sbom: $(DEV) images ## Build the images; write their bills of materials (CycloneDX) to dist/ and validate them
	@mkdir -p dist
	@for image in oai-extproc oai-extproc-bedrock-local; do \
	  docker run --rm --network none --entrypoint cat $$image:latest /opt/oai/share/oai-extproc/sbom.cdx.json \
	    > dist/$$image-$(VERSION).cdx.json && $(BIN)/python deploy/docker/validate.py dist/$$image-$(VERSION).cdx.json || exit 1; \
	done

test-compose: $(DEV) ## Build the images, run the stack in containers, test it; ARGS are pytest's
	TESTCONTAINERS_RYUK_DISABLED=true $(BIN)/python -m pytest -m compose tests/compose tests/deploy $(ARGS)

proto: $(DEV) ## Generate the protobuf modules again
	PATH="$(CURDIR)/$(BIN):$$PATH" proto/generate

golden: $(DEV) ## Render the golden copies in envoy/ again
	$(GOLDEN) $(RENDER) $(WHOLE) > envoy/bootstrap.yaml
	$(GOLDEN) AWS_ENDPOINT_URL_BEDROCK_RUNTIME=http://127.0.0.1:9000 $(RENDER) $(WHOLE) > envoy/bootstrap-local.yaml
	$(GOLDEN) $(RENDER) $(WHOLE) $(TLS) > envoy/bootstrap-tls.yaml
	$(GOLDEN) $(BEHIND) $(RENDER) $(WHOLE) > envoy/bootstrap-proxy.yaml
	for part in $(PARTS); do $(GOLDEN) $(RENDER) --only $$part > envoy/fragment-$$part.yaml || exit 1; done
	$(GOLDEN) $(BEHIND) $(RENDER) --only tunnel > envoy/fragment-tunnel.yaml

bench: $(BENCH) compiled ## Measure beside bare Envoy and a no-op ext_proc, half an hour; ARGS="--workload chat-32 --rounds 3" for less
	$(BIN)/python -m bench $(ARGS)

bench-smoke: $(BENCH) compiled ## Run the benchmark for half a minute, to see that it works
	$(BIN)/python -m bench --smoke $(ARGS)

bench-peers: $(BENCH) compiled $(PROXY)/.installed ## Measure with LiteLLM's proxy beside the others
	$(BIN)/python -m bench --litellm $(PROXY)/bin/litellm $(ARGS)

bench-profile: $(BENCH) ## Profile a worker; ARGS="--workload paced-200 --transport grpcio"
	$(BIN)/python -m bench.profiling $(ARGS)

bench-tokens: $(DEV) ## Measure the file store with 100,000 tokens: start, memory, µs per lookup
	$(BIN)/python -m bench.tokens $(ARGS)

bench-directory: $(BENCH) compiled ## Measure the stores of tokens: the file store, a DynamoDB table, misses and floods; a quarter of an hour
	$(BIN)/python -m bench.directory $(ARGS)

bench-limits: $(BENCH) compiled ## Measure what rate limits and the running usage cost: CPU time, memory; some minutes
	$(BIN)/python -m bench.limits $(ARGS)

bench-queries: $(BENCH) $(PROMETHEUS) ## Draw what the queries of docs/operations.md answer, for docs/limits.md: six minutes
	PATH="$(dir $(PROMETHEUS)):$$PATH" $(BIN)/python -m bench.queries

bench-translation: $(DEV) ## Measure the translation: µs per request and per frame
	$(BIN)/python -m bench.translation

test-chaos: $(DEV) ## Inject faults in every phase of a call, minutes; ARGS=--long for every transport and number of workers
	$(BIN)/python -m pytest -m chaos tests/chaos $(ARGS)

test-kubernetes: $(DEV) image ## Test deploy/kubernetes on a real cluster, which a script of ENGINES starts; minutes, root
	$(BIN)/python -m tests.kubernetes $(ARGS)

engines: $(DEV) $(HELM) ## Build the controllers that overlays are tested with, by the scripts of ENGINES: half an hour, once; root
	$(BIN)/python -m tests.clusters envoy-gateway --without-tests
	$(BIN)/python -m tests.clusters istio --without-tests

test-istio: $(DEV) ## Test overlays/istio with a real istiod, which a script of ENGINES starts; minutes, root
	$(BIN)/python -m tests.clusters istio $(ARGS)

test-envoy-gateway: $(DEV) ## Test overlays/envoy-gateway with a real Envoy Gateway, which a script of ENGINES starts; minutes
	$(BIN)/python -m tests.clusters envoy-gateway $(ARGS)

test-helm: $(DEV) $(HELM) image ## Test the chart with the real Helm and a cluster that a script of ENGINES starts; root
	HELM=$(HELM) $(BIN)/python -m pytest -m helm tests/helm $(ARGS)

soak: $(DEV) ## Run ten minutes of mixed load, in which memory, descriptors and latency must stay flat; ARGS="--seconds 60" for less
	$(BIN)/python -m tests.chaos.soak $(ARGS)

reliability: $(DEV) ## Write docs/reliability.md from the results of test-chaos, fuzz, properties and soak
	$(BIN)/python -m tests.chaos.page --take .run

fuzz: $(FUZZ) ## Fuzz each target for SECONDS (60), two at a time; ARGS="http2" for one of them
	$(BIN)/python -m fuzz --seconds $(SECONDS) $(ARGS)

properties: $(DEV) ## Look for counterexamples to what tools' schemas promise, an hour; ARGS="--seconds 60" for less
	$(BIN)/python -m tests.properties $(ARGS)

audit: $(AUDIT) ## Look up the locked packages in a database of vulnerabilities; ARGS are pip-audit's
	$(BIN)/python deploy/audit.py constraints.txt $(ARGS)

bench-steps: $(DEV) ## Measure how long one request keeps the event loop busy, by shape and size
	$(BIN)/python -m bench.steps $(ARGS)

bench-instructions: $(BENCH) compiled ## Count the worker's instructions for a chat and a frame, by valgrind: five minutes
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) $(BIN)/python -m bench.instructions

wire-check: $(DEV) ## Compare what the code declares with the installed openai and botocore (docs/wire-check.md)
	@$(BIN)/python -m tests.wire

docs: $(DEV) ## Write the tables of docs/compatibility.md, docs/configuration.md and the chart again
	$(BIN)/python -m tests.unit.translate.test_compatibility > docs/compatibility.md.new
	mv docs/compatibility.md.new docs/compatibility.md
	$(BIN)/python tests/unit/test_configuration_page.py > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md
	$(BIN)/python -m tests.helm.generated

lock: $(DEV) ## Upgrade the pinned versions of Python packages; then `make wire-check`
	$(LOCK) --all-extras --output-file constraints.txt pyproject.toml
	for each in aider openai-2 openai-3 openai_agents; do \
	  $(LOCK) --output-file tests/clients/requirements/$$each.txt tests/clients/requirements/$$each.in || exit 1; \
	done
	$(LOCK) --output-file bench/requirements/litellm.txt bench/requirements/litellm.in
	$(MAKE) --no-print-directory lock-images

lock-images: $(DEV) ## Write the images' locks again: constraints.txt with hashes
	$(HASHES) --extra envoy-config --extra tokens --output-file deploy/docker/requirements.txt pyproject.toml
	printf '%s\n' setuptools mypy packaging types-protobuf types-pyyaml ziglang | $(HASHES) --output-file deploy/docker/build-requirements.txt -

clean: ## Remove everything that make has made
	rm -rf $(VENV) .venv-clients tests/clients/node/node_modules tests/clients/agents/node_modules tests/dynamodb/node/node_modules .run \
	  .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

installed: $(BENCH) $(FUZZ) $(TINYPROXY) $(PROMETHEUS) $(REDIS)

supported:
	$(if $(wildcard $(BIN)/python),,@test -z "$(PYTHON)" || ! $(PYTHON_FITS) || $(PYTHON) deploy/supported.py)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.14 found; install one, or run make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON_FITS) \
	  || { echo "make: $(PYTHON) is not Python 3.11 to 3.14; run make PYTHON=/path/to/python3"; exit 1; }
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

$(BENCH): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the benchmark needs"
	@$(INSTALL) -e '.[envoy,tokens,dev,bench]'
	@touch $(RUNTIME) $(DEV) $@

$(FUZZ): pyproject.toml constraints.txt | $(DEV)
	@echo "Installing the fuzzer"
	@$(INSTALL) -e '.[envoy,tokens,dev,fuzz]'
	@$(BIN)/python -c 'import atheris' || { echo "make: atheris has no wheel for this Python or system; fuzz with CPython 3.11 to 3.13 on Linux"; exit 1; }
	@touch $@

$(AUDIT): pyproject.toml constraints.txt | $(DEV)
	@echo "Installing pip-audit"
	@$(INSTALL) -e '.[envoy,tokens,dev,audit]'
	@touch $@

$(HELM):
	@command -v go >/dev/null || { echo "make: no Go, which builds Helm"; exit 1; }
	@echo "Building Helm $(HELM_VERSION)"
	@GOBIN=$(@D) CGO_ENABLED=0 go install -ldflags '-s -w' helm.sh/helm/v4/cmd/helm@$(HELM_VERSION)

$(TINYPROXY):
	@echo "Unpacking tinyproxy"
	@folder=$(@D) && folder=$${folder%/usr/bin} && mkdir -p $$folder && cd $$folder \
	  && { apt-get download -qq tinyproxy-bin || { apt-get update -qq && apt-get download -qq tinyproxy-bin; }; } 2>/dev/null \
	  && dpkg-deb -x tinyproxy-bin_*.deb . || echo "make: no package tinyproxy-bin: tests with a proxy are skipped"

$(PROMETHEUS):
	@echo "Unpacking Prometheus"
	@folder=$(@D) && folder=$${folder%/usr/bin} && mkdir -p $$folder && cd $$folder \
	  && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } 2>/dev/null \
	  && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb || echo "make: no package prometheus: tests with it are skipped"

# redis-server is a part of redis-tools, and the rest its libraries.
REDIS_PACKAGES := redis-server redis-tools libjemalloc2 liblua5.1-0 liblzf1 lua-bitop lua-cjson

$(REDIS):
	@echo "Unpacking Redis"
	@folder=$(@D) && folder=$${folder%/usr/bin} && mkdir -p $$folder && cd $$folder \
	  && { apt-get download -qq $(REDIS_PACKAGES) || { apt-get update -qq && apt-get download -qq $(REDIS_PACKAGES); }; } 2>/dev/null \
	  && for package in *.deb; do dpkg-deb -x $$package . && rm $$package; done \
	  || echo "make: no package redis-server: tests with it are skipped"

$(COMPILED)/.built: setup.py pyproject.toml $(shell find extproc bedrock_local -name '*.py' -o -name '*.json') | $(DEV)
	@echo "Compiling the hot packages into $(COMPILED)"
	@rm -rf $(COMPILED) build
	@OAI_EXTPROC_COMPILE=1 $(WHEEL) --no-build-isolation --wheel-dir $(COMPILED)/wheel .
	@$(INSTALL) --no-deps --target $(COMPILED) $(COMPILED)/wheel/*.whl
	@rm -rf build
	@touch $@

$(PROXY)/.installed: bench/requirements/litellm.txt | $(BIN)/python
	@echo "Installing LiteLLM's proxy in $(PROXY)"
	@$(BIN)/python -m venv --clear $(PROXY)
	@$(PROXY)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@
