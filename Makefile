# `make` alone says what there is.
.DEFAULT_GOAL := help
.PHONY: help up test chaos clusters bench fuzz deny install package
MAKEFLAGS += --no-print-directory

help: ## Say what there is
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: ## Start everything on loopback, under .run/, with a live line of state; Ctrl-C stops it
	@scripts/up.sh

# Tests wait more than they compute: four at a time take half as long on two cores as two do.
test: export RUST_TEST_THREADS ?= 4
test: install ## Install what is missing, then run every test on servers of their own
	cargo test

# What `make chaos` runs.
SEEDS = 1 2 3
MINUTES = 10

chaos: install ## Many faults at once on real servers, judged by an oracle: MINUTES=10 for each of SEEDS="1 2 3"
	@failed=; for seed in $(SEEDS); do \
		HEARTBEAT_CHAOS_SEED=$$seed HEARTBEAT_CHAOS_SECONDS=$$(($(MINUTES) * 60)) \
			cargo test --test servers chaos::many -- --nocapture || failed="$$failed $$seed"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

# What `make bench` measures, everything where nothing is named, and how often.
FIGURES =
ROUNDS = 9

bench: install ## Measure speed and cost beside limits and neighbours, into target/bench: FIGURES="ingest checks" ROUNDS=9
	@scripts/install-debian-packages.sh prometheus-blackbox-exporter
	cargo bench --bench bench -- --rounds $(ROUNDS) $(FIGURES)

clusters: SEEDS = 1
clusters: install ## Kill, freeze and part every process of three RabbitMQ, six Redis and three subscribers, and kill two of every two kinds
	@failed=; for seed in $(SEEDS); do \
		HEARTBEAT_CLUSTERS_SEED=$$seed HEARTBEAT_CLUSTERS_LONG=1 RUST_TEST_THREADS=1 \
			cargo test --test servers clusters:: -- --nocapture || failed="$$failed $$seed"; \
	done; [ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

fuzz: ## Run each fuzz target for a minute, or for SECONDS=...
	@scripts/fuzz.sh $(or $(SECONDS),60)

package: install ## Build the Debian package, and install, start, upgrade and remove it on a fresh Debian of its own (root)
	@scripts/try-package.sh

deny: ## Look for known holes, licences that do not fit, second versions and strange sources in what is built in
	@scripts/deny.sh

install: ## Install the Debian packages that are missing (root or sudo)
	@scripts/install-debian-packages.sh
