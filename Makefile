# make demo                       the example on http://127.0.0.1:8000/; needs nothing but Python
# make demo PORT=8123             on another port
# make demo QUEUE=huey            on another task queue than Celery: django-tasks, huey, django-q2; rq and dramatiq need a
#                                 REDIS_URL, procrastinate the DATABASE_URL of a PostgreSQL
# REDIS_URL=redis://127.0.0.1:6379/0 make demo    with Redis as Celery's broker, store and channel layer
# make test                       the tests of Python, the browser and JavaScript (where Node is installed), with coverage, in
#                                 five minutes on two cores; it leaves out those marked `slow`
# make test-all                   all tests but those of `make queues`, the slow ones and all examples of Hypothesis too
# make test ARGS="-k retry"       the Python tests that pytest chooses by these words, slow or not, without coverage
# make docs                       the documentation as a site, in build/docs/index.html
# make queues-changed             of the cases below those that the changes since their last run ask for, and one more in turn
# make faults                     the fault matrix of docs/reliability.md, a mark for each row; again with redis-py 7, and store and layer with 5
# make queues                     every task queue's cases, by its own worker; Celery's also with Celery 5.6
# make queues QUEUE=rq            those of one queue; of arq, SAQ and taskiq in an environment of its own
# make soak                       its rows that take minutes; reports of some go into build/soak/
# make bench                      the benchmarks beside celery-progress, a plain consumer and the floor: 10 minutes, machine idle
# make bench-quick                the same with small counts, in a minute
# make bench ARGS="push polling"  some of the families of rows; ARGS=queues: what tracking adds to a job on each queue
# make bench-beside REF=main~5 ARGS="task"   this build and another commit's, in turns, with ratios and their spread
# make js                         the JavaScript tests alone
# make js-build                   immortus.js and its other forms from the modules in js/; needs npm
# make lint types film clean
# make help                       this text
#
# PYTHON is the interpreter (default: the newest on the PATH, 3.11 at least), VENV the folder of the virtual
# environment (default .venv; made anew when PYTHON is of another version), DJANGO a release to stay on, such as 5.2.

