# Muster. `make run` and `make test` are all a newcomer needs; both install what is missing (Debian 12) first and say so.
#
#   make            build build/muster, libmuster.a, libmuster.so
#   make run        the surge of fiscal year 2021, end to end, against the published figures
#   make test       every test; ends with "N passed, N failed"
#   make bench      throughput beside the limit of the machine; bench-growth: one store to fifty million records
#   make bench-backup    the node's rate with a backup running beside it, and without
#   make bench-peers     beside PostgreSQL, NATS, Redis, RabbitMQ, SQLite, RocksDB and LMDB, in one run of about 7 minutes
#   make bench-where     where the time of a record goes, from a profile, in a table that adds up
#   make bench-micro     nanoseconds a record of each step of a record's way
#   make bench-check     instructions a record of each, against the baseline (bench-baseline: renews it)
#   make faults     PARTS="kills clock"  power cuts, failing calls, damage, kills, freezes and more, by the thousand, in more than an hour: N scenarios,
#                   0 violations. PARTS: some files of tests/faults; FORM=short: as in make test; SEED= repeats; SHARE= of failing calls, in percent
#   make soak       MINUTES=30  a node under load while faults of every kind come and go: nothing is lost, and nothing grows
#   make fuzz       SECONDS=600  the fuzz targets, with libFuzzer and a driver of their own; TARGET=scan: one of them
#   make valgrind   every unit test under valgrind (make test: all but those that take longest)
#   make mutants    ONLY=name  faults planted in a copy of the tree: each must turn a test red
#   make coverage   lines of store, workers, ingest and proto that units and flows reach
#   make tidy       format, include rule, lint
#   make install    PREFIX=/usr/local DESTDIR=
#
# VARIANT=release (default), faults (named fault points), asan (ASan and UBSan with the fault points), coverage (gcov with them), fuzz and
# msan (libFuzzer, and MSan: clang only, for tests/fuzz/run.sh); CC=gcc or clang.

VARIANT ?= release
B       := build
O       := $(B)/obj/$(VARIANT)
GEN     := $(B)/gen
ifeq ($(VARIANT),release)
BIN     := $(B)
else
BIN     := $(B)/$(VARIANT)
endif

VERSION := 0.1.0
PREFIX  ?= /usr/local
MINUTES ?= 30
SECONDS ?= 600

PACKAGES_BUILD := gcc make pkg-config libzmq3-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler liblmdb-dev libuv1-dev \
                  libinih-dev libjansson-dev libxxhash-dev
PACKAGES_TEST  := $(PACKAGES_BUILD) g++ clang libclang-rt-14-dev libcmocka-dev valgrind python3 python3-zmq python3-protobuf netcat-openbsd \
                  clang-format cppcheck help2man git strace gnuplot-nox
PACKAGES_PEERS := postgresql-15 nats-server redis-server rabbitmq-server libpq-dev libnats-dev libhiredis-dev librabbitmq-dev libsqlite3-dev \
                  librocksdb-dev
MODULES := libzmq libprotobuf-c lmdb libuv inih jansson libxxhash

WARN    := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wformat=2
CPPFLAGS += -I. -Iinclude -I$(GEN) -D_GNU_SOURCE -DMUSTER_VERSION='"$(VERSION)"'
CFLAGS_release := -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS_faults  := $(CFLAGS_release) -DMUSTER_FAULTS
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DMUSTER_FAULTS
LDFLAGS_asan   := -fsanitize=address,undefined
CFLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LDFLAGS_fuzz   := -fsanitize=address,undefined
# xxhash is compiled in, since MSan must see what writes memory.
CFLAGS_msan    := -O1 -g -fsanitize=memory -fsanitize-memory-track-origins -fno-omit-frame-pointer -DXXH_INLINE_ALL=
LDFLAGS_msan   := -fsanitize=memory
CFLAGS_coverage  := -O1 -g -fno-inline --coverage -fprofile-update=atomic -DMUSTER_FAULTS
LDFLAGS_coverage := --coverage
CFLAGS_ALL = -std=c11 -fPIC -pthread $(WARN) $(CFLAGS_$(VARIANT)) $(shell pkg-config --cflags $(MODULES) 2>/dev/null) $(CFLAGS)
LDLIBS_ALL = $(LDFLAGS_$(VARIANT)) $(LDFLAGS) -pthread $(shell pkg-config --libs $(MODULES) 2>/dev/null) -lm

