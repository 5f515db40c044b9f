# Everything a newcomer needs, from a bare machine with Python 3.11+, a C compiler and make.
#
#   make demo    build into .venv and run `logv compare --process`
#   make test    build into .venv and run the tests
#   make help    the rest

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(if $(shell command -v $(p)),$(p))))
VENV ?= .venv
EXTRAS ?= dev
BIN := $(VENV)/bin
STAMP := $(VENV)/.built
SOURCES := $(shell find src -name '*.py' -path '*/hw/*' -o -name '*.pyx' -o -name '*.pxd' ! -name '_hw.pxd' -o -name '*.h') \
	setup.py pyproject.toml

.PHONY: demo test test-all night lint format bench figures soak ptx debug clean help

help:
	@sed -n 's/^#: *//p' $(MAKEFILE_LIST)

#: make demo      compare native applications with the same ones in VMs, across processes (three minutes)
demo: $(STAMP)
	# 3: every result was right, and this machine is too noisy to tell on which side of the bars it is
	$(BIN)/logv compare --process || test $$? -eq 3

#: make test      the tests, on this Python, on every CPU
test: $(STAMP)
	$(BIN)/python -m pytest -q -n auto --dist loadfile $(PYTEST_ARGS)

# What compiled kernels compute, and what processes of a VM do, is the same on every Python.
OTHER_TESTS := $(addprefix --ignore=tests/,ptx compare daemon gpu/test_gpu_compute_threads.py)
OTHER_PYTHONS ?= $(shell ./scripts/pythons "$(PYTHON)")

#: make test-all  the tests on every other supported Python that this machine has, but for the longest
test-all:
	@for python in $(OTHER_PYTHONS); do \
		version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		echo "== Python $$version"; \
		$(MAKE) --no-print-directory test EXTRAS=test PYTEST_ARGS="$(OTHER_TESTS)" \
			PYTHON=$$python VENV=.venv-$$version </dev/null || exit 1; \
	done

#: make night     10,000 generated programs, compiled and interpreted (half an hour a CPU)
night: $(STAMP)
	$(BIN)/python -m tests.ptx.nightly --programs 10000 --jobs $(shell nproc)

#: make lint      ruff, cython-lint, mypy --strict, import-linter
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" cython-lint src
	$(BIN)/mypy
	$(BIN)/lint-imports

#: make format    rewrite the sources as ruff wants them
format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

#: make bench     every benchmark; JSON in .bench/latest.json and a table of the bars
bench: $(STAMP)
	mkdir -p .bench
	$(BIN)/python -m pytest bench -q --benchmark-json=.bench/latest.json
	$(BIN)/python bench/report.py .bench/latest.json

#: make figures   measure and draw docs/figures (a few minutes)
figures: $(STAMP)
	$(BIN)/python -m logv.compare.figure

#: make soak      the daemon under 32 VMs for ten minutes, 200 kills, and idle
soak: $(STAMP)
	$(BIN)/python bench/soak.py
	$(BIN)/python bench/kill.py
	$(BIN)/python bench/idle.py

#: make ptx       compile the CUDA C of workloads, tests and benches again (needs nvcc)
ptx:
	for source in src/logv/workloads/*.cu tests/ptx/kernels/*.cu bench/kernels/*.cu; do \
		nvcc -ptx -arch=compute_80 $$source -o $${source%.cu}.ptx || exit 1; done

#: make debug     build with the compiled core's checks restored; the next other target builds without
debug: $(STAMP)
	LOGV_DEBUG=1 $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall -e .
	# The C has the checks in it: the next build has to make it anew.
	find src -name '*.c' -delete
	rm $(STAMP)

#: make clean     remove what was built
clean:
	rm -rf build .venv .venv-* .bench src/*.egg-info src/logv/_hw.pxd
	find src -name '*.so' -delete -o -name '*.c' -delete -o -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): $(SOURCES)
	@./scripts/check-tools "$(PYTHON)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $(STAMP)
