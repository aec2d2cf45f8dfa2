# `make demo` and `make test` install what they need into .venv; they only ask for Python 3.11 or later.
# The first interpreter that runs is used: version managers leave names on the PATH that only print an error.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
BIN := $(VENV)/bin
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
# few_volumes.py needs the results of a labelled data set.
BENCHMARKS := $(filter-out benchmarks/few_volumes.py,$(wildcard benchmarks/*.py))

.PHONY: demo test test-slow test-slurm benchmark lint docs pins clean

demo: $(VENV)/.demo-ready
	@echo "Running the phantom data set on $(CORES) core(s): about 6 minutes on two."
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(SNAKEMAKE) --quiet rules
	@cat results/phantom/tables/table1.md
	@echo "Figures:" && ls results/phantom/figures/*.png

test: $(VENV)/.test-ready
	@$(BIN)/python -m pytest -m "not slow and not slurm" -n $(CORES)

test-slow: $(VENV)/.test-ready
	@$(BIN)/python -m pytest -m "slow"

# Installs and starts SLURM on this machine; skipped with the reason if it cannot start.
test-slurm: $(VENV)/.test-ready
	@tests/slurm/install.sh
	@$(BIN)/python -m pytest tests/slurm -m slurm -rs

lint: $(VENV)/.test-ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check Snakefile from_tables.smk rules
	@$(BIN)/snakemake --lint
	@$(BIN)/snakemake --lint --snakefile from_tables.smk

# The documentation as a web site, in site/.
docs: $(VENV)/.test-ready
	@$(BIN)/mkdocs build --strict

benchmark: $(VENV)/.demo-ready
	@for script in $(BENCHMARKS); do $(BIN)/python $$script --quick || exit 1; done

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later on the PATH: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-ready: requirements.txt | $(VENV)/bin/python
	@echo "Installing the pinned packages into $(VENV) (some minutes, several GB, once)."
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.test-ready: requirements-test.txt $(VENV)/.demo-ready
	@$(BIN)/python -m pip install --quiet -r requirements-test.txt
	@touch $@

# Solves the conda environments and writes their exact builds; needs conda and `pip install snakedeploy`.
pins:
	CONDA_OVERRIDE_CUDA=12.9 snakedeploy pin-conda-envs envs/*.yaml

clean:
	rm -rf results/*/ logs .snakemake site
