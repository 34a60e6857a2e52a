# Two commands: `make demo` and `make test`. They need make and Python 3.11 or newer, nothing else.
#
#   PYTHON=python3.12        which Python makes the environment
#   VENV=.venv               where the environment is
#   DEMO_SECONDS=10          how long the demo runs (its own default if unset)
#   PYTEST="-k ledger -x"    further arguments for pytest
#   BENCH=results            where `make bench` writes

PYTHON ?= python3
VENV ?= .venv
DEMO_SECONDS ?=
PYTEST ?=
BENCH ?= results

VENV_PYTHON := $(VENV)/bin/python
PIP := $(VENV_PYTHON) -m pip install --quiet --quiet --disable-pip-version-check

# An interrupted step leaves no half-made target behind.
.DELETE_ON_ERROR:

.PHONY: help demo test lint types bench figures

help:
	@echo "make demo    a real classifier under load, joules per request live"
	@echo "make test    the test suite"
	@echo "make lint    ruff check and ruff format --check"
	@echo "make types   mypy --strict"
	@echo "make bench   a small study: accuracy and energy of six models on this machine"
	@echo "make figures what measuring costs, and how right it is"

demo: $(VENV)/.installed-demo
	@$(VENV_PYTHON) -m greeninfer demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

test: $(VENV)/.installed-dev
	@$(VENV_PYTHON) -m pytest $(PYTEST)

lint: $(VENV)/.installed-dev
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .

types: $(VENV)/.installed-dev
	@$(VENV_PYTHON) -m mypy --strict

bench: $(VENV)/.installed-bench
	@mkdir -p '$(BENCH)'
	@test -e '$(BENCH)/study.yaml' || $(VENV_PYTHON) -m greeninfer bench init '$(BENCH)/study.yaml'
	@$(VENV_PYTHON) -m greeninfer bench run '$(BENCH)/study.yaml' --into '$(BENCH)/study' --resume
	@$(VENV_PYTHON) -m greeninfer bench report '$(BENCH)/study' >/dev/null
	@$(VENV_PYTHON) -m greeninfer bench choose '$(BENCH)/study' --min-accuracy 0.6 --requests-per-day 1e6
	@echo "The whole report: $(BENCH)/study/report.html"

figures: $(VENV)/.installed-dev
	@$(VENV_PYTHON) benchmarks/overhead.py
	@$(VENV_PYTHON) benchmarks/attribution.py

# A stamp is older than pyproject.toml only when the dependencies may have changed.
$(VENV)/.installed-demo: pyproject.toml | $(VENV_PYTHON)
	@echo "Installing greeninfer and the demo into $(VENV) (a minute or two, this once) ..."
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.installed-bench: pyproject.toml | $(VENV_PYTHON)
	@echo "Installing greeninfer and the bench into $(VENV) (a minute or two, this once) ..."
	@$(PIP) --editable '.[bench]'
	@touch $(VENV)/.installed-demo $@

# dev contains demo and bench, so that `make demo` after `make test` installs nothing.
$(VENV)/.installed-dev: pyproject.toml | $(VENV_PYTHON)
	@echo "Installing greeninfer and its test tools into $(VENV) (a minute or two, this once) ..."
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/.installed-demo $(VENV)/.installed-bench $@

# --clear: a half-made environment, or one whose Python has gone, starts afresh and loses its stamps.
$(VENV_PYTHON):
	@command -v '$(PYTHON)' >/dev/null 2>&1 || { \
	  echo "$(PYTHON) is not here. Install Python 3.11 or newer, or name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$('$(PYTHON)' -V 2>&1); greeninfer needs 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@'$(PYTHON)' -m venv --clear '$(VENV)'
