/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Included before everything in the proxy DLL: generated proxies are C, and name three functions that librpcrt4 exports and mingw's
   headers do not declare. */
#define COBJMACROS
#define CINTERFACE
#include <objbase.h>

HRESULT STDMETHODCALLTYPE IUnknown_QueryInterface_Proxy(IUnknown *This, REFIID riid, void **object);
ULONG STDMETHODCALLTYPE IUnknown_AddRef_Proxy(IUnknown *This);
ULONG STDMETHODCALLTYPE IUnknown_Release_Proxy(IUnknown *This);
