# cache_notify: build, install, test.
#
#   make                   build the extension
#   make install           install it into the server of PG_CONFIG
#   make demo              watch it work on a throwaway server
#   make test              build with assertions, run every test
#   make test-all-versions the same on every PostgreSQL that Debian has
#   make test-unit         the same with pg_regress and pgTAP only
#   make test-integration  the same with isolation specs and TAP only
#   make test-consistency  is a cache ever stale? READS=n says how long to look
#   make test-fuzz         can an owner of tables harm anybody? an hour; FUZZ_SECONDS=60
#   make test-mutants      do the tests notice small faults (test/mutants)? MUTANTS="counter
#                          token" picks; goes on where it was stopped
#   make test-mutants-packages the same of the packages' core, by cosmic-ray and Stryker;
#                          MUTANTS="python"
#   make test-hostile      sanitizer, sqlsmith, valgrind, suites, soak (tools/test-hostile); takes
#                          three hours, HOSTILE="sqlsmith soak" picks, SOAK_MINUTES=5 shortens
#   make test-interop      the same with the programs of others (test/interop)
#   make test-upgrade      from every release, and from an older PostgreSQL
#   make test-package      the Debian package, built and installed on fresh systems
#   make accept            what the last make test printed is what is expected from now on
#   make test-traces       what make demo and make test leave on a fresh system: nothing
#   make lint              what can be said without running anything
#   make reference         doc/reference.md, from the comments of the extension's objects
#   make format            lay out the C files as PostgreSQL's own are
#   make benchmark         measure; SCENARIO=name picks what
#   make figures           what was measured, into doc/; NOTE says how it was
#   make clean             remove everything that was generated
#
# PG_CONFIG=/path/to/pg_config or PG_VERSION=15 picks the server. For tests with a
# PG_VERSION that this machine cannot install, a small Debian system that has it is
# made outside the repository (tools/version-root).
# CN_ASSERT=1 compiles the assertions in, CN_SANITIZE=undefined what looks for
# undefined behaviour. Warnings are errors in what developers run (test*, lint);
# WERROR= lets them pass there, too, WERROR=-Werror stops at them elsewhere.
# TESTS="name ..." runs only the test files of these names, PARTS="tap ..." only
# these parts of make test.
# demo, test* and benchmark install the packages that are missing
# (tools/install-dependencies), put the extension into a copy of the server
# (tools/private-server), and never touch one that is installed or running.

ifdef PG_VERSION
ifeq ($(origin PG_CONFIG),undefined)
elsewhere := $(filter test%,$(MAKECMDGOALS))
elsewhere := $(and $(elsewhere),$(if $(shell tools/in-version --is-here $(PG_VERSION)),,yes))
endif
PG_CONFIG ?= /usr/lib/postgresql/$(PG_VERSION)/bin/pg_config
endif
PG_CONFIG ?= pg_config

# ---------------------------------------------------------------- what to build

CORE       = cache_notify
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" $(CORE).control)

# What FraiseQL looks for: an extension of its own, on top of this one.
FRAISEQL   = pg_fraiseql_cache/pg_fraiseql_cache

EXTENSION  = $(CORE) $(FRAISEQL)
MODULE_big = $(CORE)
OBJS       = $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c))

# What the server looks up by name in the library, and nothing else: it loads libraries
# into one space of names, where another one's function could replace ours.
SHLIB_EXPORTS = build/exports.txt

# The order matters: each part may use what an earlier one creates. A folder for each
# schema: in cache_notify is what people call, in _cache_notify what only we do.
internal   = $(1:%=_cache_notify/%)
public     = $(1:%=cache_notify/%)
both       = $(foreach part,$(1),_cache_notify/$(part) cache_notify/$(part))
SQL_PARTS  = prologue $(call both,tables functions) $(call public,epoch token) \
	$(call internal,setup) $(call both,stored) $(call internal,rule_note) $(call both,key refresh watch) $(call public,cascade) \
	$(call both,views status stats dependency schema doctor privileges) $(call internal,events)
SQL_FILES  = $(SQL_PARTS:%=sql/%.sql)
SQL_BUILT  = $(CORE)--$(EXTVERSION).sql

