# Tests that run on the host: unit tests (cmocka, ASan + UBSan) and fuzzers (libFuzzer).
#
# The pure floors (base, core) are compiled unmodified for the host with SERAI_HOST defined and
# linked into every test. tests/unit/<floor>/test_<file>.c mirrors hv/<floor>/<file>.c;
# tests/fuzz/fuzz_<name>.c keeps its corpus in tests/fuzz/corpus/<name>/.

PURE_C    := $(sort $(wildcard hv/base/*.c hv/core/*.c))
HOST_WARN := -Wall -Wextra -Werror -Wundef -Wshadow -Wstrict-prototypes -Wvla \
             -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
HOST_FLAGS := -std=gnu11 -g -DSERAI_HOST -D__XEN_TOOLS__ -Ihv -Itests -fno-omit-frame-pointer $(HOST_WARN)
UNIT_FLAGS := $(HOST_FLAGS) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_FLAGS := $(HOST_FLAGS) -O2 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

UNIT_LIB  := $(PURE_C:hv/%.c=$(B)/unit/hv/%.o) $(B)/unit/host_stubs.o
FUZZ_LIB  := $(PURE_C:hv/%.c=$(B)/fuzz/hv/%.o) $(B)/fuzz/host_stubs.o

UNIT_SRC  := $(sort $(wildcard tests/unit/*/test_*.c))
UNIT_BIN  := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
FUZZ_SRC  := $(filter-out %/fuzz_hypercalls.c,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_BIN  := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/fuzz/%)
FUZZ_SECONDS ?= 5

$(B)/unit/hv/%.o: hv/%.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) $(UNIT_FLAGS) -MMD -MP -c $< -o $@
$(B)/unit/host_stubs.o: tests/host_stubs.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) $(UNIT_FLAGS) -MMD -MP -c $< -o $@
$(UNIT_BIN): $(B)/unit/%: tests/unit/%.c $(UNIT_LIB)
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) $(UNIT_FLAGS) -MMD -MP $< $(UNIT_LIB) -lcmocka -o $@

$(B)/fuzz/hv/%.o: hv/%.c
	@mkdir -p $(@D)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) $(FUZZ_FLAGS) -MMD -MP -c $< -o $@
$(B)/fuzz/host_stubs.o: tests/host_stubs.c
	@mkdir -p $(@D)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) $(FUZZ_FLAGS) -MMD -MP -c $< -o $@
$(FUZZ_BIN): $(B)/fuzz/%: tests/fuzz/%.c $(FUZZ_LIB)
	@mkdir -p $(@D)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer -MMD -MP $< $(FUZZ_LIB) -o $@

include tests/fuzz/machine/machine.mk

.PHONY: unit fuzz fuzz-build
unit: $(UNIT_BIN)
	@for t in $(UNIT_BIN); do echo "# $$t"; CMOCKA_MESSAGE_OUTPUT=TAP $$t || exit 1; done

# A smoke of each fuzzer: the kept corpus, then a few seconds of new inputs.
fuzz: $(FUZZ_BIN) $(HC_BIN)
	@for f in $(FUZZ_BIN) $(HC_BIN); do n=$$(basename $$f); n=$${n#fuzz_}; \
	  mkdir -p $(B)/fuzz/new/$$n tests/fuzz/corpus/$$n; echo "# fuzz $$n"; \
	  $$f -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=0 -rss_limit_mb=2048 \
	    -artifact_prefix=$(B)/fuzz/ $(B)/fuzz/new/$$n tests/fuzz/corpus/$$n || exit 1; done

# The rule language of domain 0, and the hypervisor's judge (as a library) against an oracle.
RULES_JUDGE := tests/rules/judge.c $(wildcard hv/core/vfr_rules*.c) hv/base/sha256.c hv/core/vfr_sets.c hv/core/vfr_rates.c
RULESETS    ?= 150

$(B)/rules/judge.so: $(RULES_JUDGE) $(wildcard hv/core/vfr_*.h hv/abi/vfr*.h)
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) $(HOST_FLAGS) -O2 -fPIC -shared $(RULES_JUDGE) -o $@

# The router's way of a packet, and explanations, against each other and that oracle.
RULES_ROUTER := tests/rules/router.c $(wildcard hv/core/vfr_*.c) $(wildcard hv/base/sha256*.c) hv/base/string.c tests/host_stubs.c \
                $(addprefix hv/svc/vfr_,answer.c ask.c elements.c explain.c forward.c neighbours.c pieces.c shared.c switch.c ways.c)

$(B)/rules/router.so: $(RULES_ROUTER) $(wildcard hv/core/vfr_*.h hv/abi/vfr*.h hv/svc/*.h)
	@mkdir -p $(@D)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) -Itests/fuzz/machine/shadow $(HOST_FLAGS) -O2 -fPIC -shared $(RULES_ROUTER) -o $@

.PHONY: rules
rules: $(B)/rules/judge.so $(B)/rules/router.so
	tests/rules/language
	VFR_ROUTER=$(B)/rules/router.so tests/rules/explain --rulesets $(RULESETS) --packets 100
	VFR_JUDGE=$(B)/rules/judge.so tests/rules/compare --rulesets $(RULESETS)

# Domain 0's servers for leases, over the hypervisor's own code; some with clients that others wrote.
.PHONY: net
net:
	tests/net/run

-include $(UNIT_LIB:.o=.d) $(FUZZ_LIB:.o=.d) $(UNIT_BIN:=.d) $(FUZZ_BIN:=.d)
