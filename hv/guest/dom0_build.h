/*
 * Domain 0 from a kernel file and an initrd: memory, bootstrap page tables, start_info, first
 * registers. Boot only; the code goes back to the heap afterwards.
 */
#ifndef SERAI_GUEST_DOM0_BUILD_H
#define SERAI_GUEST_DOM0_BUILD_H

#include "base/cmdline.h"
#include "guest/domain.h"

struct dom0_files {
    const u8 *kernel; /* bzImage or ELF */
    size_t kernel_len;
    u64 initrd_start; /* physical, page aligned; becomes domain 0's memory in place */
    u64 initrd_end;   /* equal to the start when there is none */
    const char *args; /* kernel command line */
};

/* Stops the boot with a message when it cannot be done. Returns the registers to start with. */
struct vcpu *dom0_build(const struct dom0_files *files, const struct cmdline *options,
                        struct cpu_user_regs *regs);

#endif
