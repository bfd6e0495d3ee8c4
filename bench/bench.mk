# `make bench`: instructions per operation on bare Linux, stock Xen 4.17 and Serai, as ratios.
# BENCH_FLAGS passes options to bench/run, for example BENCH_FLAGS="--systems bare,serai".
# `make bench-guests`: what guests cost: their own operations, network, disk, grants, the toolstack.

BENCH_TOOLS := $(B)/bench/ops $(B)/bench/tiny $(B)/bench/io $(B)/bench/dirty $(B)/bench/steady $(B)/bench/count.so

.PHONY: bench bench-guests bench-tools
bench: packages-run $(B)/serai $(B)/kernel/bookworm/vmlinuz bench-tools
	BENCH_KERNEL=$(B)/kernel/bookworm/vmlinuz \
	  BENCH_MODULES=$$(echo $(B)/kernel/bookworm/root/lib/modules/*) bench/run $(BENCH_FLAGS)

# BENCH_FLAGS goes to each, for example BENCH_FLAGS="--update-docs".
bench-guests: packages-run $(B)/serai $(DOM0)/vmlinuz $(DOM0)/initrd.gz $(DOM0)/root.img bench-tools
	bench/grants/run $(BENCH_FLAGS)
	bench/domu/run $(BENCH_FLAGS)
	bench/domu/run --profile $(BENCH_FLAGS)
	bench/toolstack/run $(BENCH_FLAGS)
	bench/vfr/run $(BENCH_FLAGS)
	bench/vfr/run --profile $(BENCH_FLAGS)

bench-tools: $(BENCH_TOOLS)

$(B)/bench/ops $(B)/bench/tiny $(B)/bench/io $(B)/bench/dirty $(B)/bench/steady: $(B)/bench/%: bench/guest/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -static $< -o $@

$(B)/bench/count.so: bench/plugin/count.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -shared $< -o $@

# `make bench-host`: instructions of the pure paths, compiled with the hypervisor's flags, optimised
# as one piece as the image is, and counted by callgrind. BENCH_HOST_FLAGS passes options to bench/host/run.
BENCH_HOST    := $(B)/bench/host
BENCH_HOST_HV := $(PURE_C:hv/%.c=$(BENCH_HOST)/hv/%.o) $(BENCH_HOST)/hv/guest/frame.o $(BENCH_HOST)/hot.o
BENCH_HOST_C  := $(patsubst bench/host/%.c,$(BENCH_HOST)/%.o,$(filter-out %/hot.c,$(wildcard bench/host/*.c)))

.PHONY: bench-host
bench-host: packages-test $(BENCH_HOST)/paths
	bench/host/run $(BENCH_HOST_FLAGS)

$(BENCH_HOST)/hv/%.o: hv/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(call hv_opt,$*) -flto -Itests/model/stubs $(HV_CFLAGS) -DSERAI_HOST -MMD -MP -c $< -o $@

$(BENCH_HOST)/hot.o: bench/host/hot.c
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 -flto -Itests/model/stubs $(HV_CFLAGS) -DSERAI_HOST -MMD -MP -c $< -o $@

$(BENCH_HOST_C): $(BENCH_HOST)/%.o: bench/host/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_FLAGS) -O2 -MMD -MP -c $< -o $@

$(BENCH_HOST)/host_stubs.o: tests/host_stubs.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(HOST_FLAGS) -O2 -MMD -MP -c $< -o $@

# Static, because the hypervisor's objects hide their symbols.
$(BENCH_HOST)/paths: $(BENCH_HOST_HV) $(BENCH_HOST_C) $(BENCH_HOST)/host_stubs.o
	@echo '  LD      $@'
	$(Q)$(CC) -O2 -flto -flto-partition=one -static $^ -o $@

-include $(BENCH_HOST_HV:.o=.d) $(BENCH_HOST_C:.o=.d)
