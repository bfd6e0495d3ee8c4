# The hypervisor image.

HV_FLOORS := abi base core x86 kern guest svc hcall main
HV_C      := $(sort $(wildcard $(HV_FLOORS:%=hv/%/*.c)))
HV_S      := $(sort $(wildcard hv/x86/*.S))
HV_OBJ    := $(HV_C:hv/%.c=$(B)/hv/%.o) $(HV_S:hv/%.S=$(B)/hv/%.S.o)

WARN := -Wall -Wextra -Werror -Wundef -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
        -Wnull-dereference -Wframe-larger-than=1536 -Wno-unused-parameter -Wno-sign-compare

# The image lives at a high address outside the top 2 GiB (those belong to the guest), so the
# code is position-independent without a GOT: every symbol is hidden.
HV_CFLAGS := -std=gnu11 -g -ffreestanding -fpie -fvisibility=hidden -mno-red-zone \
        -mgeneral-regs-only -fno-strict-aliasing -fno-delete-null-pointer-checks \
        -fno-stack-protector -fno-asynchronous-unwind-tables -fno-jump-tables -ffunction-sections \
        -fcf-protection=none -ftrivial-auto-var-init=zero -fno-common \
        -D__XEN_TOOLS__ -Ihv -include hv/base/hidden.h $(WARN) $(TORTURE)
# gcc's alone. What is unlikely() is rare: nothing is kept in registers, or moved, for its sake. Padding
# in functions costs more, as instructions and memory, than it gains.
HV_GCCFLAGS := --param=builtin-expect-probability=99 -falign-jumps=1 -falign-loops=1 -falign-labels=1
HV_CPPFLAGS := -MMD -MP

# Decoders and parsers run only at boot; their whole object files go to the init sections.
HV_INIT_OBJ := base/xz base/zstd base/inflate base/lz4 base/unpack base/elf base/bzimage base/cmdline \
        base/checksum base/lzma base/zstd_entropy guest/dom0_build core/acpi core/multiboot core/e820 core/topology

# The rest is optimised as one piece: 4 % smaller, 5 % fewer instructions per packet.
HV_STAY_OBJ := $(filter-out $(HV_INIT_OBJ:%=$(B)/hv/%.o),$(HV_C:hv/%.c=$(B)/hv/%.o))

# What runs all the time, and the decoders that a boot waits for, is compiled for speed; the rest,
# which is most of the code, for size.
HV_HOT := $(addprefix base/,checksum elf inflate lzma sha256 string xz zstd zstd_entropy) \
        $(addprefix core/,buddy clock evtchn sched sched_choose \
          sched_life sched_place sched_queue \
          vfr_flow vfr_guard vfr_offload vfr_packet_common vfr_ports vfr_rates vfr_route vfr_rules vfr_sets) \
        $(addprefix x86/,fpu lapic tsc) \
        $(addprefix kern/,dispatch heap irq lock timer tlb) \
        $(addprefix guest/,domain event frame frame_owner grant maptrack mmu \
          ptwr segments switch trap vcpu vtime) \
        svc/vfr_ask svc/vfr_forward svc/vif_rx svc/vif_tx \
        $(addprefix hcall/,events grant grant_copy grant_map grant_unmap mmu \
          multicall sched segments table traps)
hv_opt = $(if $(filter $(HV_HOT),$(1)),-O2,-Os)

$(B)/hv/%.o: hv/%.c tools/hv.mk
	@mkdir -p $(@D)
	@echo '  CC      $<'
	$(Q)$(CC) $(call hv_opt,$*) $(if $(filter $@,$(HV_STAY_OBJ)),-flto) $(HV_CFLAGS) $(HV_GCCFLAGS) $(HV_CPPFLAGS) -c $< -o $@
	$(Q)$(if $(filter $@,$(HV_STAY_OBJ)),,objcopy --prefix-alloc-sections=.init $@)

$(B)/hv/%.S.o: hv/%.S $(B)/hv/asm_offsets.h
	@mkdir -p $(@D)
	@echo '  AS      $<'
	$(Q)$(CC) -g -D__ASSEMBLY__ -Ihv -I$(B)/hv $(HV_CPPFLAGS) -c $< -o $@

# Structure offsets that assembly needs, taken from the compiler.
$(B)/hv/asm_offsets.h: hv/x86/asm_offsets.in
	@mkdir -p $(@D)
	$(Q)$(CC) -O2 $(HV_CFLAGS) $(HV_CPPFLAGS) -MT $@ -MF $@.d -x c -S $< -o - | \
	  sed -n 's/^.*->\([A-Za-z0-9_]*\) \$$*\(-*[0-9]*\).*/#define \1 \2/p' > $@

# The compiled whole is kept for tools/check-image.
$(B)/serai: $(HV_OBJ) hv/x86/serai.lds tools/symbols
	@echo '  LD      $@'
	$(Q)$(CC) -O2 $(HV_CFLAGS) -flto -flto-partition=one -save-temps -nostdlib -static -no-pie \
	  -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -Wl,--gc-sections \
	  -T hv/x86/serai.lds -o $(B)/hv/serai $(HV_OBJ)
	$(Q)tools/symbols $(B)/hv/serai && mv $(B)/hv/serai $@

$(B)/serai.gz: $(B)/serai
	$(Q)objcopy --strip-debug $< $(B)/serai.stripped
	$(Q)gzip -9nc $(B)/serai.stripped > $@

# Builds that force rare paths (hv/kern/torture.h), each in a directory of its own; the last one
# is broken on purpose, and tests must notice.
TORTURE_torture  := -DTORTURE_PREEMPT=1 -DTORTURE_MIGRATE=1 -DTORTURE_FLUSH=1
TORTURE_no-flush := -DTORTURE_NO_FLUSH=1

.PHONY: $(B)/torture/serai $(B)/no-flush/serai
$(B)/torture/serai $(B)/no-flush/serai: $(B)/%/serai:
	$(Q)$(MAKE) --no-print-directory B=$(B)/$* TORTURE='$(TORTURE_$*)' $(B)/$*/serai

-include $(HV_OBJ:.o=.d) $(B)/hv/asm_offsets.h.d
