# Everything that a person runs. Needs Python 3.11 to 3.13 and make; the rest is installed into .venv.
#
#   PYTHON=python3.12 make course        another Python
#   COURSE_PROFILE=standard make course  larger data, longer training
#   make lab ARGS=--allow-root           words that are handed on to the command

PYTHON ?= python3
ARGS ?=
VENV := .venv
INSTALLED := $(VENV)/installed
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help course lab test clean notebooks images bench speed ablation failures gpu site relink

help:
	@awk '/^##@ / { print substr($$0, 5) } \
	  /^[a-z]+:.*## / { split($$0, part, ":.*## "); printf "  %-11s %s\n", part[1], part[2] }' $(MAKEFILE_LIST)

##@ make ... (the first one that needs it installs everything into .venv)

course: $(INSTALLED) ## run all notebooks, top to bottom, and leave pages, network and figures in runs/
	@$(RUN) -m helpers.upkeep.run_notebooks $(ARGS)

lab: $(INSTALLED) ## open the notebooks in JupyterLab
	@$(RUN) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(ARGS)

test: $(INSTALLED) ## run all tests, the notebooks among them
	@$(RUN) -m pytest tests notebooks --nbval-lax --nbval-current-env -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

clean: ## remove what can be made again (.venv, rendered sets); results in runs/ and downloaded data stay
	rm -rf $(VENV) .pytest_cache .hypothesis build *.egg-info
	[ ! -d .cache ] || find .cache -mindepth 1 -maxdepth 1 ! -name archive -exec rm -rf {} +
	rm -rf __pycache__ */__pycache__ */*/__pycache__ */.ipynb_checkpoints

##@ To change the course (see CONTRIBUTING.md):

notebooks: $(INSTALLED) ## run all notebooks and keep their outputs in notebooks/, as readers on GitHub see them
	@$(RUN) -m helpers.upkeep.run_notebooks --in-place $(ARGS)

images: $(INSTALLED) ## draw the images of the README and of the results page again
	@$(RUN) -m helpers.upkeep.images $(ARGS)

bench: $(INSTALLED) ## measure what the README's table of results says
	@$(RUN) -m helpers.benchmarks.table $(ARGS)

speed: $(INSTALLED) ## measure how fast prediction and the training loop are, beside the published ones
	@$(RUN) -m helpers.benchmarks.latency
	@$(RUN) -m helpers.benchmarks.loop

ablation: $(INSTALLED) ## measure what each choice of the course is worth, one at a time (hours)
	@$(RUN) -m helpers.benchmarks.ablation $(ARGS)

failures: $(INSTALLED) ## draw where the network fails: the worst test quartets, by cause
	@$(RUN) -m helpers.benchmarks.failures

gpu: $(INSTALLED) ## what only a machine with a GPU can show: tests, the course, speed, and the whole published training
	@$(RUN) -m pytest tests/core tests/rendering -q
	@COURSE_PROFILE=standard $(RUN) -m helpers.upkeep.run_notebooks
	@$(MAKE) speed
	@COURSE_PROFILE=full $(RUN) -m helpers.benchmarks.table --seeds 1 --rows published published-net course

site: $(INSTALLED) ## build the course's website in runs/site/, from pages, notebooks and docstrings
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable ".[site]"
	@$(RUN) -m helpers.upkeep.site

relink: ## point badges and clone lines at your fork (git's remote, or REPO=owner/name)
	@$(PYTHON) -m helpers.upkeep.links relink $(REPO)

# The stamp is written last: an installation that failed, or was interrupted, is done again by the next make.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo \
	  "The course needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is not one: install it and name it, as in" \
	  "'make PYTHON=python3.12 $(MAKECMDGOALS)'."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "'$(PYTHON)' cannot make virtual environments: install that part of it (on Debian and Ubuntu" \
	  "'sudo apt install python3-venv') and run make again."; exit 1; }
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing (7 GB, a few minutes the first time)"
	@$(RUN) -m pip install -qq --disable-pip-version-check --editable ".[course,bench,test]" || { echo \
	  "The installation failed, see above: it needs a network and 10 GB of free disk; 'make $(MAKECMDGOALS)'" \
	  "tries again."; exit 1; }
	@echo "Checking that torch starts"
	@$(RUN) -c 'import torch, torchvision; print("Ready: torch", torch.__version__)'
	@touch $@
