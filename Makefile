# The two commands a newcomer needs: make demo, make test.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all check docs bench results clean

demo: .venv/.installed  ## install into .venv, train a small real-image study, print the report's path
	$(BIN)/allograft demo --out demo

test: .venv/.installed-test  ## everything CI runs
	$(BIN)/ruff check --quiet src tests benchmarks
	$(BIN)/ruff format --check --quiet src tests benchmarks
	$(BIN)/mypy
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m "not optional"

test-all: .venv/.installed-test  ## the optional checks as well
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal

check: .venv/.installed-test  ## style, types, import rules and house rules: seconds
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs README.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/pytest -q tests/architecture

docs: .venv/.installed-docs  ## the site, with generated method pages and study reference, into site/
	$(BIN)/python docs/make_methods.py
	$(BIN)/python docs/make_study_reference.py
	$(BIN)/python docs/make_cards.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/.installed-test  ## benchmarks; each writes its table into docs/
	$(BIN)/python benchmarks/loop_overhead.py --write
	$(BIN)/python benchmarks/feature_cache.py --write
	$(BIN)/python benchmarks/patch_reads.py --write
	$(BIN)/python benchmarks/view_loading.py --write
	$(BIN)/python benchmarks/sliding_window.py --write
	$(BIN)/python benchmarks/objective_steps.py --write
	$(BIN)/python benchmarks/open_checkpoint.py --write
	$(BIN)/python benchmarks/broken_checkpoints.py --write
	$(BIN)/python benchmarks/image_weights.py --write
	$(BIN)/python benchmarks/interval_coverage.py

results: .venv/.installed-test  ## the studies behind docs/results, an hour and more; each writes its page
	$(BIN)/python benchmarks/which_source.py --write
	$(BIN)/python benchmarks/continual.py --write
	$(BIN)/python benchmarks/few_labels.py --write
	$(BIN)/python benchmarks/few_labels_classes.py --write
	$(BIN)/python benchmarks/few_labels_masks.py --write
	$(BIN)/python benchmarks/shifts.py protocols --write
	$(BIN)/python benchmarks/shifts.py organs --write
	$(BIN)/python benchmarks/shifts.py tissue --write
	$(BIN)/python benchmarks/shifts.py nuclei --write
	$(BIN)/python benchmarks/self_supervised.py self_supervised --write
	$(BIN)/python benchmarks/self_supervised.py self_supervised_mobilenet --write
	$(BIN)/python benchmarks/self_supervised.py self_supervised_volumes --write
	$(BIN)/python benchmarks/self_supervised.py self_supervised_more --write
	$(BIN)/python benchmarks/self_supervised.py self_supervised_volumes_more --write

.venv/bin/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip

.venv/.installed: .venv/bin/pip pyproject.toml
	$(BIN)/pip install --quiet torch torchvision
	$(BIN)/pip install --quiet -e .
	touch $@

.venv/.installed-test: .venv/.installed pyproject.toml
	$(BIN)/pip install --quiet -e '.[test]'
	touch $@

.venv/.installed-docs: .venv/.installed pyproject.toml
	$(BIN)/pip install --quiet -e '.[docs]'
	touch $@

clean:  ## caches and builds; never a study's folder
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis site dist build
