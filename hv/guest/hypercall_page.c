#include "guest/hypercall_page.h"
#include "base/string.h"
#include <xen/xen.h>

/* 128 stubs of 32 bytes: push rcx; push r11; mov $nr,%eax; syscall; pop r11; pop rcx; ret. */
void hypercall_page_fill(u8 *page)
{
    for (unsigned nr = 0; nr < 128; nr++) {
        u8 *p = page + nr * 32;
        const u8 call[] = {0x51, 0x41, 0x53, 0xb8, (u8)nr, 0,    0,
                           0,    0x0f, 0x05, 0x41, 0x5b,   0x59, 0xc3};
        const u8 iret[] = {0x51, 0x41, 0x53, 0x50, 0xb8, (u8)nr, 0, 0, 0, 0x0f, 0x05};

        memset(p, 0xcc, 32);
        if (nr == __HYPERVISOR_iret)
            memcpy(p, iret, sizeof(iret));
        else
            memcpy(p, call, sizeof(call));
    }
}
