# Every job a person does, one line each. `make` alone prints them.
SWEEP ?= quick
ON ?= local
PROFILE ?= private
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
READY = $(VENV)/.ready
RECENT = import sys; sys.exit(sys.version_info < (3, 11))
PLACED = --on $(ON) $(if $(filter slurm,$(ON)),--profile '$(PROFILE)')
PART = $(if $(SCALE),--scale $(SCALE)) $(if $(ARMS),--arms $(ARMS)) $(if $(SIZES),--sizes $(SIZES)) $(if $(WHERE),--where $(WHERE)) $(if $(SEEDS),--seeds $(SEEDS))
CHOSEN = $(if $(SWEEP),'$(SWEEP)') $(PART) $(if $(TUNED),--tuned $(TUNED)) $(if $(filter-out 0,$(UNSETTLED)),--unsettled)

# A mistyped variable (ARM=n1) would otherwise be ignored, and more trained than was meant.
# Names with an underscore (SYNTH_TEXT=input.txt) reach the programs as their environment.
VARIABLES = SWEEP SCALE ARMS SIZES WHERE SEEDS TUNED UNSETTLED ON PROFILE PYTHON VENV
GIVEN = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out $(VARIABLES),$(GIVEN)),$(if $(findstring _,$(name)),,$(error No variable is called $(name). Known: $(VARIABLES))))

.DEFAULT_GOAL := help
.PHONY: help setup quick test test-cluster test-others lint format sweep plan status retry tune dashboard collect figures claims notebooks report cluster-up cluster-down bench clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /|/' | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@$(RUN) -m pip --version >/dev/null 2>&1 && $(RUN) -c '$(RECENT)' || { \
	  $(PYTHON) -c '$(RECENT)' || { \
	    echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	    echo "Name another one: make setup PYTHON=python3.12"; exit 1; }; \
	  [ ! -e $(VENV) ] || [ -f $(VENV)/pyvenv.cfg ] || [ -z "$$(ls -A $(VENV))" ] || { \
	    echo "$(VENV) holds files and is not a Python environment. Name another folder: make setup VENV=FOLDER"; exit 1; }; \
	  $(PYTHON) -m venv --clear $(VENV); }
	$(VENV)/bin/pip install --quiet --constraint constraints.txt "$$(grep -oE '^torch==[0-9.]+' constraints.txt)"
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(READY) ## create .venv with the exact versions of constraints.txt

quick: $(READY) ## train small grids on two CPU cores; ends with three tables and figures/quick.png
	$(RUN) -m sweeps run quick --again --compile on
	$(RUN) -m sweeps run repeats --again --compile on
	$(RUN) -m sweeps run choices --again --compile on
	$(RUN) -m synth probe induction runs/repeats/repeats-* --save --quiet
	$(RUN) -m analysis quick

test: $(READY) ## run the tests
	@# There is one cluster, so its tests take turns; they mostly wait for it.
	$(MAKE) --no-print-directory --keep-going --jobs=2 test-cluster test-others

test-cluster: $(READY) ## the tests on a private SLURM cluster alone (root)
	$(RUN) -m pytest -m cluster tests/slurm

test-others: $(READY) ## all other tests
	$(RUN) -m pytest -n 2 -m 'not cluster'

lint: $(READY) ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY) ## let ruff format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

sweep: $(READY) ## run a sweep: make sweep SWEEP=polynomial SCALE=small ON=local [TUNED=FILE] [SEEDS=8 ARMS='n1 n2' SIZES=1M WHERE=degree=2]
	$(RUN) -m sweeps run $(CHOSEN) $(PLACED)

plan: $(READY) ## what a sweep would do; nothing is executed
	$(RUN) -m sweeps plan $(CHOSEN)

status: $(READY) ## where the runs of a sweep stand
	$(RUN) -m sweeps status $(CHOSEN)

retry: $(READY) ## train the failed runs of a sweep again
	$(RUN) -m sweeps retry $(CHOSEN) $(PLACED)

tune: $(READY) ## try a grid of learning rates for every arm and size of a sweep
	$(RUN) -m sweeps tune $(CHOSEN) $(PLACED)

dashboard: $(READY) ## a sweep in a browser, as its run folders stand (installs optuna-dashboard)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dashboard]'
	$(RUN) -m sweeps dashboard $(CHOSEN)

collect: $(READY) ## run folders of all sweeps to analysis/results/*.parquet
	$(RUN) -m analysis collect

figures: $(READY) ## rebuild every figure from analysis/results/, without training
	$(RUN) -m analysis figures
	$(RUN) -m analysis plot best-horizon-tuned --x tokens --metric test/excess_loss/horizon=1,role=choice --panel task.consequences
	$(RUN) -m analysis plot repeats-depth-tuned --metric learned: --x scale
	$(RUN) -m analysis compare cross-night-tuned --metric mean: --plot

claims: $(READY) ## for each claim of the papers: supported, contradicted, undecided or not tested
	$(RUN) -m analysis claims

notebooks: $(READY) ## execute analysis/notebooks/ on the committed tables
	$(RUN) -m analysis notebooks

report: $(READY) ## one self-contained HTML page from analysis/results/
	$(RUN) -m analysis report

cluster-up: $(READY) ## a private SLURM cluster on this machine, for trying things out (root)
	$(RUN) -m slurm cluster up

cluster-down: $(READY) ## end the private SLURM cluster
	$(RUN) -m slurm cluster down --purge

bench: $(READY) ## measure: generators, training speed, memory of heads
	$(RUN) -m tests.bench.bench_polynomial
	$(RUN) -m tests.bench.bench_stories
	$(RUN) -m tests.bench.bench_tasks
	$(RUN) -m tests.bench.bench_training
	$(RUN) -m tests.bench.bench_peers
	$(RUN) -m tests.bench.bench_objectives
	$(RUN) -m tests.bench.bench_around
	$(RUN) -m tests.bench.bench_shares
	-$(RUN) -m tests.bench.bench_gpu
	$(RUN) -m tests.bench.losses compare
	$(RUN) -m tests.bench.bench_heads
	$(RUN) -m tests.bench.bench_mixers
	$(RUN) -m tests.bench.bench_law
	$(RUN) -m tests.bench.bench_probes
	$(RUN) -m tests.bench.bench_sweeps
	$(RUN) -m tests.bench.bench_collect
	$(RUN) -m tests.bench.bench_slurm
	$(RUN) -m tests.bench.bench_cluster

clean: ## remove caches; runs and figures stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