PROTOS    := encounter wire
GEN_C     := $(PROTOS:%=$(GEN)/proto/%.pb-c.c) $(GEN)/bench/profile_data.c
GEN_H     := $(PROTOS:%=$(GEN)/proto/%.pb-c.h)
SRC       := $(wildcard core/*.c proto/*.c ingest/*.c workers/*.c store/*.c client/*.c ops/*.c bench/*.c)
OBJ       := $(SRC:%.c=$(O)/%.o) $(GEN_C:$(GEN)/%.c=$(O)/gen/%.o)
MAIN      := $(O)/ops/main.o
BODY      := $(filter-out $(MAIN),$(OBJ))
# The client library: its own files and what they stand on, nothing of the node.
LIB_SRC   := $(filter-out client/submit.c client/source.c client/progress.c,$(wildcard client/*.c)) core/status.c core/failure.c core/clock.c core/keys.c core/link.c core/link_door.c core/link_frame.c core/link_socket.c core/datadir.c core/durable.c core/file.c core/log.c core/fault.c \
             proto/encode.c proto/vocabulary.c
LIB_OBJ   := $(LIB_SRC:%.c=$(O)/%.o) $(PROTOS:%=$(O)/gen/proto/%.pb-c.o)
TEST_SRC  := $(wildcard tests/core/test_*.c tests/proto/test_*.c tests/ingest/test_*.c tests/workers/test_*.c tests/store/test_*.c \
             tests/client/test_*.c tests/ops/test_*.c tests/bench/test_*.c)
TESTS     := $(TEST_SRC:tests/%.c=$(BIN)/tests/%)

.DEFAULT_GOAL := all
# One short line a file; V=1 shows whole commands.
ifeq ($(V),1)
say =
else
say = @printf '  %-5s %s\n' $(1) $(2);
endif
.PHONY: all man deps deps-bench deps-man deps-peers deps-test run test tools faults-tools peers bench bench-growth bench-where bench-peers bench-micro bench-check bench-baseline soak fuzz tidy mutants valgrind coverage bench-backup faults \
        format install clean lib unit
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BIN)/muster lib
lib: $(BIN)/libmuster.a $(BIN)/libmuster.so

# ---- what a bare machine needs ----
INSTALL_MISSING = @missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  echo "muster: installing Debian packages:$$missing"; \
	  as=""; [ "$$(id -u)" = 0 ] || as=sudo; \
	  $$as env DEBIAN_FRONTEND=noninteractive apt-get update -qq && \
	  $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || \
	  { echo "muster: could not install$$missing; install them and run make again" >&2; exit 69; }; \
	fi
deps:
	$(call INSTALL_MISSING,$(PACKAGES_BUILD))
deps-bench:
	$(call INSTALL_MISSING,$(PACKAGES_BUILD) python3 gnuplot-nox strace linux-perf git)
deps-peers: deps-bench
	@bench/peers/packages.sh $(PACKAGES_PEERS)
deps-man:
	$(call INSTALL_MISSING,$(PACKAGES_BUILD) help2man)
deps-test:
	$(call INSTALL_MISSING,$(PACKAGES_TEST))

# ---- generated C ----
$(GEN)/proto/%.pb-c.c $(GEN)/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(@D)
	$(call say,PROTO,$<)protoc-c --c_out=$(GEN) $<
$(GEN)/bench/profile_data.c: bench/profiles/compile.awk $(wildcard bench/profiles/*.csv)
	@mkdir -p $(@D)
	$(call say,AWK,$@)awk -f bench/profiles/compile.awk $(sort $(wildcard bench/profiles/*.csv)) > $@

# ---- objects ----
$(O)/%.o: %.c $(GEN_H)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c $< -o $@
$(O)/gen/%.o: $(GEN)/%.c $(GEN_H)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

$(BIN)/muster: $(OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(OBJ) $(LDLIBS_ALL) -o $@
$(BIN)/libmuster.a: $(LIB_OBJ)
	@mkdir -p $(@D)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(LIB_OBJ)
$(BIN)/libmuster.so: $(LIB_OBJ) client/libmuster.map
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) -shared -Wl,-soname,libmuster.so.0 -Wl,--version-script=client/libmuster.map $(LIB_OBJ) $(LDFLAGS_$(VARIANT)) \
	  $$(pkg-config --libs libzmq libprotobuf-c libuv inih) -pthread -o $@
man: deps-man $(B)/muster
	@ops/man.sh $(B)/muster $(B)/man

install: all man
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include/muster $(DESTDIR)$(PREFIX)/share/man/man1 \
	  $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/muster/proto
	install -m 755 $(BIN)/muster $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(BIN)/libmuster.a $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(BIN)/libmuster.so $(DESTDIR)$(PREFIX)/lib/libmuster.so.$(VERSION)
	ln -sf libmuster.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libmuster.so.0
	ln -sf libmuster.so.0 $(DESTDIR)$(PREFIX)/lib/libmuster.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' client/muster.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/muster.pc
	install -m 644 include/muster/*.h $(DESTDIR)$(PREFIX)/include/muster/
	install -m 644 $(B)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(B)/man/*.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 proto/*.proto proto/README.md $(DESTDIR)$(PREFIX)/share/muster/proto/

# ---- unit tests ----
$(BIN)/tests/%: tests/%.c $(BODY)
	@mkdir -p $(@D)
	$(call say,TEST,$@)$(CC) $(CPPFLAGS) -Itests $(CFLAGS_ALL) -MMD -MP -MF $@.d $< $(filter %.o,$^) $(LDLIBS_ALL) -lcmocka -o $@
$(BIN)/tests/bench/test_peer: $(O)/bench/peers/peer.o
unit: $(TESTS)

# ---- fuzz targets: each with the standalone driver, and with libFuzzer ----
FUZZ     := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJ := $(O)/tests/fuzz/make_record.o $(BODY)
$(O)/tests/fuzz/%.o: CPPFLAGS += -Itests
$(FUZZ:%=$(BIN)/fuzz/drive_%): $(BIN)/fuzz/drive_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/drive.o $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $^ $(LDLIBS_ALL) -o $@
$(FUZZ:%=$(BIN)/fuzz/libfuzzer_%): $(BIN)/fuzz/libfuzzer_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/mutate.o $(FUZZ_OBJ)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) -fsanitize=fuzzer $^ $(LDLIBS_ALL) -o $@

# ---- small programs of the benchmarks: one of many cases, and each of bench/tools on its own ----
MICRO     := $(wildcard bench/micro/*.c)
MICRO_OBJ := $(MICRO:%.c=$(O)/%.o)
$(O)/bench/micro/micro.o: CPPFLAGS += -DMICRO_FLAGS='"$(strip $(CFLAGS_$(VARIANT)) $(CFLAGS))"'
$(BIN)/bench/micro: $(MICRO_OBJ) $(BODY)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $^ $(LDLIBS_ALL) -o $@
tools: $(patsubst bench/tools/%.c,$(B)/bench/%,$(wildcard bench/tools/*.c))
$(B)/bench/%: bench/tools/%.c
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $< -llmdb -o $@

# ---- what the fault tests stand on: shims to be preloaded, and the store's driver with one of them linked in ----
faults-tools: $(patsubst %,$(B)/faults/%.so,fail clock record) $(B)/faults/drive_store
$(B)/faults/%.so: tests/faults/%.c tests/faults/fail.h
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -U_FORTIFY_SOURCE -shared $< -ldl -o $@
$(B)/faults/drive_store: tests/faults/drive_store.c $(wildcard tests/faults/scenarios_*.c) tests/faults/fail.c tests/faults/fail.h tests/faults/drive_store.h \
                         tests/store/fixture.h $(BODY)
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(CPPFLAGS) -Itests $(CFLAGS_ALL) -U_FORTIFY_SOURCE $(filter %.c %.o,$^) $(LDLIBS_ALL) -ldl -lcmocka -o $@

# ---- drivers of the peers: one program each, on its library's development package; without that it is not built and its peer is absent ----
PEERS := postgresql nats redis rabbitmq sqlite rocksdb lmdb
PEER_MODULE_postgresql := libpq
PEER_MODULE_nats       := libnats
PEER_MODULE_redis      := hiredis
PEER_MODULE_rabbitmq   := librabbitmq
PEER_MODULE_sqlite     := sqlite3
PEER_MODULE_rocksdb    := rocksdb
PEER_MODULE_lmdb       := lmdb
$(B)/bench/peers/muster_idle: bench/peers/muster_idle.c $(O)/bench/peers/peer.o $(BIN)/libmuster.a
	@mkdir -p $(@D)
	$(call say,LINK,$@)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -MF $@.d $(filter %.c %.o %.a,$^) $(LDLIBS_ALL) -o $@
$(PEERS:%=$(B)/bench/peers/%): $(B)/bench/peers/%: bench/peers/%.c $(O)/bench/peers/peer.o
	@mkdir -p $(@D)
	@if pkg-config --exists $(PEER_MODULE_$*); then \
	  printf '  %-5s %s\n' LINK $@; \
	  $(CC) $(CPPFLAGS) $(CFLAGS_ALL) $$(pkg-config --cflags $(PEER_MODULE_$*)) -MMD -MP -MF $@.d $(filter %.c %.o,$^) $$(pkg-config --libs $(PEER_MODULE_$*)) -o $@; \
	else \
	  echo "muster: no $(PEER_MODULE_$*) for pkg-config: $@ is not built"; rm -f $@; \
	fi
peers: $(PEERS:%=$(B)/bench/peers/%) $(B)/bench/peers/muster_idle

run: deps
	@$(MAKE) -s --no-print-directory -j$$(nproc) all
	@bench/surge.sh $(B)/muster $(B)/run

test: deps-test
	@tests/run.sh

# A table each, and build/bench/*.json; exit 1 where a bar is missed.
bench: deps-bench
	@$(MAKE) --no-print-directory -j$$(nproc) all tools
	@bench/throughput.py
bench-backup: deps-bench
	@$(MAKE) --no-print-directory -j$$(nproc) all tools
	@bench/backup.py
bench-growth: deps-bench
	@$(MAKE) --no-print-directory -j$$(nproc) all tools
	@bench/growth.py
bench-where: deps-bench
	@$(MAKE) --no-print-directory -j$$(nproc) all tools
	@bench/where.py

# Always the release variant: it is what runs.
bench-micro: deps-bench
	@$(MAKE) --no-print-directory -j$$(nproc) VARIANT=release $(B)/bench/micro
	@$(B)/bench/micro
bench-check bench-baseline: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) VARIANT=release $(B)/bench/micro
	@bench/micro/check.py $(B)/bench/micro $(if $(filter bench-baseline,$@),--renew)

bench-peers: deps-peers
	@$(MAKE) --no-print-directory -j$$(nproc) all peers tools
	@bench/peers.py

faults: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all faults-tools
	@$(MAKE) --no-print-directory -j$$(nproc) VARIANT=faults all
	@FORM=$(or $(FORM),full) tests/faults/run.sh

soak: deps-test
	@$(MAKE) --no-print-directory -j$$(nproc) all faults-tools
	@MINUTES=$(MINUTES) tests/faults/soak.py

fuzz: deps-test
	@tests/fuzz/run.sh $(SECONDS) $(TARGET)

valgrind: deps-test
	@SUITES=valgrind tests/run.sh

mutants: deps-test
	@tests/mutants/run.py $(ONLY)

coverage: deps-test
	@tests/coverage.py

tidy: deps-test
	@tests/tidy.sh

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf $(B)

-include $(shell find $(B)/obj $(BIN)/tests $(B)/bench/peers -name '*.d' 2>/dev/null)
