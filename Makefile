# Every target sets up what it needs first. SPEC= spec file, RESULTS= results folder, ARGS= further options.

SPEC    ?= specs/classification_spec.cfg
# A blank would make two words of a path.
blank   := $(subst ,, )
RESULTS ?= results/$(subst |,$(blank),$(basename $(notdir $(subst $(blank),|,$(SPEC)))))
ARGS    ?=
RUNNER  ?= auto
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
INSTALLED := $(VENV)/installed
LAUNCHER  := $(VENV)/launcher
PEERS     := $(VENV)/bench/installed
OLDEST    := .venv-oldest
VERSION   := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
PYTEST    := pytest -n auto --maxprocesses 4 --dist worksteal --durations 10
IMAGE     := $(or $(TAO_LITE_IMAGE),tao-lite:$(VERSION))
RUN       := RUNNER=$(RUNNER) VENV=$(VENV) TAO_LITE_IMAGE=$(IMAGE) containers/run
COMPOSE   := TAO_LITE_IMAGE=$(IMAGE) PORT=$(PORT) containers/compose
COMPILE   := uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade --no-annotate --no-header
# All that runs here; trackers are installed by who has them.
EXTRAS  := train import export openvino pretrained remote report sign tune
PORT    ?= 6006
PROFILE ?= $(if $(wildcard /proc/driver/nvidia/version),gpu,cpu)

.DEFAULT_GOAL := help
.PHONY: help install train evaluate prune retrain transfer export cross-validate tune quantize compress inference tensorboard sample-data test test-all faults test-oldest test-container test-podman test-slurm manifest bench lint format proto lock wheel clean image up down doctor launcher

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  SPEC=$(SPEC)  RESULTS=$(RESULTS)  ARGS=\"--set train_config.n_epochs=5\"  RUNNER=auto|docker|local|slurm"

install: $(INSTALLED) ## Make .venv with what training needs

train: ## Train the spec, or go on where it stopped; RUNNER=slurm NODES=2 GPUS=8 SLURM_ARGS="..." as a job of Slurm
	@$(RUN) train -e "$(SPEC)" -r "$(RESULTS)" $(ARGS)

evaluate: ## Evaluate the best checkpoint of RESULTS
	@$(RUN) evaluate -e "$(SPEC)" -r "$(RESULTS)" $(ARGS)

prune: ## Prune the best checkpoint of RESULTS
	@$(RUN) prune -e "$(SPEC)" -r "$(RESULTS)" $(ARGS)

retrain: ## Train specs/classification_retrain_spec.cfg (or SPEC), which starts from a pruned network
	@$(MAKE) --no-print-directory train SPEC="$(if $(filter command line,$(origin SPEC)),$(SPEC),specs/classification_retrain_spec.cfg)"

transfer: ## Train specs/transfer_spec.cfg, from ImageNet's weights, on the pictures in DATA, a folder for each class in it
	@$(MAKE) --no-print-directory train SPEC="$(if $(filter command line,$(origin SPEC)),$(SPEC),specs/transfer_spec.cfg)" \
	  ARGS='--set train_config.train_dataset_path="$(or $(DATA),$(error DATA=folder says on what))" $(ARGS)'

export: ## Export the best checkpoint of RESULTS to ONNX
	@$(RUN) export -e "$(SPEC)" -r "$(RESULTS)" $(ARGS)

cross-validate: ## Train once for each part of the data, without it, and predict it; ARGS="--folds 5"
	@$(RUN) cross-validate -e "$(SPEC)" -r "$(RESULTS)" $(ARGS)

tune: ## Search for better values of fields: specs/tune_spec.cfg (or SPEC)
	@$(RUN) tune -e "$(if $(filter command line,$(origin SPEC)),$(SPEC),specs/tune_spec.cfg)" \
	  -r "$(if $(filter command line,$(origin RESULTS)),$(RESULTS),results/tune)" $(ARGS)

quantize: ## Make an INT8 ONNX file of the best checkpoint of RESULTS
	@$(RUN) quantize -e "$(SPEC)" -r "$(RESULTS)" $(ARGS)

compress: ## Find the smallest network that is as good as that of classification_spec.cfg, and package it
	@$(MAKE) --no-print-directory train SPEC=specs/classification_spec.cfg RESULTS=results/classification_spec ARGS=
	@$(RUN) compress -e "$(if $(filter command line,$(origin SPEC)),$(SPEC),specs/compress_spec.cfg)" \
	  -m results/classification_spec/weights/best.pth \
	  -r "$(if $(filter command line,$(origin RESULTS)),$(RESULTS),results/compress_spec)" $(ARGS)

inference: ## Classify the images in the folder IMAGES with the best checkpoint of RESULTS
	@$(RUN) inference -e "$(SPEC)" -r "$(RESULTS)" -d "$(or $(IMAGES),$(error IMAGES=folder says what to classify))" $(ARGS)

tensorboard: ## Show the curves of RESULTS at http://localhost:6006 (PORT=)
	@if [ "$$($(RUN) --where 2>/dev/null)" = docker ] && $(COMPOSE) version >/dev/null 2>&1; \
	then mkdir -p "$(RESULTS)"; LOGDIR="$$(realpath "$(RESULTS)")" $(COMPOSE) up tensorboard; \
	else $(MAKE) --no-print-directory install && $(BIN)/tensorboard --logdir "$(RESULTS)/events" --port $(PORT); fi

