# SPDX-License-Identifier: MIT OR Apache-2.0
<#
Runs the acceptance scripts one after the other, each in a PowerShell of its own, and writes a table and a JUnit file.

Never run on real Windows.

Run:
  .\run-all.ps1 -Volume S: -JUnit result.xml            all cases; of those with a restart, phase 1
  .\run-all.ps1 -Volume S: -Phase 2                     after the restart: phase 2 of these
  .\run-all.ps1 -Volume S: -Case T-260, T-262           some
  .\run-all.ps1 -Volume S: -Except T-286                all but some
Every other parameter goes to the scripts that have one of that name.
Exit code: 0 none failed, 1 some failed.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [ValidateSet(1, 2)][int]$Phase = 1,
    [string[]]$Case = @(),
    [string[]]$Except = @(),
    [string]$JUnit = '',
    [string]$OtherHost = '',
    [string]$OtherArrayHost = '',
    [string]$NewFolder = '',
    [string]$PowerOff = '',
    [string]$SqlInstance = '',
    [string]$Database = '',
    [string]$SetPhase = '',
    [int]$Cycles = 100
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# The parameters of this script that the case's script has too and that were given a value.
function Get-CaseArguments([System.Management.Automation.CommandInfo]$Script, [System.Collections.IDictionary]$Values) {
    foreach ($name in $Values.Keys) {
        if ($Script.Parameters.ContainsKey($name) -and "$($Values[$name])" -ne '') {
            "-$name"
            "$($Values[$name])"
        }
    }
}

# Runs one case; its verdict, reason, observations, seconds and text.
function Invoke-CaseScript([System.IO.FileInfo]$File, [string[]]$Arguments) {
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $lines = @(& powershell.exe -NoProfile -ExecutionPolicy Bypass -File $File.FullName @Arguments | ForEach-Object { Write-Host $_; "$_" })
    $code = $LASTEXITCODE
    $result = @($lines | Where-Object { $_ -match '^RESULT ' } | Select-Object -Last 1)
    $reason = if ($result.Count -eq 0) { "the script ended with exit code $code and no result" } else { $result[0] -replace '^RESULT \S+ \S+ ?', '' }
    $verdict = switch ($code) {
        0 { 'PASS' }
        77 { 'SKIP' }
        default { 'FAIL' }
    }
    return [pscustomobject]@{
        Case = $File.BaseName
        Verdict = $verdict
        Reason = $reason
        Observed = (@($lines | Where-Object { $_ -match '^OBSERVED ' }) -join '; ')
        Seconds = [int]$clock.Elapsed.TotalSeconds
        Text = ($lines -join "`n")
    }
}

# Text as XML may hold it.
function ConvertTo-XmlText([string]$Text) {
    return [System.Security.SecurityElement]::Escape(($Text -replace '[^\t\r\n\x20-\uD7FF\uE000-\uFFFD]', '?'))
}

function Write-JUnit([string]$Path, [object[]]$Results) {
    $failures = @($Results | Where-Object { $_.Verdict -eq 'FAIL' }).Count
    $skipped = @($Results | Where-Object { $_.Verdict -eq 'SKIP' }).Count
    $lines = @('<?xml version="1.0" encoding="utf-8"?>')
    $lines += "<testsuite name=`"windows-acceptance`" tests=`"$($Results.Count)`" failures=`"$failures`" skipped=`"$skipped`">"
    foreach ($result in $Results) {
        $lines += "  <testcase classname=`"windows-acceptance`" name=`"$($result.Case)`" time=`"$($result.Seconds)`">"
        if ($result.Verdict -eq 'FAIL') { $lines += "    <failure message=`"$(ConvertTo-XmlText $result.Reason)`" />" }
        if ($result.Verdict -eq 'SKIP') { $lines += "    <skipped message=`"$(ConvertTo-XmlText $result.Reason)`" />" }
        $lines += "    <system-out>$(ConvertTo-XmlText $result.Text)</system-out>"
        $lines += '  </testcase>'
    }
    $lines += '</testsuite>'
    Set-Content -LiteralPath $Path -Value $lines -Encoding UTF8
}

$values = [ordered]@{
    Volume = $Volume; OtherHost = $OtherHost; OtherArrayHost = $OtherArrayHost; NewFolder = $NewFolder; PowerOff = $PowerOff
    SqlInstance = $SqlInstance; Database = $Database; SetPhase = $SetPhase; Cycles = $Cycles; Phase = $Phase
}
$results = @()
foreach ($file in (Get-ChildItem -LiteralPath $PSScriptRoot -Filter 'T-*.ps1' | Sort-Object -Property Name)) {
    if ($Case.Count -gt 0 -and $Case -notcontains $file.BaseName) { continue }
    if ($Except -contains $file.BaseName) { continue }
    $script = Get-Command -Name $file.FullName
    # Phase 2 is for the cases with a restart only.
    if ($Phase -eq 2 -and -not $script.Parameters.ContainsKey('Phase')) { continue }
    Write-Host "=== $($file.BaseName)"
    $results += Invoke-CaseScript $file @(Get-CaseArguments $script $values)
}
if ($results.Count -eq 0) { throw 'no case was chosen' }

$results | Format-Table -Property 'Case', 'Verdict', 'Seconds', 'Reason', 'Observed' -AutoSize -Wrap | Out-Host
if ($JUnit -ne '') { Write-JUnit $JUnit $results }
$counts = foreach ($verdict in 'PASS', 'FAIL', 'SKIP') { "$verdict $(@($results | Where-Object { $_.Verdict -eq $verdict }).Count)" }
Write-Host ($counts -join ', ')
exit [int](@($results | Where-Object { $_.Verdict -eq 'FAIL' }).Count -gt 0)
