# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-022, SEC-4: COM refuses callers below packet privacy

Never run on real Windows.

Run:
  .\T-022.ps1 -OtherHost backup
Needs:
  a second Windows host whose PowerShell remoting reaches back to this one by DCOM
Precondition:
  Administrator; the provider is installed and enrolled here. The second host needs neither.
Steps:
  1. here: CoCreateInstance of the provider's class; GetProviderCapabilities at packet privacy
  2. here: the same at the levels CONNECT and NONE (CoSetProxyBlanket)
  3. on the other host: the class is activated on this computer at that host's default level
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - 1: the call comes through: 0x80004001 (E_NOTIMPL)
  - 2: 0x80070005 (E_ACCESSDENIED); or the same as 1 where local calls are raised to packet privacy, which is recorded
  - 3: refused: /80070005|Access is denied|denied/
Clean-up:
  none; the objects are released.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param([string]$OtherHost = '')
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

# GetProviderCapabilities is slot 9 of IVssHardwareSnapshotProviderEx, and has no effect whatever it answers.
Add-Type -TypeDefinition @'
using System;
using System.Runtime.InteropServices;

public static class ProviderCall {
    [DllImport("ole32.dll")]
    static extern int CoCreateInstance(ref Guid clsid, IntPtr outer, uint context, ref Guid iid, out IntPtr instance);
    [DllImport("ole32.dll")]
    static extern int CoSetProxyBlanket(IntPtr proxy, uint authentication, uint authorization, IntPtr name,
        uint level, uint impersonation, IntPtr identity, uint capabilities);
    [UnmanagedFunctionPointer(CallingConvention.StdCall)]
    delegate int GetProviderCapabilities(IntPtr self, out ulong mask);

    public static int AtLevel(string clsid, uint level) {
        Guid id = new Guid(clsid);
        Guid iid = new Guid("7f5ba925-cdb1-4d11-a71f-339eb7e709fd");
        IntPtr provider;
        int code = CoCreateInstance(ref id, IntPtr.Zero, 4, ref iid, out provider);
        if (code < 0) { return code; }
        try {
            // The default services for authentication and authorization; impersonation level IDENTIFY.
            code = CoSetProxyBlanket(provider, 0xFFFFFFFF, 0xFFFFFFFF, IntPtr.Zero, level, 2, IntPtr.Zero, 0);
            if (code < 0) { return code; }
            IntPtr slot = Marshal.ReadIntPtr(Marshal.ReadIntPtr(provider), 9 * IntPtr.Size);
            ulong mask;
            return Marshal.GetDelegateForFunctionPointer<GetProviderCapabilities>(slot)(provider, out mask);
        } finally { Marshal.Release(provider); }
    }
}
'@

exit (Invoke-Case 'T-022' {
    $entry = @(Get-ProviderEntry)
    Assert-Equal $entry.Count 1 'entries in VSS'
    $clsid = $entry[0].CLSID
    $allowed = '{0:X8}' -f [ProviderCall]::AtLevel($clsid, 6)
    Assert-Equal $allowed '80004001' 'code at packet privacy'
    foreach ($level in 2, 1) {
        $code = '{0:X8}' -f [ProviderCall]::AtLevel($clsid, $level)
        if ($code -eq $allowed) { Write-Observation 'T-022' "a local call at level $level is raised to packet privacy" }
        else { Assert-Equal $code '80070005' "code at level $level" }
    }
    if ($OtherHost -eq '') { Skip-Case 'the remote half needs -OtherHost' }
    $answer = Invoke-Command -ComputerName $OtherHost -ArgumentList $clsid, $env:COMPUTERNAME -ScriptBlock {
        param($ClassId, $Server)
        try {
            $null = [Activator]::CreateInstance([Type]::GetTypeFromCLSID([guid]$ClassId, $Server, $true))
            'activated'
        }
        catch { "$($_.Exception.GetBaseException().HResult.ToString('X8')) $($_.Exception.GetBaseException().Message)" }
    }
    Assert-Output "$answer" ([ordered]@{ 'refusal' = '80070005|denied' })
})
