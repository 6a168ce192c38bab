# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
DEMO := runs/push_t_demo

OLDEST := .venv/gymnasium-1.2.2
# Many containers set it, and then every process compiles the package.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test soak slurm swm lewm rllib readers reading reading-newest lerobot rivals dreamer check fix bench docs clean

.venv/core: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/dev: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e ".[train,dev]"
	@touch $@ .venv/core

$(OLDEST): .venv/dev Makefile  # The oldest Gymnasium that is promised, before the newest on the path.
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --upgrade \
		--target $@ gymnasium==1.2.2
	@touch $@

demo: .venv/core
	$(BIN)/sandbox keys new --exist-ok
	$(BIN)/sandbox generate push_t_demo --out $(DEMO)
	$(BIN)/sandbox verify $(DEMO)
	$(BIN)/sandbox preview $(DEMO)
	@echo "Dataset: $(DEMO)/shards  Contact sheet and film: $(DEMO)/preview"

test: .venv/dev $(OLDEST)  # Each core takes a share of the tests, and what another has not begun.
	$(BIN)/python -m pytest -n auto --dist worksteal

# Files whose tests have a long version.
LONG := assets book_machine conformance contracts exits extend faults fuzz generate glibc golden greedy \
	growing_shard hostile index_file ledger_file meter mixture outcomes recover render_bytes render_twins \
	replay_all restores surprises tamper untrusted_shard

soak: .venv/dev $(OLDEST)  # The long versions: every byte flipped, a hundred kills, every write failed.
	SANDBOX_SOAK=1 $(BIN)/python -m pytest --timeout=0 $(patsubst %,tests/test_%.py,$(LONG))
	PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -n auto --dist worksteal --ignore tests/test_oldest.py

slurm: .venv/dev  # Ranks under SLURM, whose daemons it starts: `apt-get install slurm-wlm` before.
	$(BIN)/python -m pytest tests/slurm

.venv-swm/done: pyproject.toml constraints.txt tests/swm/requirements.txt
	@test -x .venv-swm/bin/python || $(PYTHON) -m venv .venv-swm
	.venv-swm/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt \
		-r tests/swm/requirements.txt -e .
	@touch $@

swm: .venv-swm/done  # stable-worldmodel, as released, drives the environments: 3 GB of packages.
	.venv-swm/bin/python -m pytest tests/swm

.venv-lewm/done: pyproject.toml constraints.txt tests/swm/requirements.txt tests/lewm/requirements.txt
	@test -x .venv-lewm/bin/python || $(PYTHON) -m venv .venv-lewm
	.venv-lewm/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt \
		-r tests/lewm/requirements.txt -e .
	@touch $@

lewm: .venv-lewm/done  # Its LeWM, as released, trains on a run of ours: 3 GB of packages.
	.venv-lewm/bin/python -m pytest tests/lewm

.venv-rllib/done: pyproject.toml constraints.txt tests/rllib/requirements.txt
	@test -x .venv-rllib/bin/python || $(PYTHON) -m venv .venv-rllib
	grep -v "^gymnasium==" constraints.txt > .venv-rllib/constraints.txt
	.venv-rllib/bin/python -m pip --disable-pip-version-check install --quiet \
		-c .venv-rllib/constraints.txt -r tests/rllib/requirements.txt -e .
	@touch $@

rllib: .venv-rllib/done  # RLlib, as released, trains for two iterations: 1 GB of packages.
	.venv-rllib/bin/python -m pytest tests/rllib

.venv-readers/done: pyproject.toml constraints.txt tests/readers/requirements.txt
	@test -x .venv-readers/bin/python || $(PYTHON) -m venv .venv-readers
	.venv-readers/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt \
		-r tests/readers/requirements.txt -e .
	.venv-readers/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
		robomimic==0.3.0 anygoal==0.1.0b4
	@touch $@

readers: .venv-readers/done  # xarray and pandas read a shard, and a package for each format its export.
	.venv-readers/bin/python -m pytest --noconftest tests/readers/test_readers.py
	.venv-readers/bin/python -m pytest tests/readers/test_exports.py tests/readers/test_films.py  # hdf5plugin.

