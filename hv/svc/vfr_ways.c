#include "svc/vfr_ways.h"

u64 vfr_ways_version = 1;
