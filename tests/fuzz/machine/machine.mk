# fuzz_hypercalls: the hypervisor itself on a machine of the host's (tests/fuzz/machine/machine.h).
#
# HC_HV is where its sources are: tests/fuzz/machine/run gives another place, with an error sown.
# Only they are instrumented for coverage, and comparisons are not: the input is not text.

HC_B  := $(B)/fuzz/hypercalls
HC_HV ?= hv
HC_BIN := $(HC_B)/fuzz_hypercalls

# What is left out needs a boot, an emulator of instructions, or the console's hardware; what has
# its own file in tests/fuzz/machine is included there, with a look inside.
HC_OWN := $(notdir $(wildcard tests/fuzz/machine/*.c))
HC_OUT := guest/dom0_build.c guest/dom0_console.c guest/emulate.c kern/panic.c kern/heap.c \
          kern/line.c guest/maptrack.c guest/domain.c
HC_SRC := $(filter-out $(HC_OUT),$(patsubst $(HC_HV)/%,%,$(foreach f,base core kern guest svc hcall, \
            $(sort $(wildcard $(HC_HV)/$(f)/*.c)))))
HC_OBJ := $(HC_SRC:%.c=$(HC_B)/hv/%.o) $(HC_OWN:%.c=$(HC_B)/%.o) $(HC_B)/fuzz_hypercalls.o \
          $(B)/fuzz/host_stubs.o

# A pointer to the first member of a struct that is not there is NULL: dispatch.c relies on it. And
# what guests name by pointers is no memory of this program's.
HC_FLAGS := $(subst -Ihv,-Itests/fuzz/machine/shadow -I$(HC_HV),$(HOST_FLAGS)) -O2 \
            -fsanitize=address,undefined -fno-sanitize=null,alignment,pointer-overflow -fno-sanitize-recover=all
HC_COVER := -fsanitize-coverage=inline-8bit-counters,pc-table
HC_PLACE := -include fuzz/machine/sections.h

# These are the hypervisor's too.
$(addprefix $(HC_B)/,heap.o line.o maptrack.o domain.o): HC_OF_HV := $(HC_COVER) $(HC_PLACE)

$(HC_B)/hv/%.o: $(HC_HV)/%.c
	@mkdir -p $(@D)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) $(HC_FLAGS) $(HC_COVER) $(HC_PLACE) -MMD -MP -c $< -o $@
$(HC_B)/%.o: tests/fuzz/machine/%.c
	@mkdir -p $(@D)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) $(HC_FLAGS) $(HC_OF_HV) -MMD -MP -c $< -o $@
$(HC_B)/fuzz_hypercalls.o: tests/fuzz/fuzz_hypercalls.c
	@mkdir -p $(@D)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) $(HC_FLAGS) -MMD -MP -c $< -o $@
$(HC_BIN): $(HC_OBJ)
	@echo '  CLANG   $@'
	$(Q)$(CLANG) $(HC_FLAGS) -fsanitize=fuzzer $^ -o $@

.PHONY: fuzz-sown
fuzz-sown: $(HC_BIN)
	tests/fuzz/machine/run

-include $(HC_OBJ:.o=.d)

# One source is another one (tests/fuzz/machine/run), by itself or where it is included.
ifdef SOWN
HC_SOWN  := $(HC_B)/sown/$(SOWN)
HC_INCL  := $(filter $(notdir $(SOWN_FILE)),$(filter domain.c maptrack.c line.c heap.c,$(HC_OWN)))
HC_WHERE := $(if $(HC_INCL),tests/fuzz/machine/$(HC_INCL),$(HC_SOWN)/hv/$(SOWN_FILE))
HC_WAS   := $(HC_B)/$(if $(HC_INCL),$(HC_INCL:.c=.o),hv/$(SOWN_FILE:.c=.o))

$(HC_SOWN)/fuzz_hypercalls: $(HC_OBJ) $(HC_SOWN)/hv/$(SOWN_FILE)
	$(Q)$(CLANG) -I$(HC_SOWN)/hv $(HC_FLAGS) $(HC_COVER) $(HC_PLACE) -c $(HC_WHERE) -o $(HC_SOWN)/sown.o
	$(Q)$(CLANG) $(HC_FLAGS) -fsanitize=fuzzer $(filter-out $(HC_WAS),$(HC_OBJ)) $(HC_SOWN)/sown.o -o $@
endif
