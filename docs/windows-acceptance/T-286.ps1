# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-286, OLE-9, TIME-13: 100 create and delete cycles, 60 s apart and 0 s apart

Never run on real Windows.

Run:
  .\T-286.ps1 -Volume S: -Cycles 100
Needs:
  some hours
Precondition:
  The provider is ready; a volume on the array.
Steps:
  1. vshadow -nw VOLUME, -Cycles times without a pause and as often with 60 s between
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - every vshadow ends with exit code 0
  - at the end, within 10 minutes, no disk is left over and no disk drive is in a problem state; no leak
Clean-up:
  the sets are nonpersistent.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [int]$Cycles = 100
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-286' {
    Assert-ProviderReady
    $before = Get-ArrayState
    $disks = @(Get-Disk).Count
    foreach ($pause in 0, 60) {
        foreach ($cycle in 1..$Cycles) {
            Write-Host "--- cycle $cycle of $Cycles, $pause s apart"
            Assert-Equal (Invoke-VShadow @('-nw', $Volume)).ExitCode 0 'exit code of vshadow'
            Start-Sleep -Seconds $pause
        }
        Wait-Until { Update-HostStorageCache; @(Get-Disk).Count -eq $disks } 600 'no disk is left over'
        $stuck = @(Get-PnpDevice -Class DiskDrive -PresentOnly | Where-Object { $_.Status -ne 'OK' })
        Assert-Equal $stuck.Count 0 'disk drives in a problem state'
        Assert-NoLeak $before
    }
})
