# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-005, REG-20, REG-21: uninstall while a set is in progress is refused, and the provider still works

Never run on real Windows.

Run:
  .\T-005.ps1 -Volume S:
Needs:
  iptables on the array
Precondition:
  The provider is ready; a volume on the array.
Steps:
  1. vshadow VOLUME; when the array shows its set as armed, the way to the management interface is cut for 6 s, so
     that the set stays in progress
  2. shadowlun-provider uninstall
  3. after the set has ended: vshadow VOLUME once more
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - exit code 1
  - VSS_E_PROVIDER_IN_USE /(?i)80042307/ with the remedy /a shadow copy set is in progress/
  - the provider is still registered and the second shadow copy is made; no leak
Clean-up:
  the sets are nonpersistent.
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

exit (Invoke-Case 'T-005' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-005'
    $before = Get-ArrayState
    $tool = Start-TrappedSet 'armed' (Get-CutCommand 'DROP' 6) @($Volume)
    try {
        $done = Invoke-Provider @('uninstall')
    }
    finally {
        $null = Wait-Tool $tool
    }
    Assert-Equal $done.ExitCode 1 'exit code of uninstall'
    Assert-Output $done.Text ([ordered]@{ 'VSS_E_PROVIDER_IN_USE' = '(?i)80042307'; 'remedy' = 'a shadow copy set is in progress' })
    Assert-Equal @(Get-ProviderEntry).Count 1 'entries in VSS'
    Wait-Until { (Get-ArrayState) -eq $before } 300 'the disturbed set is gone'
    Test-VolatileCopy $folder $Volume
})
