# Every target has one line of help behind ##. What the targets do is in tools/, one module a verb.
SHELL := /bin/bash
STACK ?= dev
PYTHON := .venv/bin/python
export PYTHONPATH := $(CURDIR)
.DEFAULT_GOAL := help
.PHONY: help setup up preview report check-plan drift down purge backup restore doctor test test-recovery
.PHONY: test-environments test-unit bench example example-down lint arrows config outputs picture

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.venv/.ready: requirements.txt requirements-dev.txt scripts/venv
	@scripts/venv

setup: .venv/.ready ## install what this machine lacks: Pulumi CLI, plug-ins, Docker Engine, lab images
	@$(PYTHON) -m tools.setup images

up: .venv/.ready ## set up what is missing and deploy (STACK=dev)
	@$(PYTHON) -m tools.up $(STACK)

preview: .venv/.ready ## show what `make up` would change (STACK=dev)
	@$(PYTHON) -m tools.preview $(STACK)

report: .venv/.ready ## say in Markdown what a deployment would change, for whom and for how long (STACK=dev, PLAN=file: preview --json)
	@scripts/preview-report $(STACK) $(PLAN)

check-plan: .venv/.ready ## fail when a plan would delete or replace data (STACK=dev, PLAN=file: a saved plan or preview --json)
	@$(PYTHON) -m tools.check_plan $(STACK) $(PLAN)

drift: .venv/.ready ## say in words what differs from the program; ends with 2 when something does (STACK=dev)
	@$(PYTHON) -m tools.drift $(STACK)

down: .venv/.ready ## stop the stack and keep its data (STACK=dev)
	@$(PYTHON) -m tools.down $(STACK)

purge: .venv/.ready ## remove the stack and its data; asks first, YES=1 answers (STACK=dev)
	@$(PYTHON) -m tools.purge $(STACK)

backup: .venv/.ready ## write an archive of the running stack (STACK=dev, FILE=)
	@scripts/backup $(STACK) $(FILE)

restore: .venv/.ready ## bring the stack back from an archive, where nothing is left of it (STACK=dev, FILE=)
	@scripts/restore $(STACK) $(FILE)

doctor: .venv/.ready ## say what is missing or broken on this machine, and the fix
	@$(PYTHON) -m tools.doctor

test: .venv/.ready ## run the tests: unit, plan, live (sets up what they need)
	@$(PYTHON) -m tools.setup images browser
	@# Fast ones first: within each folder the order is random. A file keeps to one process, whose tests share runs and stacks.
	@$(PYTHON) -m pytest -n auto --dist loadfile tests/unit
	@$(PYTHON) -m pytest -n auto --dist loadfile tests/plan
	@$(PYTHON) -m pytest -n auto --dist loadfile tests/live

test-recovery: .venv/.ready ## break deployments in every way and mend them: long (sets up what it needs)
	@$(PYTHON) -m tools.setup images browser
	@$(PYTHON) -m pytest tests/recovery

test-environments: .venv/.ready ## deploy among others' servers, behind their proxy, from their registry: minutes (sets up what it needs)
	@$(PYTHON) -m tools.setup images browser ssh
	@$(PYTHON) -m pytest tests/environments

test-unit: .venv/.ready ## run the unit tests alone: seconds, no Docker
	@$(PYTHON) -m pytest -n auto --dist loadfile tests/unit

bench: .venv/.ready ## measure this program against Docker Compose: on a quiet machine, about 15 minutes (RUNS=5)
	@$(PYTHON) -m bench.measure $(RUNS)

example: .venv/.ready ## deploy an example beside a running stack (EXAMPLE=monitoring or extra-mailbox-app, STACK=dev)
	@$(PYTHON) -m tools.example up "$(EXAMPLE)" $(STACK)

example-down: .venv/.ready ## remove an example (EXAMPLE=, STACK=dev)
	@$(PYTHON) -m tools.example down "$(EXAMPLE)" $(STACK)

lint: .venv/.ready ## check style, types and workflows, and every stack file against the policy pack
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@# Each example is a program of its own, with modules of the same names.
	@for example in examples/*/; do $(PYTHON) -m mypy $$example || exit 1; done
	@$(PYTHON) -m tools.policy
	@$(PYTHON) -m tools.workflows

arrows: .venv/.ready ## write docs/arrows.md from the live tests
	@$(PYTHON) -m tools.arrows

config: .venv/.ready ## write docs/configuration.md and the config section of Pulumi.yaml from the program
	@$(PYTHON) -m tools.configuration

outputs: .venv/.ready ## write docs/outputs.md from the program
	@$(PYTHON) -m tools.outputs

picture: .venv/.ready ## draw docs/architecture.svg from the program (STACK=dev; another one into .local, or OUT=file)
	@$(PYTHON) -m tools.picture $(STACK) $(OUT)
