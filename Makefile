# Every target sets up what it needs first. SPEC= spec file, RESULTS= results folder, ARGS= further options.

SPEC    ?= specs/classification_spec.cfg
RESULTS ?= results/$(basename $(notdir $(SPEC)))
ARGS    ?=
RUNNER  ?= auto
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
INSTALLED := $(VENV)/installed
PORT    ?= 6006

.DEFAULT_GOAL := help
.PHONY: help install train evaluate prune retrain export inference tensorboard sample-data test lint format proto lock clean runner

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  SPEC=$(SPEC)  RESULTS=$(RESULTS)  ARGS=\"--set train_config.n_epochs=5\"  RUNNER=auto|docker|local"

install: $(INSTALLED) ## Make .venv with what training needs

train: runner install ## Train the spec, or go on where it stopped
	$(BIN)/tao-lite train -e $(SPEC) -r $(RESULTS) $(ARGS)

evaluate: runner install ## Evaluate the best checkpoint of RESULTS
	$(BIN)/tao-lite evaluate -e $(SPEC) -r $(RESULTS) $(ARGS)

prune: runner install ## Prune the best checkpoint of RESULTS
	$(BIN)/tao-lite prune -e $(SPEC) -r $(RESULTS) $(ARGS)

retrain: ## Train specs/classification_retrain_spec.cfg (or SPEC), which starts from a pruned network
	@$(MAKE) --no-print-directory train SPEC=$(if $(filter command line,$(origin SPEC)),$(SPEC),specs/classification_retrain_spec.cfg)

export: runner install ## Export the best checkpoint of RESULTS to ONNX
	$(BIN)/tao-lite export -e $(SPEC) -r $(RESULTS) $(ARGS)

inference: runner install ## Classify the images in the folder IMAGES with the best checkpoint of RESULTS
	$(BIN)/tao-lite inference -e $(SPEC) -r $(RESULTS) -d $(or $(IMAGES),$(error IMAGES=folder says what to classify)) $(ARGS)

tensorboard: install ## Show the curves of RESULTS at http://localhost:6006 (PORT=)
	$(BIN)/tensorboard --logdir $(RESULTS)/events --port $(PORT)

sample-data: install ## Draw the sample data set in data/sample
	$(BIN)/tao-lite dataset sample -o data/sample $(ARGS)

test: $(INSTALLED) ## Run the tests
	$(BIN)/pytest $(ARGS)

lint: $(INSTALLED) ## Check style, types and generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python proto/generate.py --check

format: $(INSTALLED) ## Put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(INSTALLED) ## Make the code and the field reference from proto/classification.proto
	$(BIN)/python proto/generate.py

clean: ## Remove .venv and caches; results and data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

runner:
ifeq ($(RUNNER),docker)
	@echo "RUNNER=docker: containers are not there yet in this version; use RUNNER=local" >&2; exit 2
else ifneq ($(filter $(RUNNER),auto local),$(RUNNER))
	@echo "RUNNER=$(RUNNER): must be auto, docker or local" >&2; exit 2
else
	@echo "Running in $(VENV): $(if $(filter auto,$(RUNNER)),this version has no containers yet,RUNNER=local was asked for)"
endif

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tao_lite needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name one with PYTHON=")'
	@echo "Installing into $(VENV); torch with its CUDA libraries takes some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-annotate --no-header -o requirements.lock
