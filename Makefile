# One-line doors. `make demo` and `make test` set up what they need; nothing is installed outside .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: setup torch demo test check bench image test-image demo-deploy lock clean
setup: $(READY)

$(READY): requirements/build.lock requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Medley needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test "$$(uname)" = Linux || { echo "Medley runs on Linux (its processes need epoll, pidfd and memfd): use a container or WSL elsewhere"; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	-$(BIN)/python -m container.mms.aot
	@touch $(READY)

# Its tests are skipped without it. PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS say where PyTorch's CPU builds are.
torch: setup
	$(BIN)/python -m pip install --quiet -r requirements/torch.txt

demo: setup
	$(BIN)/medley demo

test: setup  # two at a time: most of them wait for processes to start and end
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

check: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks

# docker, or what has its command line; FRAMEWORKS: which of requirements/image the image has; BUILD_ARGS: more words for
# the build, such as --build-arg PIP_EXTRA_INDEX_URL=... or PIP_FIND_LINKS=..., for torch
ENGINE ?= docker
IMAGE ?= medley
BUILD_ARGS ?=
FRAMEWORKS ?= xgboost sklearn
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)
IMAGE_TESTS ?= tests/image tests/contract
image:  # without attestations: with them docker may push an index of manifests, and SageMaker takes an image's own
	BUILDX_NO_DEFAULT_ATTESTATIONS=1 $(ENGINE) build $(BUILD_ARGS) --tag $(IMAGE) --build-arg FRAMEWORKS="$(FRAMEWORKS)" \
	  --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
	  --build-arg REVISION="$(REVISION)" --build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)" .

# The contract suite against containers of the image, on both fronts, and what only a container can show.
test-image: setup
	MEDLEY_TEST_IMAGE=$(IMAGE) ENGINE="$(ENGINE)" $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup $(IMAGE_TESTS)

# The whole way to AWS and back, on this machine: bootstrap, build, publish, deploy, invoke, roll out, roll back, destroy.
# It needs ENGINE, and docker-registry (Debian has it).
demo-deploy: setup
	$(BIN)/python -m tests.aws.story --engine "$(ENGINE)"

COMPILE = $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-annotate \
  --no-header --allow-unsafe
# What multi-model-server's own Python and CatBoost's plots would import, which is nothing that an image runs.
NOT_IN_IMAGE := pillow future enum-compat model-archiver matplotlib plotly graphviz contourpy cycler fonttools kiwisolver pyparsing
lock: setup
	for set in build runtime frameworks dev; do $(COMPILE) requirements/$$set.in -o requirements/$$set.lock; done
	for set in requirements/image/*.in; do $(COMPILE) $$set -o $${set%.in}.lock -c requirements/frameworks.lock \
	  $(NOT_IN_IMAGE:%=--no-emit-package %); done

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
