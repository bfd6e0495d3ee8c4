/*
 * Numbers that nobody outside can guess: keys of hash tables that guests fill. Not for
 * cryptography that has to last. Any CPU, no lock.
 */
#ifndef SERAI_KERN_RANDOM_H
#define SERAI_KERN_RANDOM_H

#include "base/types.h"

u64 random_u64(void);

#endif
