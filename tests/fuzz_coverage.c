/* Coverage of the compiled core for libFuzzer, whichever compiler built it.
 *
 * With -fsanitize-coverage=trace-pc, which gcc and clang know, every edge calls the function below.
 * libFuzzer wants counters; so each place in the code gets one, and some share theirs.
 */
#include <stdint.h>

#define COUNTERS (1 << 14)

void __sanitizer_cov_8bit_counters_init(uint8_t *begin, uint8_t *end);
void __sanitizer_cov_pcs_init(const uintptr_t *begin, const uintptr_t *end);

static uint8_t counters[COUNTERS];
static uintptr_t places[2 * COUNTERS]; /* an address and flags of each */

void
__sanitizer_cov_trace_pc(void)
{
    uint32_t place = (uint32_t)((uintptr_t)__builtin_return_address(0) - (uintptr_t)counters);
    counters[(place * 0x9e3779b1u) >> 18]++;
}

__attribute__((constructor)) static void
begin(void)
{
    for (int i = 0; i < COUNTERS; i++) {
        places[2 * i] = (uintptr_t)&counters[i];
    }
    __sanitizer_cov_8bit_counters_init(counters, counters + COUNTERS);
    __sanitizer_cov_pcs_init(places, places + 2 * COUNTERS);
}
