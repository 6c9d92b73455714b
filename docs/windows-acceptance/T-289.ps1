# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-289, LOAD-2, LOAD-3: a persistent set is deleted after VSS and the provider were idle and unloaded

Never run on real Windows.

Run:
  .\T-289.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array.
Steps:
  1. vshadow -p VOLUME
  2. wait until the services VSS and ShadowlunProvider have stopped (IdleTimeout, 180 s by default)
  3. vshadow -dx=SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - both services stop within 30 minutes
  - the deletion succeeds: the provider was loaded again; the LUN is gone; no leak
Clean-up:
  deletes the set.
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

exit (Invoke-Case 'T-289' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-289'
    $before = Get-ArrayState
    $set = New-PersistentSet $folder @() @($Volume)
    try {
        foreach ($service in 'VSS', $ProviderService) {
            Wait-Until { (Get-Service -Name $service).Status -eq 'Stopped' } 1800 "the service $service has stopped"
        }
    }
    finally { $done = Invoke-VShadow @("-dx=$($set.SetId)") }
    Assert-Equal $done.ExitCode 0 'exit code of vshadow -dx'
    Assert-NoLeak $before
})
