SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# ARGS go to the program: make up ARGS='--port 9000'
ARGS ?=
# The images' names, as stack.yml has them. The default is of this machine alone.
REGISTRY := $(or $(REGISTRY),localhost/parkstream)
TAG := $(or $(TAG),$(shell cat VERSION))
IMAGE := $(or $(IMAGE),$(REGISTRY)/rabbitmq-connector)

gofumpt := mvdan.cc/gofumpt@v0.12.0
golangci-lint := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
govulncheck := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# test/ starts the whole system several times and goes last, by itself.
packages = $(shell $(GO) list ./... | grep -v '^parkstream/test$$')

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: build ## run everything on this machine until Ctrl-C (ARGS and PORT go to the program)
	@exec bin/parkstream up $(ARGS)

.PHONY: down
down: build ## stop what `make up` started
	@bin/parkstream down $(ARGS)

.PHONY: build
build: ## compile bin/parkstream and bin/parkstream-bench
	@$(GO) build -o bin/ ./cmd/parkstream ./cmd/parkstream-bench

.PHONY: image-connector
image-connector: ## build the connector's image with docker, buildah or podman (REGISTRY, IMAGE, TAG; BUILDER; ARGS go to it)
	@sh connectors/rabbitmq/image.sh "$(IMAGE):$(TAG)" $(ARGS)

.PHONY: deps
deps: ## install what the tests need and is missing: RabbitMQ, Redis, Prometheus, Chromium, npm, a C compiler, buildah, locales
	@$(GO) run ./cmd/parkstream deps

.PHONY: test
test: deps ## install what is missing, then run every test and a small benchmark
	$(GO) test -race -timeout 20m $(packages)
	$(GO) test -race -timeout 30m -v ./test
	$(MAKE) --no-print-directory bench-small

.PHONY: test-faults
test-faults: deps ## kill, stop and cut everything under load and count the events
	$(GO) test -timeout 20m -v -run TestFaults ./test

.PHONY: fuzz
fuzz: ## fuzz every parser for FUZZTIME (20s) each
	FUZZTIME=$(or $(FUZZTIME),20s) GO=$(GO) test/fuzz.sh

.PHONY: test-versions
test-versions: ## connector, stores, system and faults with the RabbitMQ and Redis of newer Debian releases (as root)
	test/versions.sh $(ARGS)

.PHONY: bench
bench: deps build ## measure everything on this machine and write it into docs/benchmarks.md
	bin/parkstream-bench --markdown docs/benchmarks.md $(ARGS)

.PHONY: bench-small
bench-small: deps build ## see that the benchmark works and that batches are worth it
	bin/parkstream-bench --small

.PHONY: evaluate
evaluate: build ## measure how well misread plates are matched and write it into docs/matching.md
	bin/parkstream evaluate --markdown docs/matching.md --seed 5000 $(ARGS)

.PHONY: lint
lint: ## gofumpt, go vet, golangci-lint, govulncheck
	@unformatted=$$($(GO) run $(gofumpt) -l cmd connectors deploy functions shared template test); \
	if [[ -n $$unformatted ]]; then \
		echo "not formatted; run: go run $(gofumpt) -w $$(echo $$unformatted)"; exit 1; \
	fi
	$(GO) vet ./...
	$(GO) run $(golangci-lint) run
	@if ! found=$$($(GO) run $(govulncheck) ./... 2>&1); then \
		if grep -q 'fetching vulnerabilities' <<<"$$found"; then \
			echo 'govulncheck: NOT CHECKED, its database cannot be reached from here'; exit 0; \
		fi; \
		echo "$$found"; exit 1; \
	fi; \
	echo "govulncheck: $$found"
