# Every target sets up .venv if it is missing or older than the lock.
PYTHON ?= python3.11
PIP_FLAGS ?=
BIN := .venv/bin

# Of `make figures`; what is left empty is as `universal-response figures --help` says.
MODEL ?=
T0 ?=
BATCH ?=
EPSILONS ?=
EPSILON0 ?=
SEED ?=
DEVICE ?=
DTYPE ?=
CHUNK ?=
OUT ?= runs/figures
BENCH_MODELS ?= smollm2-135m gemma-3-270m
BENCH_T0 ?= 64
# Public address of the repository; with it the pages get Colab and Binder buttons.
export REPOSITORY_URL ?=

.PHONY: book figures check test verify bench execute screenshots lint house clean
.DEFAULT_GOAL := book

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS) -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@

# What the book is made of; a book that is newer is tested as it is.
SOURCES := _config.yml _toc.yml $(shell find book notebooks lib results -type f -not -path '*/__pycache__/*')
BUILT := _build/.built
BUILD := OMP_NUM_THREADS=1 $(BIN)/python book/execute.py && $(BIN)/jupyter-book build . --all -W -n --keep-going && touch $(BUILT)

$(BUILT): .venv/.installed $(SOURCES)
	$(BUILD)

verify: .venv/.installed
	$(BIN)/universal-response verify

# The quick check: `make verify` takes every strength and the linear limit. Where it fails there is a
# book all the same, the last line says so, and make fails.
book: .venv/.installed
	@$(BIN)/universal-response verify --quick; verified=$$?; \
	  $(BUILD) || exit 1; \
	  echo "The book: file://$(CURDIR)/_build/html/index.html"; \
	  test $$verified = 0 || \
	  { echo "make book: VERIFICATION FAILED (exit code $$verified); its lines are above the build" >&2; exit 1; }

figures: .venv/.installed
	$(BIN)/universal-response figures --out "$(OUT)" $(if $(MODEL),--model "$(MODEL)") \
	  $(if $(T0),--t0 "$(T0)") $(if $(BATCH),--batch "$(BATCH)") \
	  $(if $(EPSILONS),--epsilons "$(EPSILONS)") $(if $(EPSILON0),--epsilon0 "$(EPSILON0)") \
	  $(if $(SEED),--seed "$(SEED)") $(if $(DEVICE),--device "$(DEVICE)") \
	  $(if $(DTYPE),--dtype "$(DTYPE)") $(if $(CHUNK),--sequences-per-chunk "$(CHUNK)")

# An hour and a half on two cores; about 15 minutes with BENCH_T0=16. `python -m benchmarks --help` lists the parts.
bench: .venv/.installed
	for model in $(BENCH_MODELS); do \
	  $(BIN)/python -m benchmarks compare --model $$model --t0 $(BENCH_T0) && \
	  $(BIN)/python -m benchmarks compare --model $$model --t0 $(BENCH_T0) --sequences 4 \
	    --epsilons "0.001 0.003 0.01 0.02 0.03 0.05 0.1 0.2" --only "engine linear" || exit 1; \
	done
	$(BIN)/python -m benchmarks growth
	$(BIN)/python -m benchmarks choices
	$(BIN)/python -m benchmarks profile
	$(BIN)/python -m benchmarks memory --t0 $(BENCH_T0)
	$(BIN)/python -m benchmarks workers
	$(BIN)/python -m benchmarks sampling --t0 $(BENCH_T0)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes of one thread each take half the time of one with two.
check test: export OMP_NUM_THREADS = 1

# The quick half of the tests: no weights, no whole measurements, no notebooks, no book.
check: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not weights and not slow" tests

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder tests
	$(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-sanitize-with tests/nbval.cfg notebooks
	$(MAKE) $(BUILT)
	$(BIN)/pytest -n 2 -rs tests/book
	@echo "The book: file://$(CURDIR)/_build/html/index.html"

# Of NOTEBOOKS="notebooks/fig4.ipynb ..." the outputs, in place.
execute: .venv/.installed
	$(BIN)/python tests/execute.py $(NOTEBOOKS)

# Of the built book; PAGES="notebooks/intro notebooks/fig4" for some of its pages.
screenshots: .venv/.installed
	$(BIN)/python tests/book/screenshots.py $(PAGES)

# The picture in CONTRIBUTING, from the imports.
house: .venv/.installed
	$(BIN)/python tests/house.py

clean:
	rm -rf _build runs
