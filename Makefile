# Every target does its own set-up: a virtual environment with pinned packages, and the system
# libraries that Qt and OpenGL need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready
XVFB := xvfb-run -a -s "-screen 0 1280x800x24"

.PHONY: demo test bench test-peers bench-peers reproduce train-reproduction screenshots pages lint wheel-test clean

demo: $(READY)
	$(BIN)/napari-segxai demo --out demo_out

# A process for each core, and for each process a virtual display of its own (pytest-xvfb).
# Bytecode is kept even where it is not as a rule: the processes and their children would compile everything again.
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

bench: $(READY)
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/methods.py
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/relevance.py
	$(XVFB) $(BIN)/python benchmarks/responsiveness.py
	$(XVFB) $(BIN)/python benchmarks/cohort_dock.py

# The same maps as other tools give, and how long both take: see docs/peers.md.
test-peers: $(PEERS_READY)
	$(PEERS)/bin/python -m pytest tests/peers $(ARGS)

bench-peers: $(PEERS_READY)
	$(PEERS)/bin/python benchmarks/cams.py $(ARGS)
	$(PEERS)/bin/python benchmarks/against_peers.py $(ARGS)
	$(PEERS)/bin/python benchmarks/windowed_cams.py

# The papers' experiments on the data that come with the project, into docs/reproduction.md. ARGS: see --help.
reproduce: $(READY)
	$(BIN)/python reproduction/run.py $(ARGS)

# The networks of the reproduction, into reproduction/weights: those that are not there. It may be stopped, and goes on.
train-reproduction: $(READY)
	nice $(BIN)/python reproduction/train.py $(ARGS)

screenshots: $(READY)
	$(XVFB) $(BIN)/python scripts/screenshots.py

# docs/methods.md, metrics.md and trust.md, from what methods, metrics and checks say of themselves.
pages: $(READY)
	$(BIN)/python scripts/methods_page.py
	$(BIN)/python scripts/metrics_page.py
	$(BIN)/python scripts/trust_page.py
	$(BIN)/python scripts/targets_page.py

# Style, types, and the docstrings of the public names.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check
	$(BIN)/python scripts/check_docstrings.py

# An installed wheel, and a wheel built from the sdist, must find the manifest and the samples.
wheel-test: $(READY)
	scripts/check_wheels.sh $(BIN)/python

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	scripts/setup.sh $(PYTHON) $(VENV)
	touch $(READY)

$(PEERS_READY): pyproject.toml constraints.txt constraints-peers.txt scripts/setup_peers.sh
	scripts/setup_peers.sh $(PYTHON) $(PEERS)
	touch $(PEERS_READY)

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info demo_out
