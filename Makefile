# `make` alone says what there is.
.DEFAULT_GOAL := help
.PHONY: help up test install
MAKEFLAGS += --no-print-directory

help: ## Say what there is
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: ## Start everything on loopback, under .run/, with a live line of state; Ctrl-C stops it
	@scripts/up.sh

test: install ## Install what is missing, then run every test on servers of their own
	cargo test

install: ## Install the Debian packages that are missing (root or sudo)
	@scripts/install-debian-packages.sh
