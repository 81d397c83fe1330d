# Everything a person or a machine does with this tree. `make help` lists it.

# PG picks Postgres' major version for test and demo: make test PG=17
PG ?=
# The versions that Runnel supports, and the packages whose tests all of them see.
POSTGRES_VERSIONS = 15 16 17 18
POSTGRES_PACKAGES ?= ./capture ./outbox
# What to test, and further flags of go test.
PACKAGES ?= ./...
TESTFLAGS ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GOLANGCI_LINT_VERSION = v2.15.0

# As ./setup has it. Blanks in the path are refused there.
CACHE = $(or $(RUNNEL_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME)/runnel,$(HOME)/.cache/runnel))
GOLANGCI_LINT = $(CACHE)/golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint

.DEFAULT_GOAL := help
.PHONY: help setup readers build demo test test-postgres check-format vet lint torture torture-short mutants huge failovers bookies bench bench-long bench-peer microbench copies judge generate check-generated fmt clean FORCE

help: ## list the targets
	@echo "Usage: make TARGET [NAME=VALUE]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-18s%s\n", $$1, $$2}'

setup: ## install or fetch what is missing: Java, Pulsar, Postgres (PG=17)
	@PG="$(PG)" ./setup

readers: ## fetch what examples/readers needs: libraries of Java and Python
	@examples/readers/setup >/dev/null

build: bin/runnel ## build bin/runnel

# go build knows best what is up to date.
bin/runnel: FORCE
	@go build -trimpath -ldflags "-X github.com/runnel-cdc/runnel/internal/cli.version=$(VERSION)" -o $@ ./cmd/runnel

bin/withstack: FORCE
	@go build -o $@ ./internal/devstack/cmd/withstack

bin/bench: FORCE
	@go build -o $@ ./internal/bench/cmd/bench

# Failpoints are in this binary alone.
bin/torture: FORCE
	@go build -tags failpoints -o $@ ./internal/torture/cmd/torture

# All of it is compiled once more, with a runtime whose clock jumps.
bin/torture-jumping: FORCE
	@go run ./internal/torture/jumpyclock bin/.jumpyclock
	@go build -overlay bin/.jumpyclock/overlay.json -tags failpoints -o $@ ./internal/torture/cmd/torture

FORCE:

# exec: a signal reaches the demo itself.
demo: setup build ## the whole way on real servers, checked (KEEP=1 leaves it running, PG=17)
	@exec bin/runnel demo $(if $(filter-out 0 no false,$(KEEP)),--keep) $(if $(PG),--pg $(PG))

test: setup $(if $(filter ./... ./internal/readerstest% ./internal/securestack% ./internal/evolvetest%,$(PACKAGES)),readers) bin/withstack ## every test on real servers (PG=17, PACKAGES=./outbox, TESTFLAGS=-v)
	@exec bin/withstack $(if $(PG),-pg $(PG)) go test -timeout 20m $(TESTFLAGS) $(PACKAGES)

# One Pulsar beside all of them. -short: generated tests draw a fifth, as `make
# test` draws them all with one version.
test-postgres: bin/withstack ## capture and outbox with each of Postgres 15 to 18 (EXCEPT=17)
	@for version in $(test_versions); do PG=$$version ./setup || exit; done
	@exec bin/withstack -pg $(subst $(blank),$(comma),$(test_versions)) go test -short -timeout 10m $(TESTFLAGS) $(POSTGRES_PACKAGES)

test_versions = $(filter-out $(EXCEPT),$(POSTGRES_VERSIONS))
comma = ,
blank = $(subst ,, )

TORTURE = bin/torture run $(if $(DURATION),-duration $(DURATION)) $(if $(PG),-pg $(PG))

torture: setup bin/torture $(if $(JUMPS),bin/torture-jumping) ## kill everything, and judge what is left (SEED=1, FAULTS=12 or FAULTS=pause*3,two or FAULTS=net, DURATION=3m, RUN=dir, JUMPS=1: with clocks that jump)
	@exec $(TORTURE) $(if $(JUMPS),-jumping bin/torture-jumping) $(if $(SEED),-seed $(SEED)) $(if $(FAULTS),-faults '$(FAULTS)') $(if $(RUN),-dir '$(RUN)')

torture-short: setup bin/torture ## the same with three seeds, 60 faults each
	@for seed in 1 2 3; do $(TORTURE) -seed $$seed -faults 60 || exit; done

mutants: setup bin/torture ## show that every known bug is caught (ONLY=name,name, SEED=1)
	@exec bin/torture mutants $(if $(ONLY),-only $(ONLY)) $(if $(SEED),-seed $(SEED)) $(if $(PG),-pg $(PG))

