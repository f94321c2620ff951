# make demo     plays the story on a PostgreSQL of its own, then stays up (ARGS=--exit: leaves)
# make test     unit, behaviour and tidy tests against a real primary and replica
# make bench    pgsluice beside PgBouncer and direct (ARGS="--quick" or "--only tps,mem")
# make lint     formatting and clippy;  make fmt mends the first
# make setup    what the others need from the distribution, if it is missing

CARGO ?= cargo
ARGS ?=

.PHONY: demo test bench lint fmt setup

demo: setup
	$(CARGO) run --release --bin pgsluice -- demo $(ARGS)

test:
	scripts/setup.sh test
	scripts/setup-drivers.sh
	$(CARGO) test --locked $(ARGS)

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
