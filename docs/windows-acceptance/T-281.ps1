# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-281, TIME-1: CommitSnapshots gets no answer for 12 s

Never run on real Windows.

Run:
  .\T-281.ps1 -Volume S:
Needs:
  iptables on the array
Precondition:
  The provider is ready; a volume on the array.
Steps:
  1. vshadow VOLUME; when the array shows its set as armed, the management interface stops answering for 12 s (iSCSI
     goes on)
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - vshadow fails: /HRESULT = 0x8004(2314|2313|2306|230f)/, that is VSS_E_HOLD_WRITES_TIMEOUT, or the provider's own
    failure before it (it gives up after 8 s)
  - an error event of the provider with cause and remedy
  - the volume takes writes at once; no leak; afterwards a shadow copy is possible
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

exit (Invoke-Case 'T-281' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-281'
    $before = Get-ArrayState
    $since = Get-Date
    $done = Wait-Tool (Start-TrappedSet 'armed' (Get-CutCommand 'DROP' 12) @($Volume))
    if ($done.ExitCode -eq 0) { Skip-Case 'the set was committed before the cut took hold: run the case again' }
    Assert-Output (Get-Hresult $done.Text) ([ordered]@{ 'failure' = '^0x8004(2314|2313|2306|230f)$' })
    $null = Write-TestFile "$Volume\acceptance-after.bin"
    Write-Host 'ok   the volume takes writes'
    Assert-ErrorEvent $since
    # The cut is over, and the array answers again.
    Start-Sleep -Seconds 15
    Assert-NoLeak $before
    Test-VolatileCopy $folder $Volume
})
