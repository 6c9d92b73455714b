# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-256, LOAD-10: VSS dies during DoSnapshotSet; the next set works

Never run on real Windows.

Run:
  .\T-256.ps1 -Volume S:
Needs:
  iptables on the array
Precondition:
  The provider is ready; a volume on the array.
Steps:
  1. vshadow VOLUME; when the array shows its set as armed, the management interface is cut for 6 s, and the process
     of the VSS service is ended
  2. vshadow VOLUME once more
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - the first vshadow fails
  - the second makes its shadow copy; no leak
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

exit (Invoke-Case 'T-256' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-256'
    $before = Get-ArrayState
    $tool = Start-TrappedSet 'armed' (Get-CutCommand 'DROP' 6) @($Volume)
    # Not Stop-Service: the service would first end the set in order.
    $service = Get-CimInstance -ClassName Win32_Service -Filter "Name='VSS'"
    Stop-Process -Id $service.ProcessId -Force
    $done = Wait-Tool $tool
    Assert-True ($done.ExitCode -ne 0) 'the disturbed vshadow fails'
    Start-Sleep -Seconds 10
    # The next set discards what the lost one left, at the latest.
    Test-VolatileCopy $folder $Volume
    Assert-NoLeak $before
})
