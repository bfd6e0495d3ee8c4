#include "load.h"

void test_smp_sharers(void)
{
}
