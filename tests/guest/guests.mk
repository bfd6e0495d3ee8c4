# The mini guests: one object set, two images that differ in their ELF notes, and a small one.
# Run from the top of the tree: make -f tests/guest/guests.mk

B        ?= build
G        := $(B)/guest
GUEST_C  := $(sort $(wildcard tests/guest/*.c))
GUEST_O  := $(GUEST_C:tests/guest/%.c=$(G)/%.o) $(G)/start.o
GUEST_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -iquote hv -iquote tests/guest -fno-pic -mcmodel=kernel -mno-red-zone \
        -mgeneral-regs-only -fno-strict-aliasing -fno-delete-null-pointer-checks \
        -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
        -fno-optimize-sibling-calls -D__XEN_TOOLS__ -Wall -Wextra -Werror -Wundef -Wshadow \
        -Wstrict-prototypes -Wvla -Wno-unused-parameter -Wno-sign-compare \
        -Wno-missing-field-initializers
GUEST_LD := ld -nostdlib -static -z max-page-size=4096 -z noexecstack --build-id=none \
        --no-warn-rwx-segments -T tests/guest/guest.lds

.PHONY: guests
guests: $(G)/pv.elf $(G)/pv_p2m.elf $(G)/idle.elf

$(G)/%.o: tests/guest/%.c
	@mkdir -p $(@D)
	gcc $(GUEST_CFLAGS) -MMD -MP -c $< -o $@
$(G)/start.o: tests/guest/start.S
	@mkdir -p $(@D)
	gcc -D__ASSEMBLY__ -MMD -MP -c $< -o $@
$(G)/notes.o: tests/guest/notes.S
	@mkdir -p $(@D)
	gcc -c $< -o $@
$(G)/notes_p2m.o: tests/guest/notes.S
	@mkdir -p $(@D)
	gcc -DNOTES_P2M -c $< -o $@
$(G)/pv.elf: $(GUEST_O) $(G)/notes.o tests/guest/guest.lds
	$(GUEST_LD) -o $@ $(GUEST_O) $(G)/notes.o
$(G)/pv_p2m.elf: $(GUEST_O) $(G)/notes_p2m.o tests/guest/guest.lds
	$(GUEST_LD) -o $@ $(GUEST_O) $(G)/notes_p2m.o

# One that only sleeps, of what it needs alone: it fits into 8 MiB whatever the tests grow to.
$(G)/idle.a: $(filter-out $(G)/main.o $(G)/start.o,$(GUEST_O))
	rm -f $@
	ar rcs $@ $^
$(G)/idle.elf: $(G)/start.o $(G)/idle/main.o $(G)/notes.o $(G)/idle.a tests/guest/guest.lds
	$(GUEST_LD) -o $@ $(filter %.o %.a,$^)

-include $(GUEST_O:.o=.d) $(G)/idle/main.d
