# Everything around the hypervisor: domain 0's image, make run, make iso, system tests.
#
# SERAI is the hypervisor to boot; a stock Xen works too, for comparison.

SERAI     ?= $(B)/serai
SERAI_GZ  ?= $(B)/serai.gz
QEMU      ?= qemu-system-x86_64
DOM0      := $(B)/dom0
GUEST     := $(DOM0)/guest

# Drivers that domain 0 needs to find its root disk, those of the usual network cards, and the
# bridge that its network is, whatever kernel boots the image.
DOM0_MODULES := virtio_pci virtio_blk virtio_scsi virtio_net ahci ata_piix nvme sd_mod sr_mod \
                e1000 e1000e igb r8169 ext4 crc32c_generic bridge
GUEST_MODULES := xen_blkfront xen_netfront squashfs overlay
# What the ISO needs besides: its own file systems, and sticks.
LIVE_MODULES := isofs squashfs loop overlay usb_storage uas xhci_pci ehci_pci

# -- What must be installed; a missing package is named before anything starts
.PHONY: packages-run packages-iso packages-test
packages-run packages-iso: packages-%:
	@tools/install-packages --check build run $(filter-out run,$*)
packages-test:
	@tools/install-packages --check

# -- Kernels, as Debian ships them
$(B)/kernel/%/vmlinuz: tools/fetch-kernel tools/debian-apt | packages-run
	tools/fetch-kernel $* $(@D)

# -- Domain 0
$(DOM0)/vmlinuz: $(B)/kernel/bookworm/vmlinuz
	@mkdir -p $(@D)
	cp $< $@

$(DOM0)/initrd.gz: $(B)/kernel/bookworm/vmlinuz tools/make-initramfs tools/initramfs/dom0-init
	tools/make-initramfs -k $(<D) -m "$(DOM0_MODULES)" $@ tools/initramfs/dom0-init

