/*
 * Serial input: bytes for domain 0's console, and the operator's keys. Ctrl-A three times
 * switches the keyboard between domain 0 and the hypervisor, where one key is one command.
 */
#ifndef SERAI_GUEST_DOM0_CONSOLE_H
#define SERAI_GUEST_DOM0_CONSOLE_H

#include "base/types.h"

void dom0_console_init(void);
/* Up to len bytes that wait for domain 0. */
u32 dom0_console_read(char *buf, u32 len);
/* As if the operator had pressed it; a key without a meaning does nothing. */
void dom0_console_key(char key);

#endif
