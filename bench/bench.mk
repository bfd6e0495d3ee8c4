# `make bench`: instructions per operation on bare Linux, stock Xen 4.17 and Serai, as ratios.
# BENCH_FLAGS passes options to bench/run, for example BENCH_FLAGS="--systems bare,serai".

BENCH_TOOLS := $(B)/bench/ops $(B)/bench/tiny $(B)/bench/count.so

.PHONY: bench bench-tools
bench: packages-run $(B)/serai $(B)/kernel/bookworm/vmlinuz bench-tools
	BENCH_KERNEL=$(B)/kernel/bookworm/vmlinuz \
	  BENCH_MODULES=$$(echo $(B)/kernel/bookworm/root/lib/modules/*) bench/run $(BENCH_FLAGS)

bench-tools: $(BENCH_TOOLS)

$(B)/bench/ops: bench/guest/ops.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -static $< -o $@

$(B)/bench/tiny: bench/guest/tiny.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -static $< -o $@

$(B)/bench/count.so: bench/plugin/count.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -shared $< -o $@
