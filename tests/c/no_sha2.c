/* Linked with -Wl,--wrap=getauxval: an ARMv8 kernel that does not offer the SHA-256 instructions. */
#include <sys/auxv.h>

unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);

unsigned long __wrap_getauxval(unsigned long type)
{
    const unsigned long value = __real_getauxval(type);
    return type == AT_HWCAP ? value & ~(unsigned long)HWCAP_SHA2 : value;
}