huge: setup bin/torture ## one transaction larger than memory (ROWS=5000000, BYTES=100 of each row, KILL=1)
	@exec bin/torture huge $(if $(ROWS),-rows $(ROWS)) $(if $(BYTES),-bytes $(BYTES)) $(if $(KILL),-kill) $(if $(PG),-pg $(PG))

failovers: setup bin/withstack ## failovers under load, one after another (N=10, PG=17)
	RUNNEL_FAILOVERS=$(or $(N),10) bin/withstack $(if $(PG),-pg $(PG)) go test -count=1 -timeout 30m -v -run 'TestFailovers$$' ./internal/pipeline

bookies: setup bin/withstack ## bookies killed and slow, quorum lost, ZooKeeper out, under load (N=3 bookies, none to spare; ONLY=31, PG=17)
	RUNNEL_BOOKIES=$(or $(N),4) bin/withstack -postgres $(if $(PG),-pg $(PG)) go test -count=1 -timeout 40m -v -run '^(TestBookies|TestLedgerLeftOpen)$$$(if $(ONLY),/$(ONLY))' ./internal/pipeline

BENCH = bin/bench -json bin/bench.json $(if $(ROWS),-rows $(ROWS)) $(if $(ROUNDS),-rounds $(ROUNDS)) $(if $(ONLY),-only $(ONLY)) $(if $(DOC),-doc $(DOC)) $(if $(PG),-pg $(PG))

bench: setup build bin/bench ## measure beside Postgres' decoder: see docs/performance.md (ROWS=300000, ROUNDS=3, ONLY=drain, DOC=file to write the figures into, PG=17)
	@exec $(BENCH)

# Of one machine: on another, compare with a baseline of its own.
BASELINE = internal/bench/baseline.txt
BENCHSTAT = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da

microbench: ## Go benchmarks of decoder, router, codec and batches, beside the stored baseline (STORE=1 replaces it)
	@mkdir -p bin && go test -run '^$$' -bench '^Benchmark(Decode|Step|Validate|AppendAvro|AppendJSON|Resolve|Batch)$$' \
	-count 8 -benchtime 200ms ./capture ./router ./schemas ./internal/broker/wire >bin/microbench.txt || { cat bin/microbench.txt; exit 1; }
	@$(if $(STORE),cp bin/microbench.txt $(BASELINE),go run $(BENCHSTAT) $(BASELINE) bin/microbench.txt)

bench-long: setup build bin/bench ## the same, with what takes long: 10,000,000 rows, one transaction of 5 GB, 1,000 topics
	@exec $(BENCH) -long

bench-peer: setup build bin/bench ## the same as bench, with Debezium Server beside it, which is fetched (800 MB)
	@eval "export $$(internal/bench/peer/setup)" && exec $(BENCH) -peer

copies: setup bin/withstack ## local copies under load: killed, parked, rebuilt, chained (ONLY=Rebuild, PG=17)
	@exec bin/withstack $(if $(PG),-pg $(PG)) go test ./internal/copytest -count=1 -v -timeout 60m $(if $(ONLY),-run '$(ONLY)') -args -full

judge: bin/torture ## judge the history of a run again (RUN=dir)
	@exec bin/torture judge '$(RUN)'

check-format: ## fail if a file is not as gofmt writes it
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi

vet: ## go vet
	@go vet ./...
	@go vet -tags failpoints ./internal/failpoint ./internal/torture/...

lint: $(GOLANGCI_LINT) ## golangci-lint, with the rules for imports
	@$(GOLANGCI_LINT) run

# Built with the Go at hand, and moved into place when it is complete.
$(GOLANGCI_LINT):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION), once; it takes a few minutes"
	@mkdir -p "$(CACHE)" && work=$$(mktemp -d "$(CACHE)/work.XXXXXX") && trap 'rm -rf "$$work"' EXIT && \
	{ GOBIN="$$work/bin" GOFLAGS= go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION) >"$$work/log" 2>&1 || \
	{ cat "$$work/log"; exit 1; }; } && \
	mkdir -p "$(@D)" && mv "$$work/bin/golangci-lint" "$@"

generate: ## generate code anew
	@go generate ./...

# Compared with the generated files as they are, committed or not.
check-generated: ## fail if generated code is not current
	@sums() { git grep -lz --untracked -E '^// Code generated .* DO NOT EDIT' -- '*.go' | sort -z | xargs -0r sha256sum; }; \
	before=$$(sums); $(MAKE) --no-print-directory generate || exit 1; after=$$(sums); \
	[ "$$before" = "$$after" ] || { echo "these generated files were not current; commit what make generate makes of them:"; \
	printf '%s\n' "$$before" "$$after" | sort | uniq -u | awk '{print "  " $$2}' | sort -u; exit 1; }

fmt: ## format all Go files
	@gofmt -w .

clean: ## remove what was built (not the cache)
	@rm -rf bin dist
