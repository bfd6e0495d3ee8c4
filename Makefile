# Serai's build. `make help` lists the targets; docs/testing.md tells what the tests do.
#
# Everything the build makes lands in build/. Sources are found by wildcard: a new file in
# hv/<floor>/, tests/unit/, tests/fuzz/ or tests/guest/ needs no line here.

CC      ?= gcc
CLANG   ?= clang
B       := build
MAKEFLAGS += --no-builtin-rules
# make V=1 shows the commands.
Q       := $(if $(V),,@)

.PHONY: all
all: $(B)/serai $(B)/serai.gz

include tools/hv.mk
include tools/tests.mk
include tools/run.mk
include bench/bench.mk
-include tools/static.mk

.PHONY: clean help
clean:
	rm -rf $(B)

help:
	@echo 'make         build/serai (multiboot 1 and 2) and build/serai.gz'
	@echo 'make run     a stock Debian domain 0 on Serai in QEMU, on this terminal'
	@echo 'make test    every test; make check is the quick part'
	@echo 'make bench   instruction counts against stock Xen and bare Linux'
	@echo 'make iso     build/serai.iso, bootable from BIOS and UEFI'
	@echo 'make clean   removes build/'
