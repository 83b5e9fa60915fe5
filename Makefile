# Two commands set everything up: `make study` and `make test`. `make check` is what CI runs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Where the environment forbids bytecode, as containers do, each of hundreds of processes would compile the package again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: study test crash-test honesty bench bench-gpu check check-latest lint format clean

study: $(INSTALLED)
	@if [ -e results/studies/ablation/ledger.journal ]; then $(BIN)/study resume ablation; \
	else $(BIN)/study run search_spaces/ablation.yaml; fi
	$(BIN)/study best ablation --metric val_auc

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Kills the driver of real studies at 50 random moments: about half an hour on two cores.
crash-test: $(INSTALLED)
	$(BIN)/python tests/benchmarks/crash_test.py --kills 50

# Simulates studies whose truth is known and counts wrong answers: hours on one core; tables in results/reference/.
honesty: $(INSTALLED)
	$(BIN)/python tests/benchmarks/honesty.py

# Every benchmark of the CPU with small settings, against the other way: at most 15 minutes; results/reference/bench.json.
bench: $(INSTALLED)
	$(BIN)/python tests/benchmarks/bench.py

# At most four minutes on a GPU; results/reference/gpu.json. Exit code 2 where there is none.
bench-gpu: $(INSTALLED)
	@$(BIN)/python tests/benchmarks/bench_gpu.py

check: lint test

# The same checks with the newest versions that pyproject.toml allows, in an environment of their own.
check-latest:
	rm -rf .venv-latest && $(PYTHON) -m venv .venv-latest
	.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -e ".[dev]"
	.venv-latest/bin/python -m pip freeze --exclude-editable | diff constraints.txt - || true
	.venv-latest/bin/mypy
	.venv-latest/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-latest .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage *.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 6.5 GB, some minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