DATA       = $(wildcard sql/upgrade/$(CORE)--*--*.sql $(FRAISEQL)--*.sql)
DATA_built = $(SQL_BUILT)

EXTRA_CLEAN = $(CORE)--*.sql .build-flags src/*.d src/*/*.[do] build/exports.* build/unpacked dist test/output test/versions \
	test/interop/*/build clients/*/build examples/*/build bench/results.json bench/plots bench/build

# ------------------------------------------------------------------------ flags

# Not for whoever builds a release: another compiler has other warnings.
strict    := WERROR=$(if $(filter undefined,$(origin WERROR)),-Werror,$(WERROR))
WERROR     =
# The server's headers decide the language from 19 on (C11); before that, C99.
C_STANDARD = $(if $(filter 14 15 16 17 18,$(MAJORVERSION)),-std=gnu99)
# What -Wextra says about the server's own headers and idioms is switched off.
PG_CFLAGS  = $(C_STANDARD) -Wall -Wextra $(WERROR) \
	-Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

PG_CPPFLAGS = -Isrc
ifeq ($(CN_ASSERT),1)
PG_CPPFLAGS += -DUSE_ASSERT_CHECKING
endif

# A finding ends the backend, so that no test can pass over it. That what is
# undefined in one branch is "maybe uninitialized" in all is the sanitizer's doing.
ifneq ($(CN_SANITIZE),)
sanitize = -fsanitize=$(CN_SANITIZE) -fno-sanitize-recover=all
PG_CFLAGS += $(sanitize) -Wno-maybe-uninitialized
SHLIB_LINK += $(sanitize)
endif

# Bitcode is for inlining C functions into compiled expressions. Triggers gain
# nothing from it, and it would need the server's clang: only on request.
ifneq ($(origin with_llvm),command line)
override with_llvm := no
endif

# The default goal; PGXS adds the building to it.
all: check-version check-sources

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)

# Scripts and sudo must see the same server, whatever their PATH says.
override PG_CONFIG := $(shell command -v $(PG_CONFIG))
# Only a server that was built with --enable-depend has rules for dependencies, and
# those mix up files of one name in two folders.
override autodepend := no
include $(PGXS)

# Objects of other flags, of another server or with other assertions are stale.
build_flags = $(PG_CONFIG) $(VERSION) $(CC) $(CPPFLAGS) $(CFLAGS) $(SHLIB_LINK)
$(OBJS): .build-flags
.build-flags: FORCE
	@echo '$(build_flags)' | cmp -s - $@ || echo '$(build_flags)' > $@

# In Makefile.shlib's format: names, one a line.
$(SHLIB_EXPORTS): $(OBJS:.o=.c) Makefile
	@mkdir -p $(@D)
	@{ printf '%s\n' _PG_init Pg_magic_func && sed -n \
	  -e 's/^PG_FUNCTION_INFO_V1(\(.*\));.*/\1 pg_finfo_\1/p' \
	  -e 's/^PGDLLEXPORT .*[ *]\([A-Za-z_0-9]*\)(.*/\1/p' $(OBJS:.o=.c); } | tr ' ' '\n' > $@

# Which headers an object depends on, the compiler knows.
$(OBJS): private override CPPFLAGS += -MMD -MP
-include $(OBJS:.o=.d)

else

all install clean:
	@echo "no server development files at PG_CONFIG=$(PG_CONFIG):" \
	  "run tools/install-dependencies build, or set PG_CONFIG" >&2; exit 1

endif

export PG_CONFIG PG_VERSION TESTS READS

$(SQL_BUILT): $(SQL_FILES) Makefile $(CORE).control
	cat $(SQL_FILES) > $@

# ----------------------------------------------------------------------- checks

# Everything that repeats the version number must repeat it correctly.
check-version:
	@tools/check-version $(EXTVERSION)

# A file in sql/ that SQL_PARTS does not name would silently be left out.
check-sources:
	@$(foreach f,$(filter-out $(SQL_FILES),$(wildcard sql/*.sql sql/*cache_notify/*.sql)), \
	  echo "$f is not in SQL_PARTS of the Makefile" >&2; exit 1;)

# ------------------------------------------------------------------ test and run

# Each target starts make anew once the dependencies are there, because only
# then PGXS can be read.
again = $(MAKE) --no-print-directory --silent PG_CONFIG='$(PG_CONFIG)'

PARTS = regress pgtap isolation tap truth fuzz clients examples model consistency
test-unit: PARTS = regress pgtap
test-integration: PARTS = isolation tap
test-consistency: PARTS = consistency
test-fuzz: PARTS = fuzz
test-fuzz: export FUZZ_SECONDS ?= 3600
OUTPUT = test/output
groups = build test $(filter fuzz consistency clients examples model,$(PARTS))

ifneq ($(elsewhere),)
test test-unit test-integration test-consistency test-fuzz: prepare-parts
	@tools/in-version $(PG_VERSION) --fetch test/output=$(OUTPUT) \
	  sh -c 'tools/install-dependencies build && make --silent test PARTS="$(PARTS)"'
else
test test-unit test-integration test-consistency test-fuzz: prepare-parts
	@tools/install-dependencies $(groups)
	+@tools/private-server CN_ASSERT=1 '$(strict)' tools/unprivileged --fetch test/output test/run $(PARTS)
endif

# By whoever runs make, on whose behalf things can be downloaded.
prepare-parts:
	@$(if $(filter examples,$(PARTS)),tools/install-dependencies examples && \
	  tools/prepare examples)
	@$(if $(filter clients consistency,$(PARTS)),tools/install-dependencies clients && \
	  $(if $(filter clients,$(PARTS)),,TESTS=node) tools/prepare clients)

test-all-versions:
	@tools/test-versions

# Of the extension here, of PostgreSQL in a system that has two versions.
test-upgrade:
	@tools/install-dependencies build test
	+@tools/private-server CN_ASSERT=1 '$(strict)' tools/unprivileged --fetch test/output test/run upgrade
	@tools/test-pg-upgrade 15 17

test-package:
	@tools/test-package

test-traces:
	@tools/test-traces

test-hostile:
	@tools/install-dependencies build test hostile
	@tools/test-hostile $(HOSTILE)

# As root it steps down for each test by itself.
test-mutants:
	@tools/install-dependencies build test
	@tools/test-mutants $(MUTANTS)
test-mutants-packages:
	@tools/test-mutants-packages $(MUTANTS)

print-PARTS:
	@echo '$(PARTS)'

test-interop:
	@tools/install-dependencies build interop
	@tools/prepare test/interop
	+@tools/private-server CN_ASSERT=1 '$(strict)' tools/unprivileged --fetch test/output test/run interop

# Of the tests that failed in it, or those of them that TESTS names.
accept:
	@tools/accept $(TESTS)

lint:
	@tools/install-dependencies build lint
	@$(again) '$(strict)' all
	@tools/lint

reference:
	@tools/install-dependencies build
	+@tools/private-server tools/unprivileged --fetch doc/reference.md tools/with-server \
	  -c shared_preload_libraries=cache_notify -c cache_notify.delivery=commit tools/make-reference

format:
	@tools/install-dependencies build lint
	@$(again) all
	@tools/format

demo:
	@tools/install-dependencies build demo
	+@tools/private-server tools/unprivileged tools/with-server demo/run
	@[ ! -s build/installed ] || printf '\n%s\n' "To be rid of it: delete this folder; and of the packages that came for it:" \
	  '  sudo apt-get purge $$(cat build/installed)'

benchmark:
	@tools/install-dependencies build benchmark
	@bench/prepare $(SCENARIO)
	+@tools/private-server tools/unprivileged --fetch bench/results.json --fetch bench/plots \
	  bench/run $(SCENARIO)

figures:
	@bench/publish $(if $(NOTE),--note "$(NOTE)")

.PHONY: check-version check-sources prepare-parts print-PARTS FORCE \
	test test-unit test-integration test-interop test-consistency test-fuzz \
	test-all-versions test-upgrade test-package test-traces test-hostile test-mutants test-mutants-packages accept lint reference format demo benchmark figures
FORCE:
