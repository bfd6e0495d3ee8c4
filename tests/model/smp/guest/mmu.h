#include "../../stubs/guest/mmu.h"
