/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The four methods with an [in,out] LUN array, for the interface that call_as.c names in PROVIDER; both sides of each. */

HRESULT CALLBACK METHOD(_AreLunsSupported_Proxy)(
    PROVIDER *This, LONG count, LONG context, VSS_PWSZ *devices, VDS_LUN_INFORMATION *luns, BOOL *supported)
{
    VDS_LUN_INFORMATION *after;
    BOOL returned = FALSE;
    HRESULT code = make_room(luns, count, &after);

    if (FAILED(code))
        return code;
    code = METHOD(_RemoteAreLunsSupported_Proxy)(This, count, context, devices, luns, after, supported, &returned);
    take_answer(luns, count, after, returned);
    return code;
}

HRESULT __RPC_STUB METHOD(_AreLunsSupported_Stub)(
    PROVIDER *This, LONG count, LONG context, VSS_PWSZ *devices, VDS_LUN_INFORMATION *before, VDS_LUN_INFORMATION *after,
    BOOL *supported, BOOL *returned)
{
    *supported = FALSE;
    *returned = give_copies(before, count, after);
    if (!*returned)
        return E_OUTOFMEMORY;
    return This->lpVtbl->AreLunsSupported(This, count, context, devices, reference(after), supported);
}

HRESULT CALLBACK METHOD(_FillInLunInfo_Proxy)(PROVIDER *This, VSS_PWSZ device, VDS_LUN_INFORMATION *lun, BOOL *supported)
{
    VDS_LUN_INFORMATION *after;
    BOOL returned = FALSE;
    HRESULT code = make_room(lun, 1, &after);

    if (FAILED(code))
        return code;
    code = METHOD(_RemoteFillInLunInfo_Proxy)(This, device, lun, after, supported, &returned);
    take_answer(lun, 1, after, returned);
    return code;
}

HRESULT __RPC_STUB METHOD(_FillInLunInfo_Stub)(
    PROVIDER *This, VSS_PWSZ device, VDS_LUN_INFORMATION *before, VDS_LUN_INFORMATION *after, BOOL *supported, BOOL *returned)
{
    *supported = FALSE;
    *returned = give_copies(before, 1, after);
    if (!*returned)
        return E_OUTOFMEMORY;
    return This->lpVtbl->FillInLunInfo(This, device, reference(after), supported);
}

HRESULT CALLBACK METHOD(_BeginPrepareSnapshot_Proxy)(
    PROVIDER *This, VSS_ID set, VSS_ID snapshot, LONG context, LONG count, VSS_PWSZ *devices, VDS_LUN_INFORMATION *luns)
{
    VDS_LUN_INFORMATION *after;
    BOOL returned = FALSE;
    HRESULT code = make_room(luns, count, &after);

    if (FAILED(code))
        return code;
    code = METHOD(_RemoteBeginPrepareSnapshot_Proxy)(This, &set, &snapshot, context, count, devices, luns, after, &returned);
    take_answer(luns, count, after, returned);
    return code;
}

HRESULT __RPC_STUB METHOD(_BeginPrepareSnapshot_Stub)(
    PROVIDER *This, VSS_ID *set, VSS_ID *snapshot, LONG context, LONG count, VSS_PWSZ *devices, VDS_LUN_INFORMATION *before,
    VDS_LUN_INFORMATION *after, BOOL *returned)
{
    *returned = give_copies(before, count, after);
    if (!*returned)
        return E_OUTOFMEMORY;
    return This->lpVtbl->BeginPrepareSnapshot(This, *set, *snapshot, context, count, devices, reference(after));
}

HRESULT CALLBACK METHOD(_GetTargetLuns_Proxy)(
    PROVIDER *This, LONG count, VSS_PWSZ *devices, VDS_LUN_INFORMATION *sources, VDS_LUN_INFORMATION *luns)
{
    VDS_LUN_INFORMATION *after;
    BOOL returned = FALSE;
    HRESULT code = make_room(luns, count, &after);

    if (FAILED(code))
        return code;
    code = METHOD(_RemoteGetTargetLuns_Proxy)(This, count, devices, sources, luns, after, &returned);
    take_answer(luns, count, after, returned);
    return code;
}

HRESULT __RPC_STUB METHOD(_GetTargetLuns_Stub)(
    PROVIDER *This, LONG count, VSS_PWSZ *devices, VDS_LUN_INFORMATION *sources, VDS_LUN_INFORMATION *before,
    VDS_LUN_INFORMATION *after, BOOL *returned)
{
    *returned = give_copies(before, count, after);
    if (!*returned)
        return E_OUTOFMEMORY;
    return This->lpVtbl->GetTargetLuns(This, count, devices, sources, reference(after));
}
