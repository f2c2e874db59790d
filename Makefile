# Every target does its own set-up: a virtual environment with pinned packages, and the system
# libraries that Qt and OpenGL need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
XVFB := xvfb-run -a -s "-screen 0 1280x800x24"

.PHONY: demo test bench screenshots lint wheel-test clean

demo: $(READY)
	$(BIN)/napari-segxai demo --out demo_out

test: $(READY)
	$(XVFB) $(BIN)/python -m pytest $(ARGS)

bench: $(READY)
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(XVFB) $(BIN)/python benchmarks/responsiveness.py

screenshots: $(READY)
	$(XVFB) $(BIN)/python scripts/screenshots.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# An installed wheel, and a wheel built from the sdist, must find the manifest and the samples.
wheel-test: $(READY)
	scripts/check_wheels.sh $(BIN)/python

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	scripts/setup.sh $(PYTHON) $(VENV)
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info demo_out
