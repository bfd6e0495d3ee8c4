#include "fuzz/fuzz_unpack.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    return fuzz_unpack(data, size, lz4_decode, 64);
}