image: ## Build the image of containers; BASE_IMAGE= another base, BUILD_ARGS= more options of docker build
	containers/image $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION="$$(git rev-parse --short HEAD 2>/dev/null)" \
	  --build-arg SOURCE="$$(python3 tao_lite/launcher/image.py)" $(BUILD_ARGS) -f containers/Dockerfile -t $(IMAGE) .

up: ## Train SPEC and show its curves with Docker Compose, in the background; PROFILE=gpu|cpu
	SPEC="$(SPEC)" RESULTS="$(RESULTS)" $(COMPOSE) --profile $(PROFILE) up -d

down: ## Stop what `make up` started; a training saves first
	$(COMPOSE) --profile gpu --profile cpu down

doctor: ## Say what works on this machine and what to do about the rest
	@test -e $(INSTALLED) || $(MAKE) --no-print-directory launcher
	@TAO_LITE_IMAGE=$(IMAGE) $(BIN)/tao-lite doctor $(ARGS)

manifest: ## Print what Kubernetes needs to train SPEC; IMAGE= DATA_CLAIM= RESULTS_CLAIM= NODES=2 GPUS=8 KIND=job|trainjob
	@SPEC="$(SPEC)" IMAGE="$(if $(filter-out file,$(origin IMAGE)),$(IMAGE),$(TAO_LITE_IMAGE))" $(PYTHON) containers/kubernetes/manifest.py $(ARGS)

sample-data: install ## Draw the sample data set in data/sample
	$(BIN)/tao-lite dataset sample -o data/sample $(ARGS)

test: $(INSTALLED) ## Run the tests, but those that are marked slow
	$(BIN)/$(PYTEST) -m "not slow" $(ARGS)

test-all: $(INSTALLED) ## Run every test; ARGS=--cov says how much of the code they run
	$(BIN)/$(PYTEST) $(ARGS)

faults: $(INSTALLED) ## Let every system call on the results folder fail in turn, an hour and a half; FAULTS=2/6 the second of six parts
	FAULTS=$(or $(FAULTS),all) $(BIN)/$(PYTEST) tests/faults $(ARGS)

test-oldest: $(OLDEST)/installed ## Run every test with the oldest versions that pyproject.toml allows (Python 3.11)
	$(OLDEST)/bin/$(PYTEST) $(ARGS)

test-container: $(INSTALLED) ## Run the tests of image, launcher and TensorBoard with a Docker engine (as root, on Debian)
	tests/container/run $(ARGS)

test-podman: $(INSTALLED) ## The same with Podman, as root and rootless; SHORT=1 the most important ones
	ENGINE=podman tests/container/run $(ARGS)

test-slurm: $(INSTALLED) ## Run the tests of RUNNER=slurm on a Slurm of two nodes (as root, on Debian)
	tests/cluster/run $(ARGS)

bench: $(PEERS) ## Measure beside other programs, about 20 minutes, and write the table of tests/bench/README.md; ARGS=--gpu
	@for name in loaders step end_to_end; do $(BIN)/python -m tests.bench.$$name $(ARGS) || exit; done
	@$(BIN)/python -m tests.bench.table

lint: $(INSTALLED) ## Check style, types and generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint containers/Dockerfile
	$(BIN)/python proto/generate.py --check

format: $(INSTALLED) ## Put the code into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(INSTALLED) ## Build the package that pip installs, in dist
	$(BIN)/python -m hatchling build -t wheel

proto: $(INSTALLED) ## Make the code, the field reference and specs/automl from proto/classification.proto
	$(BIN)/python proto/generate.py

clean: ## Remove .venv and caches; results and data stay
	rm -rf $(VENV) $(OLDEST) dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tao_lite needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name one with PYTHON=")'
	@echo "Installing into $(VENV); torch with its CUDA libraries takes some minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(OLDEST)/installed: pyproject.toml tests/oldest.txt
	@test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r tests/oldest.txt
	@$(OLDEST)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The programs that tao_lite is measured beside: in a folder that nothing else of .venv sees. Without them, those that
# .venv has anyway are measured, and the others are named as missing.
$(PEERS): tests/bench/requirements.txt $(INSTALLED)
	@rm -rf $(@D)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps --target $(@D) -r $< && touch $@ \
	  || echo "Lightning and DALI could not be installed; going on without them"

launcher: $(LAUNCHER) ## Make .venv with what starting containers needs, without torch

$(LAUNCHER): pyproject.toml containers/launcher.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r containers/launcher.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: ## Pin the newest and the oldest versions that pyproject.toml allows (needs uv)
	$(COMPILE) pyproject.toml $(addprefix --extra ,$(EXTRAS) test dev) --group build -o requirements.lock
	$(COMPILE) --group bench --excludes requirements.lock -o tests/bench/requirements.txt
	$(COMPILE) pyproject.toml --group build -c requirements.lock -o containers/launcher.lock
	$(COMPILE) pyproject.toml $(addprefix --extra ,$(EXTRAS)) --group build --excludes containers/base.txt \
	  -c requirements.lock -o containers/image.lock
	$(COMPILE) pyproject.toml $(addprefix --extra ,$(EXTRAS) test dev) --group build --resolution lowest-direct -o tests/oldest.txt