# The serai command; static, so that it runs in any image. It unpacks kernels as the hypervisor does.
UNPACK_C := $(addprefix hv/base/,bzimage.c checksum.c inflate.c lz4.c lzma.c sha256.c unpack.c xz.c zstd.c zstd_entropy.c)
$(DOM0)/serai: $(sort $(wildcard dom0/serai/*.c)) $(UNPACK_C) $(wildcard dom0/serai/*.h) \
               $(wildcard hv/base/*.h) hv/abi/serai.h $(wildcard hv/core/sched*.h) | packages-run
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -Werror -static -D__XEN_TOOLS__ -DSERAI_HOST -Ihv \
	  -o $@ $(filter %.c,$^) -ljson-c -lxenstore -lxentoolcore

# For guests: holds a block of ports of a shared address. Static, so that it runs in any of them.
$(B)/rsip: dom0/rsip/rsip.c
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -o $@ $<

# What makes xl start guests from kernels that are unpacked already
$(DOM0)/kernel_cache.so: dom0/xl/kernel_cache.c dom0/serai/kernel_key.h | packages-run
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $<

$(DOM0)/base.tar: tools/dom0/packages | packages-run
	tools/make-base $< $@

# What the guests that domain 0 starts are made of
$(DOM0)/guest-base.tar: tools/guest/packages | packages-run
	tools/make-base $< $@

$(GUEST)/root.sqfs: $(DOM0)/guest-base.tar $(B)/rsip tools/make-guest-image $(shell find tools/guest -type f) \
                    tools/dom0/functions tools/dom0/etc/inittab \
                    $(addprefix tools/dom0/usr/local/sbin/,boot console-login stop)
	@mkdir -p $(@D)
	tools/make-guest-image $< $(B)/rsip $@

$(GUEST)/initrd.gz: $(B)/kernel/bookworm/vmlinuz tools/make-initramfs tools/initramfs/dom0-init
	tools/make-initramfs -k $(<D) -m "$(GUEST_MODULES)" $@ tools/initramfs/dom0-init

DOM0_PARTS := $(DOM0)/base.tar $(B)/kernel/bookworm/vmlinuz $(DOM0)/serai $(DOM0)/kernel_cache.so \
              $(GUEST)/root.sqfs $(GUEST)/initrd.gz
FILL_DOM0 := tools/make-dom0-image $(DOM0)/base.tar $(B)/kernel/bookworm $(DOM0)

$(DOM0)/root.img: $(DOM0_PARTS) tools/make-dom0-image $(shell find tools/dom0 -type f) \
                   $(wildcard dom0/net/*.py dom0/net/*.lark)
	$(FILL_DOM0) $@

.PHONY: dom0 run
dom0: $(DOM0)/vmlinuz $(DOM0)/initrd.gz $(DOM0)/root.img

run: packages-run $(SERAI) dom0
	@QEMU="$(QEMU)" tools/run-qemu $(SERAI) $(DOM0)

# -- The ISO
$(DOM0)/initrd-live.gz: $(B)/kernel/bookworm/vmlinuz tools/make-initramfs tools/initramfs/dom0-init
	tools/make-initramfs -k $(<D) -m "$(DOM0_MODULES) $(LIVE_MODULES)" $@ tools/initramfs/dom0-init

$(DOM0)/root.sqfs: $(DOM0)/root.img
	$(FILL_DOM0) $@

ISO_FILES := $(SERAI_GZ) $(DOM0)/vmlinuz $(DOM0)/initrd-live.gz $(DOM0)/root.sqfs

$(B)/serai.iso: $(ISO_FILES) tools/make-iso
	tools/make-iso $(ISO_FILES) $@

.PHONY: iso
iso: packages-iso $(B)/serai.iso

# -- System tests
SYSTEM  := $(B)/system
# T names one test: make system T=disk
T       ?=

TEST_MODULES := virtio_pci virtio_blk virtio_net ahci ata_piix nvme sd_mod e1000

$(SYSTEM)/initrd.gz: $(DOM0)/vmlinuz tools/make-initramfs tools/make-test-initramfs \
                     tools/initramfs/test-init $(wildcard tests/system/guest/*)
	tools/make-test-initramfs -m "$(TEST_MODULES)" $@ tests/system/guest/select \
	  $(foreach f,$(filter-out %/select,$(wildcard tests/system/guest/*)),$f:/tests/$(notdir $f))

# Guests that drive devices, and those that they serve
DRIVER_MODULES := xen-pcifront e1000e ne2k-pci nvme bridge xen-netback xen-netfront
DRIVER_SCRIPTS := $(wildcard tests/system/guest/driver_*)

$(SYSTEM)/driver.gz: $(DOM0)/vmlinuz tools/make-initramfs tools/make-test-initramfs \
                     tools/initramfs/test-init tests/system/guest/select $(DRIVER_SCRIPTS)
	tools/make-test-initramfs -m "$(DRIVER_MODULES)" $@ tests/system/guest/select \
	  $(foreach f,$(DRIVER_SCRIPTS),$f:/tests/$(notdir $f))

$(SYSTEM)/initrd-backports.gz: $(B)/kernel/bookworm-backports/vmlinuz tools/make-initramfs \
                               tools/initramfs/dom0-init
	tools/make-initramfs -k $(<D) -m "$(DOM0_MODULES)" $@ tools/initramfs/dom0-init

$(B)/qemu-backports/qemu-system-x86_64: tools/fetch-qemu tools/debian-apt | packages-run
	tools/fetch-qemu $(@D)

# What the tests' small guests are started from
$(SYSTEM)/domu.sqfs: $(B)/kernel/bookworm/vmlinuz tests/system/make-domu tools/make-initramfs \
                     $(wildcard tests/system/domu/*)
	@mkdir -p $(@D)
	tests/system/make-domu $(<D) $@

# Guests by the hundred: the mini guest, and what makes and counts them
$(SYSTEM)/cycles: tests/system/tools/cycles.c | packages-run
	@mkdir -p $(@D)
	@echo '  CC      $@'
	$(Q)$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -o $@ $< -lxenlight -lxentoollog

$(B)/guest/idle.elf: $(wildcard tests/guest/*.[chS] tests/guest/idle/*.c)
	$(MAKE) -s -f tests/guest/guests.mk B=$(B)

$(SYSTEM)/many.sqfs: $(B)/guest/idle.elf $(SYSTEM)/cycles tests/system/tools/mini.cfg
	rm -rf $(SYSTEM)/many && mkdir $(SYSTEM)/many
	strip -o $(SYSTEM)/many/idle.elf $<
	cp $(filter-out $<,$^) $(SYSTEM)/many/
	mksquashfs $(SYSTEM)/many $@ -quiet -no-progress -all-root -noappend -comp gzip

# Other toolstacks and kernels: a domain 0 with more packages
$(SYSTEM)/packages: tools/dom0/packages tests/system/packages
	@mkdir -p $(@D)
	cat $^ > $@

$(SYSTEM)/base.tar: $(SYSTEM)/packages | packages-run
	tools/make-base $< $@

$(SYSTEM)/root.img: $(SYSTEM)/base.tar $(filter-out $(DOM0)/base.tar,$(DOM0_PARTS)) \
                    tools/make-dom0-image $(shell find tools/dom0 -type f)
	tools/make-dom0-image $< $(B)/kernel/bookworm $(DOM0) $@

# GNU Mach as Debian builds it for guests, no Linux
MACH := gnumach-image-1.8-xen-486
$(B)/kernel/mach.gz: tools/debian-apt | packages-run
	rm -rf $(@D)/mach && mkdir -p $(@D)/mach
	tools/debian-apt fetch $(@D)/mach $(MACH)
	dpkg-deb --fsys-tarfile $(@D)/mach/*.deb | tar -xO --wildcards './boot/gnumach-*.gz' > $@.new
	mv $@.new $@

OTHER_KERNELS := bookworm-cloud bookworm-backports bullseye
$(SYSTEM)/kernels.sqfs: $(B)/kernel/mach.gz $(OTHER_KERNELS:%=$(B)/kernel/%/vmlinuz) \
                        tests/system/make-kernels tools/make-initramfs $(wildcard tests/system/domu/*)
	@mkdir -p $(@D)
	tests/system/make-kernels $@ $< $(OTHER_KERNELS:%=$(B)/kernel/%)

# Tools that operators of routers use, for guests and for a neighbour on the wire
$(SYSTEM)/tools.tar: tests/system/router-packages | packages-run
	tools/make-base $< $@

$(SYSTEM)/tools.sqfs: $(SYSTEM)/tools.tar $(B)/kernel/bookworm/vmlinuz tests/system/make-tools tools/dom0/functions \
                      tools/make-initramfs tests/system/domu/init tests/system/tools/malformed.py
	tests/system/make-tools $< $(B)/kernel/bookworm $@

# What only tests that are named want
NAMED_NEEDS := $(if $(filter router_tools router_smp,$(T)),$(SYSTEM)/tools.sqfs) \
               $(if $(filter other_kernels,$(T)),$(SYSTEM)/root.img $(SYSTEM)/kernels.sqfs) \
               $(if $(filter libvirt ganeti,$(T)),$(SYSTEM)/root.img) \
               $(if $(filter many_domains thousand_domains,$(T)),$(SYSTEM)/many.sqfs)

SYSTEM_NEEDS := $(SERAI) $(DOM0)/vmlinuz $(DOM0)/initrd.gz $(DOM0)/root.img $(SYSTEM)/initrd.gz \
                $(SYSTEM)/driver.gz $(SYSTEM)/domu.sqfs $(SYSTEM)/initrd-backports.gz \
                $(B)/qemu-backports/qemu-system-x86_64 $(B)/serai.iso

.PHONY: system
system: $(SYSTEM_NEEDS) $(NAMED_NEEDS)
	SERAI=$(SERAI) BUILD=$(B) QEMU=$(QEMU) tests/system/run $(T)

# -- All tests. `make check` is what runs before each commit.
.PHONY: test check guests model sim torture
check: all unit static

guests: $(SERAI) $(B)/qemu-backports/qemu-system-x86_64
	$(if $(wildcard tests/guest/run),tests/guest/run --hv $(SERAI) $(GUEST_FLAGS),@:)

model:
	$(if $(wildcard tests/model/run),tests/model/run,@:)

sim:
	tests/sim/run

# The guests with several vcpus again, every rare path forced; and a build without the flushes of
# type changes, in which they must find the hole.
torture: $(B)/torture/serai $(B)/no-flush/serai
	tests/guest/run --hv $(B)/torture/serai smp-life smp-tlb
	@if tests/guest/run --hv $(B)/no-flush/serai smp-flip-2 > $(B)/no-flush/log; then \
	  echo 'not ok - smp-flip-2 does not notice missing flushes'; exit 1; \
	else echo 'ok - smp-flip-2 finds poison in a page table without flushes'; fi

# The parts print TAP; the first that fails ends the run. The quick ones come first, then those
# that keep one CPU busy each, two at a time.
.PHONY: test-programs
test-programs: all $(UNIT_BIN) $(FUZZ_BIN) $(B)/torture/serai $(B)/no-flush/serai

test:
	@$(MAKE) packages-test
	$(MAKE) -j2 test-programs
	$(MAKE) check
	$(MAKE) -j2 --output-sync=target guests model sim fuzz rules net
	$(MAKE) torture
	$(MAKE) system
	@echo 'All tests have passed.'
