# make run    the whole system on this machine        make test   the test suite        make check   lint and types
# Every target sets up .venv first; that takes no time when nothing changed.

VENV := .venv/bin
INPUTS := requirements.lock pyproject.toml sdk/pyproject.toml nodes/pyproject.toml scripts/setup scripts/uv.lock
CODE := app workers sdk nodes loadtests tests

# what the images install: the versions of requirements.lock, without what only development needs
IMAGE_LOCK := -c requirements.lock --universal --generate-hashes --python-version 3.11 --no-annotate --quiet \
	--no-emit-package headrace-sdk --no-emit-package headrace-nodes --no-header --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help setup run test test-page test-kafka test-containers test-cluster cluster cluster-build cluster-images cluster-demo cluster-stop \
	check fmt bench bench-cluster jobs chaos million shapes locust lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: .venv/.stamp  ## make .venv from requirements.lock

.venv/.stamp: $(INPUTS)
	@scripts/setup

run: setup  ## headrace dev in the foreground, until Ctrl-C (ARGS="--port 0 ...")
	@exec $(VENV)/headrace dev $(ARGS)

test: setup  ## the test suite, but for what needs a cluster, a container engine, Kafka or a browser (ARGS="-k name")
	$(VENV)/python -m pytest -n auto -q --ignore=tests/kubernetes --ignore=tests/containers --ignore=tests/kafka \
		--ignore=tests/api/test_page.py $(ARGS)

test-page: setup  ## the page in a headless Chromium: the one on PATH, else Debian's is installed (root)
	$(VENV)/python -m pytest -q tests/api/test_page.py $(ARGS)

test-kafka: setup  ## the tests with a real Kafka broker: HEADRACE_TEST_KAFKA's, else one made here (java 17, mvn)
	$(VENV)/python -m pytest -q tests/kafka $(ARGS)

test-containers: setup  ## the tests on a container engine: Podman or Docker (HEADRACE_TEST_ENGINE=docker) started here (root)
	HEADRACE_CONFORMANCE=container $(VENV)/python -m pytest -q tests/containers tests/conformance $(ARGS)

test-cluster: setup  ## the tests on a real Kubernetes: HEADRACE_TEST_KUBECONFIG's, else one made here (root)
	HEADRACE_CONFORMANCE=kubernetes $(VENV)/python -m tests.cluster run -- \
		$(VENV)/python -m pytest -q -n 3 --dist=loadgroup tests/kubernetes tests/conformance $(ARGS)

cluster-build: setup  ## build what the test cluster and its images are made of, into a cache (root; 20 minutes the first time)
	@$(VENV)/python -m tests.cluster build

cluster: setup  ## start a real Kubernetes on this machine and print its KUBECONFIG (root; builds it the first time)
	@$(VENV)/python -m tests.cluster start

cluster-images: setup  ## build Headrace's images and put them into the cluster of make cluster
	@$(VENV)/python -m tests.cluster images

cluster-demo: setup  ## start it, install Headrace from k8s/overlays/dev, run the demo there as Jobs
	@$(VENV)/python -m tests.cluster demo

cluster-stop: setup  ## end the cluster of make cluster and remove its state
	@$(VENV)/python -m tests.cluster stop

check: setup  ## format, lint, types, and the direction of imports
	$(VENV)/ruff format --check $(CODE)
	$(VENV)/ruff check --no-cache $(CODE)
	$(VENV)/basedpyright
	$(VENV)/lint-imports

fmt: setup  ## format the code and mend what lint can mend
	$(VENV)/ruff format $(CODE)
	$(VENV)/ruff check --fix $(CODE)

bench: setup  ## measure, print a table and write bench.json
	$(VENV)/python -m loadtests.bench $(ARGS)

bench-cluster: setup  ## P6, P7, P11 on a cluster that is started for them, if none runs, and stopped (ARGS="--freeze P6")
	$(VENV)/python -m tests.cluster run -- $(VENV)/python -m loadtests.cluster_rates $(or $(ARGS),--freeze)

jobs: setup  ## 2,000 Jobs on that cluster's simulated nodes while workers are killed (ARGS="--jobs N --seed S")
	$(VENV)/python -m loadtests.jobs $(ARGS)

chaos: setup  ## 1,000 webhooks while everything is killed again and again (ARGS="--webhooks N --seed S")
	$(VENV)/python -m loadtests.chaos $(ARGS)

million: setup  ## a million products through every node, with kill -9 on the way (ARGS="--products N")
	$(VENV)/python -m loadtests.million $(ARGS)

shapes: setup  ## graphs of real scientific workflows against a greedy scheduler (ARGS="--slots N FILE.json")
	$(VENV)/python -m loadtests.shapes $(ARGS)

locust: setup  ## Locust's users against a fresh headrace dev (ARGS="--users N --run-time 2m")
	$(VENV)/python -m loadtests.fresh $(VENV)/locust -f loadtests/locustfile.py --headless --only-summary \
		--users 20 --spawn-rate 10 --run-time 30s $(ARGS)

lock: setup  ## resolve requirements.lock anew from the pyproject files
	@UV=$$(command -v uv || ls .cache/uv/bin/uv .cache/uv-target/bin/uv 2>/dev/null | head -1); \
	"$$UV" pip compile pyproject.toml nodes/pyproject.toml sdk/pyproject.toml --all-extras --universal \
		--generate-hashes --python-version 3.11 --no-emit-package headrace-sdk --no-emit-package headrace-nodes \
		--no-header --no-emit-index-url --no-emit-find-links --quiet -o requirements.lock; \
	"$$UV" pip compile pyproject.toml nodes/pyproject.toml sdk/pyproject.toml --extra kafka $(IMAGE_LOCK) -o k8s/images/headrace.lock; \
	"$$UV" pip compile nodes/pyproject.toml sdk/pyproject.toml $(IMAGE_LOCK) -o k8s/images/nodes.lock; \
	echo 'hatchling>=1.27,<2' | "$$UV" pip compile - $(IMAGE_LOCK) -o k8s/images/build.lock

clean:  ## remove .venv and caches; never the data in .headrace
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
