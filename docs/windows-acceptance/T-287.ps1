# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-287, SEQ-3, SEQ-24: a trace of VSS shows the order of the calls (section 4.1)

Never run on real Windows.

Run:
  .\T-287.ps1 -Volume S:
Needs:
  vsstrace.exe of the Windows SDK
Precondition:
  The provider is ready; a volume on the array.
Steps:
  1. logman start, with the trace provider {9138500e-3648-4edb-aa4c-859e9f7b7c38}
  2. vshadow VOLUME
  3. logman stop; vsstrace -etl FILE -o TEXT
  4. the first mention of each method of the provider, in order
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - AreLunsSupported, BeginPrepareSnapshot, EndPrepareSnapshots, PreCommitSnapshots, CommitSnapshots,
    PostCommitSnapshots, GetTargetLuns are mentioned, in this order
  - the whole order is recorded: it answers the open questions OQ-1 (GetTargetLuns and LocateLuns against
    PreFinalCommitSnapshots and PostFinalCommitSnapshots), OQ-2 (BeginPrepareSnapshot) and OQ-22 (OnLunStateChange)
Clean-up:
  the trace stays in the work folder: send it with the result.
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

exit (Invoke-Case 'T-287' {
    Assert-ProviderReady
    $vsstrace = Get-SdkTool 'vsstrace.exe'
    $folder = New-WorkFolder 'T-287'
    $etl = Join-Path $folder 'vss.etl'
    $text = Join-Path $folder 'vss.txt'
    $logman = Join-Path $env:SystemRoot 'System32\logman.exe'
    $started = Invoke-Tool $logman @('start', 'shadowlun-vss', '-o', $etl, '-ets', '-p', '{9138500e-3648-4edb-aa4c-859e9f7b7c38}', '0xfff', '170')
    Assert-Equal $started.ExitCode 0 'exit code of logman start'
    try { $done = Invoke-VShadow @($Volume) }
    finally { $null = Invoke-Tool $logman @('stop', 'shadowlun-vss', '-ets') }
    Assert-Equal $done.ExitCode 0 'exit code of vshadow'
    $null = Invoke-Tool $vsstrace @('-etl', $etl, '-o', $text)

    $methods = 'AreLunsSupported', 'BeginPrepareSnapshot', 'EndPrepareSnapshots', 'PreCommitSnapshots', 'CommitSnapshots',
        'PostCommitSnapshots', 'GetTargetLuns', 'LocateLuns', 'FillInLunInfo', 'OnLunStateChange', 'PreFinalCommitSnapshots',
        'PostFinalCommitSnapshots', 'OnLunEmpty'
    $trace = Get-Content -LiteralPath $text -Raw
    $found = @(foreach ($method in $methods) {
        # The whole word: PreCommitSnapshots ends with CommitSnapshots.
        $match = [regex]::Match($trace, "(?<![A-Za-z])$method(?![A-Za-z])")
        if ($match.Success) { [pscustomobject]@{ Method = $method; At = $match.Index } }
    })
    $order = @($found | Sort-Object -Property At | ForEach-Object { $_.Method })
    Write-Observation 'OQ-1, OQ-2, OQ-22' "order of the first mentions: $($order -join ', ')"
    $settled = @($methods[0..6])
    Assert-Equal (@($order | Where-Object { $settled -contains $_ }) -join ' ') ($settled -join ' ') 'order of the calls up to GetTargetLuns'
})