# Tests of what works without PyBullet, which has wheels up to Python 3.11: all but those that are
# marked `simulates`. What they read is made by .venv. Those of the second line need torch.
READING := coverage decoder derived diagnosis difference durable episode export folder growing_shard ledger \
	ledger_cli merkle notes prices prove schema simulator trajectory untrusted_shard
TRAINING := batches cache context conventions dataset exports exports_whole index_file loader rows
NEWER := 3.14 3.13 3.12
WITH ?=  # [train] installs torch too.
EVERY = PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | paste -sd: -)  # If pyenv has them.

.PRECIOUS: .venv-3.%/done
.venv-3.%/done: pyproject.toml constraints.txt
	@test -x .venv-3.$*/bin/python || $(EVERY) python3.$* -m venv .venv-3.$*
	.venv-3.$*/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt \
		--only-binary :all: -e ".$(WITH)" hypothesis pytest pytest-timeout pytest-xdist
	@touch $@

reading-3.%: .venv/core .venv-3.%/done
	SANDBOX_PYTHON=$(CURDIR)/$(BIN)/python .venv-3.$*/bin/python -m pytest -n auto \
		--dist loadfile -m "not simulates" $(patsubst %,tests/test_%.py,$(READING) $(if $(WITH),$(TRAINING)))

reading reading-newest:  # On each newer Python of this machine; on the newest of them.
	@for version in $(NEWER); do \
		$(EVERY) python$$version -c "" 2>/dev/null || continue; \
		$(MAKE) reading-$$version || exit 1; \
		test $@ = reading || break; \
	done

.venv-lerobot/done: tests/lerobot/requirements.txt
	@test -x .venv-lerobot/bin/python || python3.12 -m venv .venv-lerobot
	.venv-lerobot/bin/python -m pip --disable-pip-version-check install --quiet \
		-r tests/lerobot/requirements.txt
	@touch $@

lerobot: .venv-lerobot/done .venv-readers/done  # LeRobot, which needs Python 3.12, reads its export.
	SANDBOX_PYTHON=.venv-readers/bin/python .venv-lerobot/bin/python -m pytest --noconftest \
		-W default tests/lerobot

.venv-rivals/done: pyproject.toml constraints.txt tests/swm/requirements.txt tests/readers/requirements.txt
	@test -x .venv-rivals/bin/python || $(PYTHON) -m venv .venv-rivals
	sort -u tests/swm/requirements.txt tests/readers/requirements.txt > .venv-rivals/requirements.txt
	.venv-rivals/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt \
		-r .venv-rivals/requirements.txt torchrl tensordict -e .
	.venv-rivals/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
		robomimic==0.3.0
	@touch $@

rivals: .venv-rivals/done .venv-lerobot/done .venv/dev  # Others' readers in turn with ours: 5 GB of packages.
	$(BIN)/python -m benchmarks.readers

.venv-dreamer/done: pyproject.toml constraints.txt benchmarks/dreamer.txt
	@test -x .venv-dreamer/bin/python || $(PYTHON) -m venv .venv-dreamer
	.venv-dreamer/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt \
		-r benchmarks/dreamer.txt -e ".[train]"
	.venv-dreamer/bin/python -m pip --disable-pip-version-check install --quiet --no-deps sheeprl==0.8.4
	@touch $@

dreamer: .venv-dreamer/done  # SheepRL's DreamerV3, as released, in turn with `rssm`: 2 GB of packages.
	.venv-dreamer/bin/python -m benchmarks.dreamer

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

fix: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev
	$(BIN)/python -m benchmarks

docs: .venv/dev  # The generated pages: minutes, for every world is drawn.
	$(BIN)/sandbox gallery docs
	$(BIN)/sandbox reference docs

clean:
	rm -rf .venv .venv-3.* .venv-swm .venv-lewm .venv-rllib .venv-readers .venv-lerobot .venv-rivals .venv-dreamer build dist runs
