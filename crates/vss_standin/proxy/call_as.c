/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* COM's ownership rules for [in,out] LUN arrays (GEN-2): the provider replaces embedded blocks, and each is a CoTaskMem block of its own
   on both sides.

   Plain NDR does not give that under Wine: it writes the answer into the caller's old blocks, even where the new string is longer. So the
   proxy sends the caller's array as `before` and receives into an array of its own, `after`; the stub gives the provider a deep copy. */
#include "vss_ps.h"
#include <string.h>

#define REFUSE_NULL_REFERENCE HRESULT_FROM_WIN32(RPC_X_NULL_REF_POINTER)
#define REFUSE_BOUND HRESULT_FROM_WIN32(RPC_S_INVALID_BOUND)

/* Copies a block that may be NULL. FALSE: no memory. */
static BOOL copy_block(void *copy, const void *block, SIZE_T size)
{
    void **target = copy;

    *target = NULL;
    if (!block)
        return TRUE;
    *target = CoTaskMemAlloc(size > 0 ? size : 1);
    if (!*target)
        return FALSE;
    memcpy(*target, block, size);
    return TRUE;
}

static BOOL copy_string(char **copy, const char *string)
{
    return copy_block(copy, string, string ? strlen(string) + 1 : 0);
}

static BOOL copy_identifiers(VDS_STORAGE_DEVICE_ID_DESCRIPTOR *copy, const VDS_STORAGE_DEVICE_ID_DESCRIPTOR *from)
{
    BOOL whole = TRUE;
    ULONG i;

    if (!copy_block(&copy->m_rgIdentifiers, from->m_rgIdentifiers, from->m_cIdentifiers * sizeof(VDS_STORAGE_IDENTIFIER)))
        return FALSE;
    if (!copy->m_rgIdentifiers)
        return TRUE;
    /* To the end whatever happens: no element may keep a pointer of the original's. */
    for (i = 0; i < from->m_cIdentifiers; i++) {
        const VDS_STORAGE_IDENTIFIER *identifier = &from->m_rgIdentifiers[i];
        whole &= copy_block(&copy->m_rgIdentifiers[i].m_rgbIdentifier, identifier->m_rgbIdentifier, identifier->m_cbIdentifier);
    }
    return whole;
}

static BOOL copy_interconnects(VDS_LUN_INFORMATION *copy, const VDS_LUN_INFORMATION *from)
{
    BOOL whole = TRUE;
    ULONG i;

    if (!copy_block(&copy->m_rgInterconnects, from->m_rgInterconnects, from->m_cInterconnects * sizeof(VDS_INTERCONNECT)))
        return FALSE;
    if (!copy->m_rgInterconnects)
        return TRUE;
    for (i = 0; i < from->m_cInterconnects; i++) {
        const VDS_INTERCONNECT *port = &from->m_rgInterconnects[i];
        whole &= copy_block(&copy->m_rgInterconnects[i].m_pbPort, port->m_pbPort, port->m_cbPort);
        whole &= copy_block(&copy->m_rgInterconnects[i].m_pbAddress, port->m_pbAddress, port->m_cbAddress);
    }
    return whole;
}

/* FALSE: no memory; `copy` can be freed all the same. */
static BOOL copy_lun(VDS_LUN_INFORMATION *copy, const VDS_LUN_INFORMATION *from)
{
    BOOL whole = TRUE;

    *copy = *from;
    whole &= copy_string(&copy->m_szVendorId, from->m_szVendorId);
    whole &= copy_string(&copy->m_szProductId, from->m_szProductId);
    whole &= copy_string(&copy->m_szProductRevision, from->m_szProductRevision);
    whole &= copy_string(&copy->m_szSerialNumber, from->m_szSerialNumber);
    whole &= copy_identifiers(&copy->m_deviceIdDescriptor, &from->m_deviceIdDescriptor);
    whole &= copy_interconnects(copy, from);
    return whole;
}

/* Frees what a LUN points to, and zeroes it. */
static void free_lun(VDS_LUN_INFORMATION *lun)
{
    VDS_STORAGE_DEVICE_ID_DESCRIPTOR *descriptor = &lun->m_deviceIdDescriptor;
    ULONG i;

    CoTaskMemFree(lun->m_szVendorId);
    CoTaskMemFree(lun->m_szProductId);
    CoTaskMemFree(lun->m_szProductRevision);
    CoTaskMemFree(lun->m_szSerialNumber);
    for (i = 0; descriptor->m_rgIdentifiers && i < descriptor->m_cIdentifiers; i++)
        CoTaskMemFree(descriptor->m_rgIdentifiers[i].m_rgbIdentifier);
    CoTaskMemFree(descriptor->m_rgIdentifiers);
    for (i = 0; lun->m_rgInterconnects && i < lun->m_cInterconnects; i++) {
        CoTaskMemFree(lun->m_rgInterconnects[i].m_pbPort);
        CoTaskMemFree(lun->m_rgInterconnects[i].m_pbAddress);
    }
    CoTaskMemFree(lun->m_rgInterconnects);
    memset(lun, 0, sizeof *lun);
}

/* Proxy, before the call: room for the answer, or why there is no call. What the proxies of Windows refuse is refused alike: a NULL
   reference pointer and a bound below zero. */
static HRESULT make_room(const VDS_LUN_INFORMATION *luns, LONG count, VDS_LUN_INFORMATION **after)
{
    SIZE_T size;

    *after = NULL;
    if (!luns)
        return REFUSE_NULL_REFERENCE;
    if (count < 0)
        return REFUSE_BOUND;
    size = (count > 0 ? count : 1) * sizeof(VDS_LUN_INFORMATION);
    *after = CoTaskMemAlloc(size);
    if (!*after)
        return E_OUTOFMEMORY;
    memset(*after, 0, size);
    return S_OK;
}

/* Proxy, after the call: the answer takes the place of what the caller had. Where the provider did not return (it died, or the answer was
   not readable) the caller's array stays as it is, and parts of an unreadable answer are lost rather than freed twice. */
static void take_answer(VDS_LUN_INFORMATION *luns, LONG count, VDS_LUN_INFORMATION *after, BOOL returned)
{
    LONG i;

    for (i = 0; returned && i < count; i++) {
        free_lun(&luns[i]);
        luns[i] = after[i];
    }
    CoTaskMemFree(after);
}

/* Stub, before the call: the provider gets blocks of its own, which the stub frees after it has marshalled them. */
static BOOL give_copies(const VDS_LUN_INFORMATION *before, LONG count, VDS_LUN_INFORMATION *after)
{
    BOOL whole = TRUE;
    LONG i;

    for (i = 0; before && i < count; i++)
        whole &= copy_lun(&after[i], &before[i]);
    return whole;
}

/* Stub: what the provider gets as the array. Wine passes NULL for an array of none, which a reference pointer never is. */
static VDS_LUN_INFORMATION *reference(VDS_LUN_INFORMATION *after)
{
    static VDS_LUN_INFORMATION none;

    return after ? after : &none;
}

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define METHOD(rest) JOIN(PROVIDER, rest)

#define PROVIDER IVssHardwareSnapshotProvider
#include "call_as_methods.h"
#undef PROVIDER

#define PROVIDER IVssHardwareSnapshotProviderEx
#include "call_as_methods.h"
#undef PROVIDER
