# Checks that need no run: floors, image, form, and what compilers and analysers find. The parts
# can be run alone: tools/check-floors, tools/check-image, tools/check-style format.

.PHONY: static
static: $(B)/serai
	@fail=0; \
	tools/check-floors $(B)/hv || fail=1; \
	tools/check-image $(B)/serai $(B)/hv || fail=1; \
	HV_CFLAGS='$(HV_CFLAGS)' tools/check-style || fail=1; \
	exit $$fail
