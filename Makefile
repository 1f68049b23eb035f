# `make` lists what there is. Everything is set up on first use; nothing is installed outside of
# .venv, .venvs and the cache (~/.cache/airgap-bundler) but missing Debian packages.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
# What the integration tests talk to, as program=package.
PROGRAMS := skopeo=skopeo docker-registry=docker-registry etcd=etcd-server xorriso=xorriso \
  openssl=openssl zstd=zstd busybox=busybox ip=iproute2 nft=nftables \
  rpmbuild=rpm debootstrap=debootstrap mandoc=mandoc ctr=containerd par2=par2 \
  softhsm2-util=softhsm2 pkcs11-tool=opensc

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: venv
venv:
	@bash tests/tools/venv.sh $(PYTHON) $(VENV) dev,lint,release

.PHONY: programs
programs: venv
	@bash tests/tools/debian.sh $(PROGRAMS)
	@$(RUN) tests.support.gotools kube-apiserver registry crane referrers conformance oras helm cosign kubectl >/dev/null

.PHONY: demo
demo: venv ## build, sign, verify and load a small bundle on this machine
	@$(RUN) demo.run

.PHONY: test
test: venv programs ## every test: rules and attacks (trust core: 100 % of branches), then real programs
	$(RUN) pytest tests/unit tests/attacks --cov=loader/bundle --cov-branch --cov-fail-under=100 \
	  --cov-report=term-missing:skip-covered
	$(RUN) pytest tests --ignore=tests/unit --ignore=tests/attacks

.PHONY: test-pythons
test-pythons: venv ## the unit and attack tests on every Python from 3.9 on that is found here
	@$(VENV)/bin/python tests/tools/pythons.py $(PYTHONS)

.PHONY: lint
lint: venv ## ruff: rules and format
	$(RUN) ruff check
	$(RUN) ruff format --check

.PHONY: type
type: venv ## mypy --strict
	$(RUN) mypy -p loader -p bundler -p schemas -p release -p tests -p demo

.PHONY: pyz
pyz: venv ## the loader as one file alone, dist/airgap-loader.pyz
	@$(RUN) release.pyz

.PHONY: dist
dist: venv ## all that is given away: the one file, deb, RPM, wheel, sdist, manual pages
	@bash tests/tools/debian.sh dpkg-deb=dpkg rpmbuild=rpm
	@$(RUN) release

.PHONY: schemas
schemas: venv ## write the JSON schemas anew from the types
	@$(RUN) schemas.generate

.PHONY: bench
bench: venv ## measurements, side by side with the usual tools
	$(RUN) bench.run

.PHONY: clean
clean: ## delete what was built and cached here (virtual environments stay)
	rm -rf build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
