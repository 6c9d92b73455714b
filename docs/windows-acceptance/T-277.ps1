# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-277, SEQ-7: the requester is killed during DoSnapshotSet; the next set works

Never run on real Windows.

Run:
  .\T-277.ps1 -Volume S:
Needs:
  iptables on the array
Precondition:
  The provider is ready; an NTFS volume on the array.
Steps:
  1. vshadow VOLUME; when the array shows its set as armed, the management interface is cut for 6 s, and vshadow is
     killed
  2. vshadow VOLUME once more
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - the second makes its shadow copy, within 10 minutes; no leak
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

exit (Invoke-Case 'T-277' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-277'
    $before = Get-ArrayState
    $tool = Start-TrappedSet 'armed' (Get-CutCommand 'DROP' 6) @($Volume)
    Stop-Process -Id $tool.Process.Id -Force
    # VSS goes on with the set of the dead requester for a while.
    Wait-Until { (Invoke-VShadow @('-nw', $Volume)).ExitCode -eq 0 } 600 'a next set is possible'
    Test-VolatileCopy $folder $Volume
    Assert-NoLeak $before
})
