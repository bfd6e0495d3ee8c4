/* The page of code by which kernels make hypercalls if they asked for one in their notes. */
#ifndef SERAI_GUEST_HYPERCALL_PAGE_H
#define SERAI_GUEST_HYPERCALL_PAGE_H

#include "base/types.h"

void hypercall_page_fill(u8 *page);

#endif
