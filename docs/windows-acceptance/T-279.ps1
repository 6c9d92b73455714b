# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-279, SEQ-1: a second requester is refused while a set is being made

Never run on real Windows.

Run:
  .\T-279.ps1 -Volume S:
Needs:
  iptables on the array
Precondition:
  The provider is ready; a volume on the array.
Steps:
  1. vshadow VOLUME; when the array shows its set as armed, the management interface is cut for 6 s
  2. meanwhile vshadow -nw VOLUME
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - the second fails, /HRESULT = 0x80042316/ (VSS_E_SNAPSHOT_SET_IN_PROGRESS)
  - no leak
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

exit (Invoke-Case 'T-279' {
    Assert-ProviderReady
    $before = Get-ArrayState
    $first = Start-TrappedSet 'armed' (Get-CutCommand 'DROP' 6) @($Volume)
    try {
        # Without writers, so that it gets to StartSnapshotSet while the first is in progress.
        $second = Invoke-VShadow @('-nw', $Volume)
    }
    finally { $null = Wait-Tool $first }
    Assert-True ($second.ExitCode -ne 0) 'the second vshadow fails'
    Assert-Equal (Get-Hresult $second.Text) '0x80042316' 'HRESULT'
    Assert-NoLeak $before
})
