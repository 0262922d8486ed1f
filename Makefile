# clip-image-search: `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# uv makes the Python environment. Where there is none, it is installed from PyPI into .cache/uv.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .cache/uv/bin/uv)
RUN := $(UV) run --no-sync
PYTHON ?= python3

.PHONY: help demo streamlit test unit integration e2e containers check lint-template bench bench-quick soak openapi format photos clean setup setup-streamlit setup-test setup-bench browser

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup  ## Search the bundled pictures at http://127.0.0.1:8000 (PHOTOS=folder INDEX=opensearch MODEL=folder PORT=8000)
	@$(RUN) imagesearch demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(INDEX),--index $(INDEX)) $(if $(MODEL),--model "$(MODEL)") \
	  $(if $(PORT),--port $(PORT))

streamlit: setup-streamlit  ## Search with the Streamlit app (IMAGESEARCH_ENDPOINT=url IMAGESEARCH_API_KEY=key; that of `make demo` if none)
	@IMAGESEARCH_ENDPOINT="$${IMAGESEARCH_ENDPOINT:-http://127.0.0.1:8000}" $(RUN) streamlit run streamlit_app.py

test: setup-test browser  ## Run every test that needs no Docker: unit, integration (a real OpenSearch), a real browser
	$(RUN) pytest

unit: setup-test  ## Run the quick tests alone
	$(RUN) pytest tests/unit

integration: setup-test  ## Run the tests against real servers
	$(RUN) pytest tests/integration

e2e: setup-test browser  ## Run the whole path: in a browser, and in the containers that are deployed (as containers)
	$(RUN) pytest tests/e2e tests/containers

containers: setup-test  ## Build the images and run them as Lambda and Batch do (needs Docker, or root on Debian)
	$(RUN) pytest tests/containers

check: setup-test  ## Lint, formatting, types, lock file
	$(UV) lock --check
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

lint-template: setup-test  ## Check template.yaml: cfn-lint, SAM, checkov
	$(RUN) cfn-lint template.yaml
	env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY -u AWS_SESSION_TOKEN -u AWS_PROFILE SAM_CLI_TELEMETRY=0 \
	  $(UV) tool run --quiet --from aws-sam-cli==1.170.0 sam validate --lint --region us-east-1
	$(UV) tool run --quiet checkov==3.3.30 --skip-download --framework cloudformation --file template.yaml --compact --quiet

bench: setup-bench  ## Measure all, side by side with what one would use instead, in half an hour (SECTIONS="query loader")
	$(RUN) python -m benchmarks.scorecard $(SECTIONS) $(if $(WRITE),--write --keep)

bench-quick: setup-bench  ## Measure the most important of it, little, in three minutes
	$(RUN) python -m benchmarks.scorecard --quick $(SECTIONS) $(if $(WRITE),--keep)

openapi: setup-test  ## Write docs/openapi.json anew, after a change of the API
	$(RUN) python -c 'from functions.query.app import openapi_document; print(openapi_document("/"), end="")' > docs/openapi.json

format: setup-test  ## Format the code and mend what the linter can
	$(RUN) ruff check --fix
	$(RUN) ruff format

soak: setup-test  ## Search and write under load while OpenSearch and S3 fail; nothing may be lost or wrong (MINUTES=10)
	$(RUN) python -m benchmarks.scorecard.soak --minutes $(or $(MINUTES),10)

clean:  ## Remove what the demo and the tools left here
	rm -rf .demo .bench .cache .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --inexact: what one target installed stays there for the other (torch, for the tests, is large).
setup: $(UV)
	@$(UV) sync --quiet --inexact --locked --no-default-groups

setup-streamlit: $(UV)
	@$(UV) sync --quiet --inexact --locked --no-default-groups --group streamlit

setup-test: $(UV)
	@$(UV) sync --quiet --inexact --locked --group dev --group streamlit --group torch

setup-bench: $(UV)
	@$(UV) sync --quiet --inexact --locked --group dev --group streamlit --group torch --group bench

browser:
	@bash tests/e2e/install-browser.sh "$(RUN)"

.cache/uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "error: this needs Python 3.11 or newer as $(PYTHON); name another one with PYTHON=..." >&2; exit 1; }
	@echo "uv is missing: installing it from PyPI into .cache/uv"
	@$(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9' \
	  || { rm -rf .cache/uv; echo "error: could not install uv (on Debian: apt-get install python3-venv); or install uv yourself" >&2; exit 1; }
.PHONY: uv
uv: ;
