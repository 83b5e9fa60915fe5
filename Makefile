# Two commands set everything up: `make study` and `make test`. `make check` is what CI runs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: study test crash-test check lint format clean

study: $(INSTALLED)
	@if [ -e results/studies/ablation/ledger.journal ]; then $(BIN)/study resume ablation; \
	else $(BIN)/study run search_spaces/ablation.yaml; fi
	$(BIN)/study best ablation --metric val_auc

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Kills the driver of real studies at 50 random moments: about half an hour on two cores.
crash-test: $(INSTALLED)
	$(BIN)/python tests/benchmarks/crash_test.py --kills 50

check: lint test

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 6.5 GB, some minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
