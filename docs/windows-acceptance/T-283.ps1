# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-283, ERR-3, LOG-4: a veto of the provider comes through to the requester, with an event

Never run on real Windows.

Run:
  .\T-283.ps1 -Volume S:
Needs:
  iptables on the array
Precondition:
  The provider is ready; a volume on the array.
Steps:
  1. vshadow VOLUME; when the array shows its set as armed, the management interface refuses connections for 20 s, so
     that CommitSnapshots fails at once
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - vshadow fails, /HRESULT = 0x80042306/ (VSS_E_PROVIDER_VETO)
  - an error event of source Shadowlun with /Cause: ./ and /What to do: ./
  - no leak
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

exit (Invoke-Case 'T-283' {
    Assert-ProviderReady
    $before = Get-ArrayState
    $since = Get-Date
    $done = Wait-Tool (Start-TrappedSet 'armed' (Get-CutCommand 'REJECT --reject-with tcp-reset' 20) @($Volume))
    if ($done.ExitCode -eq 0) { Skip-Case 'the set was committed before the cut took hold: run the case again' }
    Assert-Equal (Get-Hresult $done.Text) '0x80042306' 'HRESULT'
    Assert-ErrorEvent $since
    Start-Sleep -Seconds 25
    # What could not be discarded while the array was away, the next set discards.
    $null = Stop-HeldSet (Start-HeldSet (New-WorkFolder 'T-283') @() @($Volume))
    Assert-NoLeak $before
})
