/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Wine 8 has no bcryptprimitives.dll, and Rust's standard library imports ProcessPrng from it: without this DLL in system32 a Rust
   program ends with code 53 and no word. */
#include <windows.h>

/* RtlGenRandom, under the name that advapi32 exports. */
BOOLEAN NTAPI SystemFunction036(void *buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T length)
{
    const SIZE_T longest = 1 << 20; /* a call, since its length is 32 bits */

    while (length > 0) {
        ULONG part = (ULONG)(length < longest ? length : longest);
        if (!SystemFunction036(buffer, part))
            return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
