# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-282, ERR-2, LOG-3: a provider that returns E_FAIL in each phase: VSS says so, and what the event log shows

Never run on real Windows.

Run:
  .\T-282.ps1 -Volume S: -SetPhase C:\test-build\set-phase.ps1
Needs:
  a test build of a provider that fails on demand
Precondition:
  A test build whose failures can be switched: -SetPhase is a script of its makers that takes the name of a method,
  from now on to be answered with E_FAIL, or none.
Steps:
  1. for each of BeginPrepareSnapshot, EndPrepareSnapshots, PreCommitSnapshots, CommitSnapshots, PostCommitSnapshots,
     GetTargetLuns, LocateLuns, PreFinalCommitSnapshots, PostFinalCommitSnapshots: -SetPhase METHOD; vshadow VOLUME
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - vshadow fails, /HRESULT = 0x8004230f/ (VSS_E_UNEXPECTED_PROVIDER_ERROR)
  - an event 12293 of source VSS that names the method
  - no leak
Clean-up:
  -SetPhase none.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [string]$SetPhase = ''
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-282' {
    if ($SetPhase -eq '') { Skip-Case 'no -SetPhase script of a test build was given' }
    $before = Get-ArrayState
    $methods = 'BeginPrepareSnapshot', 'EndPrepareSnapshots', 'PreCommitSnapshots', 'CommitSnapshots', 'PostCommitSnapshots',
        'GetTargetLuns', 'LocateLuns', 'PreFinalCommitSnapshots', 'PostFinalCommitSnapshots'
    try {
        foreach ($method in $methods) {
            Write-Host "--- E_FAIL from $method"
            & $SetPhase $method
            $since = Get-Date
            $done = Invoke-VShadow @($Volume)
            Assert-True ($done.ExitCode -ne 0) 'vshadow fails'
            Assert-Equal (Get-Hresult $done.Text) '0x8004230f' 'HRESULT'
            $entries = @(Get-Events 'VSS' $since | Where-Object { $_.Id -eq 12293 -and $_.Message -match $method })
            Assert-True ($entries.Count -ge 1) "an event 12293 of VSS names $method"
            Assert-NoLeak $before
        }
    }
    finally { & $SetPhase 'none' }
})
