# Every target works on a bare checkout: it creates .venv (ignored by git) and installs seglab there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo table test torture bench gpu lint format clean

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "seglab needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.11" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps 'cityscapesscripts>=2.3,<3' pyquaternion  # without the dependency that shadows typing
	touch $@

demo: $(INSTALLED)  ## Draw street scenes, train FixMatch on 1/8 of the labels, score it, predict.
	$(BIN)/seglab data streets --root data/streets
	$(BIN)/seglab fit streets fixmatch --data.labeled 1/8 --trainer.max_steps 200 --run_dir runs/demo --ckpt_path last
	$(BIN)/seglab validate runs/demo
	$(BIN)/seglab predict runs/demo --images data/streets/cityscapes/leftImg8bit/test/seedorf --output runs/demo/predictions

JOBS ?= 1
table: $(INSTALLED)  ## The tables of experiments/README.md on streets: every method, three seeds. Again: goes on.
	$(BIN)/seglab data streets --root data/streets
	OMP_NUM_THREADS=1 $(BIN)/seglab sweep experiments/sweeps/streets_1_64.yaml --jobs $(JOBS)
	$(BIN)/seglab fit streets_adaptation supervised --data.target.workers 1 --run_dir runs/streets_source --ckpt_path last
	OMP_NUM_THREADS=1 $(BIN)/seglab sweep experiments/sweeps/streets_warm.yaml --jobs $(JOBS)
	$(BIN)/seglab compare runs/sweeps/streets_1_64 runs/sweeps/streets_warm --html runs/table.html

test: $(INSTALLED)  ## Everything that CI runs.
	$(BIN)/python -m pytest -n 2 --dist worksteal

torture: $(INSTALLED)  ## Kill runs at random moments until all are done; SEED=N repeats one, KILLS=N is per run.
	OMP_NUM_THREADS=1 TORTURE_SEED=$(SEED) TORTURE_KILLS=$(KILLS) $(BIN)/python -m pytest -m torture -s tests/faults

bench: $(INSTALLED)  ## Speed and memory; each script writes its JSON beside itself.
	set -e; for script in experiments/bench/[!_]*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$script; done

gpu: $(INSTALLED)  ## On a GPU, in six minutes: training steps in a table, then its tests. UNIMATCH=DIR: the official step too.
	UNIMATCH=$(UNIMATCH) $(BIN)/python experiments/bench/gpu.py
	$(BIN)/python -m pytest -n 4 --dist worksteal -k on_a_gpu

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs data