.DEFAULT_GOAL := help
VENV ?= .venv
PORT ?= 8000
ifndef PYTHON
PYTHON := $(shell for name in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
endif

version := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# These queues exclude each other's releases of redis-py.
apart := arq saq taskiq
ifneq ($(filter $(apart),$(QUEUE)),)
override VENV := build/venv-$(QUEUE)-$(version)
endif
bin := $(VENV)/bin
comma := ,
made := $(VENV)/.made-with-$(version)
# What is installed is remembered by files such as .venv/.has-celery-daphne-example.
has = $(VENV)/.has$(DJANGO)-$(1)
cores := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# Four at once on two cores, as tests wait for servers most of the time; files begin in the order of tests/order.py, so
# that those that take long are not left for the end. Some tests allow a tenth of a second: what fails beside others is tried again alone.
parallel = -n $(shell expr $(cores) \* 2) --dist loadfile --no-loadscope-reorder
quick = -m "not slow" --hypothesis-profile quick
# Python 3.12 and 3.13 can tell lines, but not branches, without being twice as slow.
lines = $(filter 3.12 3.13,$(version))
measured = --cov $(if $(lines),,--cov-branch) --cov-report=term
again = || { test $$? -eq 1 && $(bin)/python -m pytest --last-failed --last-failed-no-failures none; }
pip = $(bin)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test test-all faults queues queues-changed soak bench bench-quick bench-beside lint types docs film js js-build clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

demo: $(call has,$(subst -,_,$(or $(QUEUE),celery))-daphne-example$(if $(REDIS_URL),-redis))
	@PORT=$(PORT) QUEUE=$(QUEUE) exec $(bin)/python example/serve.py

test: $(call has,test) js
ifdef ARGS
	$(bin)/python -m pytest $(ARGS)
else
	$(bin)/python -m pytest $(quick) $(parallel) $(measured) $(again)
endif

test-all: $(call has,test) js
	$(bin)/python -m pytest -m "not queues" $(parallel) $(measured) $(again)

# Tests start hundreds of processes, each of which would compile the package again.
test test-all faults queues queues-changed: export PYTHONDONTWRITEBYTECODE =
test test-all: export COVERAGE_CORE = $(if $(lines),sysmon)

faults: $(call has,test) build/redis-py-5 build/redis-py-7
	$(bin)/python -m pytest -m fault $(parallel) $(ARGS) $(again)
	export PYTHONPATH=build/redis-py-7; \
	$(bin)/python -m pytest tests/faults -m "fault and redis" $(parallel) $(ARGS) $(again)
	export PYTHONPATH=build/redis-py-5; \
	$(bin)/python -m pytest tests/stores tests/push -k redis $(parallel) $(ARGS) $(again)

outcomes = tests/queues tests/test_celery.py tests/faults/test_results.py
ifdef QUEUE
queues: $(call has,test-$(subst -,_,$(QUEUE)))
	$(bin)/python -m pytest tests/queues/suite/test_$(subst -,_,$(QUEUE)).py $(wildcard tests/queues/test_$(subst -,_,$(QUEUE))*.py) $(ARGS)
else
queues: $(call has,test) build/celery-5.6
	$(bin)/python -m pytest $(outcomes) $(parallel) $(ARGS) $(again)
	PYTHONPATH=build/celery-5.6 $(bin)/python -m pytest $(outcomes) -k "celery or Celery" $(parallel) $(ARGS) $(again)
	for queue in $(apart); do $(MAKE) --no-print-directory queues QUEUE=$$queue ARGS="$(ARGS)" || exit 1; done
endif

choose = $(bin)/python -m tests.queues.suite.choose

queues-changed: $(call has,test)
	whole="$$($(choose))"; test -z "$$whole" || $(bin)/python -m pytest $$whole -n $(cores) --dist loadscope $(again)
	short="$$($(choose) --short)"; words="$$($(choose) --words)"; test -z "$$short" \
		|| $(bin)/python -m pytest $$short -k "$$words" -n $(shell expr $(cores) \* 2) --dist loadscope $(again)

soak: $(call has,test) build/celery-progress
	PYTHONPATH=$(CURDIR)/build/celery-progress $(bin)/python -m pytest -m soak $(ARGS)

# Goes through the same ordeal as this package.
build/celery-progress: | $(call has,test)
	$(pip) --no-deps --target $@ celery-progress==0.5

bench: $(call has,bench)
	$(bin)/python -m benchmarks $(ARGS)

bench-quick: $(call has,bench)
	$(bin)/python -m benchmarks --quick $(ARGS)

bench-beside: $(call has,bench)
	@test -n "$(REF)" || { echo "Say which commit: make bench-beside REF=main~5" >&2; exit 1; }
	$(bin)/python -m benchmarks.beside $(REF) $(ARGS)

# arq wants redis-py below 6, where Celery's Redis transport does not run: store and layer are tried without it.
build/redis-py-5: | $(call has,test)
	$(pip) --target $@ "redis>=5.3,<6"

# redis-py 7 waits for ever where 8 gives up after five seconds, and both are in use.
build/redis-py-7: | $(call has,test)
	$(pip) --no-deps --target $@ "redis>=7,<8"

# Celery 5.7 tells other things of rare outcomes than 5.6, and both are in use.
build/celery-5.6: | $(call has,test)
	$(pip) --no-deps --target $@ "celery>=5.6,<5.7"

lint: $(call has,dev)
	$(bin)/ruff check
	$(bin)/ruff format --check

types: $(call has,dev)
	$(bin)/mypy

docs: $(call has,docs)
	NO_MKDOCS_2_WARNING=1 $(bin)/mkdocs build --strict --quiet

# Films the demo for the README.
film: $(call has,test)
	$(bin)/python -m docs.film docs/demo.webp

js:
	@if command -v node >/dev/null; then node --test $$(find tests -name '*.test.js' -o -name '*.test.mjs'); \
	else echo "Node is not installed, so the JavaScript tests are skipped; \`apt install nodejs\` installs it."; fi

js-build: node_modules/.package-lock.json
	node js/build.js

node_modules/.package-lock.json: package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed; \`apt install nodejs npm\` installs it." >&2; exit 1; }
	npm ci --ignore-scripts
	@touch $@

clean:
	rm -rf $(VENV) node_modules build dist htmlcov .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache example/var
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(made):
	@test -n "$(version)" || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test "$$($(bin)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(version)" \
		|| $(PYTHON) -m venv --clear $(VENV) \
		|| { echo "That Python cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	@rm -f $(VENV)/.has*
	@touch $@

$(VENV)/.has$(DJANGO)-%: pyproject.toml $(made)
	@echo "Installing into $(VENV): once, and again when pyproject.toml changes."
	@$(pip) --editable '.[$(subst -,$(comma),$*)]' $(if $(DJANGO),'Django==$(DJANGO).*')
	@touch $@
