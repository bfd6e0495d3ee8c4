#include "../../stubs/kern/heap.h"
