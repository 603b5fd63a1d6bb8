/* bcryptprimitives.dll for versions of Wine that lack it, as far as Rust's standard library needs it:
   random bytes for the keys of hash maps. Tests alone use it. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T len) {
    while (len > 0) {
        ULONG part = len < 0x10000000 ? (ULONG)len : 0x10000000;
        if (!RtlGenRandom(data, part)) return FALSE;
        data += part;
        len -= part;
    }
    return TRUE;
}
