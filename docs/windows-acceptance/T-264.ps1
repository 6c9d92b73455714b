# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-264, CTX-6: client-accessible shadow copies belong to the system provider

Never run on real Windows.

Run:
  .\T-264.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array with free space for the system provider.
Steps:
  1. diskshadow: set context clientaccessible, add volume VOLUME provider {our id}, create
  2. vshadow -scsf VOLUME
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - the first makes nothing, on the array and in vshadow -q
  - the second makes a copy of the system provider /{b5946137-7b9f-4925-af80-51abd60b20d5}/ with the attribute
    Client_accessible; nothing on the array
Clean-up:
  deletes the copy of the system provider.
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

exit (Invoke-Case 'T-264' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-264'
    $before = Get-ArrayState
    $known = @(Get-ShadowCopies | ForEach-Object { $_.Id })

    # diskshadow's texts depend on the language of Windows, so the outcome is looked at, not the words.
    $null = Invoke-DiskShadow $folder @('set context clientaccessible', "add volume $Volume provider $ProviderId", 'create')
    $new = @(Get-ShadowCopies | Where-Object { $known -notcontains $_.Id })
    Assert-Equal $new.Count 0 'shadow copies made with our provider forced'
    Assert-Equal (Get-ArrayState) $before 'LUNs on the array'

    $done = Invoke-VShadow @('-scsf', $Volume)
    Assert-Equal $done.ExitCode 0 'exit code of vshadow -scsf'
    $new = @(Get-ShadowCopies | Where-Object { $known -notcontains $_.Id })
    try {
        Assert-Equal $new.Count 1 'shadow copies made with the provider free'
        Assert-Equal $new[0].ProviderId.ToLowerInvariant() $SystemProviderId 'provider'
        Assert-True ($new[0].Attributes -contains 'Client_accessible') 'attribute Client_accessible'
        Assert-Equal (Get-ArrayState) $before 'LUNs on the array'
    }
    finally {
        foreach ($copy in $new) { $null = Invoke-VShadow @("-ds=$($copy.Id)") }
    }
})
