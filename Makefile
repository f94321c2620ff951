# make demo     plays the story on a PostgreSQL of its own, then stays up (ARGS=--exit: leaves)
# make test     unit, behaviour and tidy tests against a real primary and replica
# make versions what depends on the server's version, on PostgreSQL 13 and 18 (VERSIONS="14 16" or VERSIONS=all)
# make bench    pgsluice beside PgBouncer and direct (ARGS="--quick" or "--only tps,mem")
# make lint     formatting and clippy;  make fmt mends the first
# make setup    what the others need from the distribution, if it is missing

CARGO ?= cargo
ARGS ?=
VERSIONS ?= $(or $(PGSLUICE_VERSIONS),13 18)

.PHONY: demo test versions bench lint fmt setup

demo: setup
	$(CARGO) run --release --bin pgsluice -- demo $(ARGS)

test:
	scripts/setup.sh test
	scripts/setup-drivers.sh
	$(CARGO) test --locked $(ARGS)

versions: setup
	CARGO="$(CARGO)" PGSLUICE_VERSIONS="$(VERSIONS)" scripts/test-versions.sh $(ARGS)

bench: setup
	scripts/setup.sh bench
	$(CARGO) bench --locked --bench side_by_side -- $(ARGS)

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

fmt:
	$(CARGO) fmt

setup:
	scripts/setup.sh
