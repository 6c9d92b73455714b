# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-265, SEQ-4: one set with two providers

Never run on real Windows.

Run:
  .\T-265.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array; the system disk is not on the array.
Steps:
  1. vshadow VOLUME C:, held; vshadow -qx
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - two copies in one set: one of our provider, one of the system provider
  - one LUN of the set on the array; at the end it is gone; no leak
Clean-up:
  the set is nonpersistent.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-265' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-265'
    $before = Get-ArrayState
    $held = Start-HeldSet $folder @() @($Volume, $env:SystemDrive)
    try {
        $copies = @(Get-ShadowCopies $held.SetId)
        Assert-Equal $copies.Count 2 'shadow copies of the set'
        $providers = @($copies | ForEach-Object { $_.ProviderId.ToLowerInvariant() } | Sort-Object)
        Assert-Equal ($providers -join ' ') (@($ProviderId, $SystemProviderId | Sort-Object) -join ' ') 'providers of the set'
        Assert-Equal @(Get-SetCopies $held.SetId).Count 1 'LUNs of the set on the array'
    }
    finally {
        $done = Stop-HeldSet $held
    }
    Assert-Equal $done.ExitCode 0 'exit code of vshadow'
    Assert-NoLeak $before
})
