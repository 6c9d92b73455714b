# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-275, SEQ-27: auto-recovery of a writer writes into the copy

Never run on real Windows.

Run:
  .\T-275.ps1 -Volume S: -SqlInstance localhost -Database test
Needs:
  SQL Server with a database on the volume
Precondition:
  The provider is ready; a SQL Server instance with a test database whose files are on the volume; its VSS writer
  runs; sqlcmd is installed.
Steps:
  1. a transaction of some 64 MiB is left open in the database
  2. vshadow -nar VOLUME, held: how much the copy holds of its own
  3. vshadow VOLUME, held: the same
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - vshadow -ws shows the writer /SqlServerWriter/
  - both sets are copies of our provider; the copy with auto-recovery holds more of its own data than the one without:
    the roll-back of the open transaction was written to it
  - no leak
Clean-up:
  ends the transaction, drops the test table; the sets are nonpersistent.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [string]$SqlInstance = '',
    [string]$Database = ''
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-275' {
    if ($SqlInstance -eq '' -or $Database -eq '') { Skip-Case 'no -SqlInstance and -Database were given' }
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-275'
    $before = Get-ArrayState
    Assert-Output (Invoke-VShadow @('-ws')).Text ([ordered]@{ 'writer' = 'SqlServerWriter' })
    $sqlcmd = (Get-Command -Name 'sqlcmd.exe').Source
    $connect = @('-S', $SqlInstance, '-E', '-b', '-d', $Database, '-Q')
    $table = 'create table shadowlun_acceptance (id int identity, filler char(8000) not null)'
    Assert-Equal (Invoke-Tool $sqlcmd ($connect + $table)).ExitCode 0 'exit code of create table'
    $rows = "begin transaction; insert into shadowlun_acceptance (filler) select top (8192) 'x' " +
        "from sys.all_columns a cross join sys.all_columns b; checkpoint; waitfor delay '00:15:00'"
    $open = Start-Tool $sqlcmd ($connect + $rows)
    try {
        Start-Sleep -Seconds 60
        $own = @{}
        foreach ($kind in 'without', 'with') {
            Write-Host "--- $kind auto-recovery"
            $options = if ($kind -eq 'without') { @('-nar') } else { @() }
            $held = Start-HeldSet $folder $options @($Volume)
            try {
                Assert-OurCopy @(Get-ShadowCopies $held.SetId)[0]
                $own[$kind] = [uint64]@(Get-SetCopies $held.SetId)[0].own_bytes_max
            }
            finally { $null = Stop-HeldSet $held }
        }
        Write-Observation 'OQ-4' "own data of the copy: $($own['without']) bytes without, $($own['with']) bytes with auto-recovery"
        Assert-True ($own['with'] -gt $own['without']) 'auto-recovery wrote into the copy'
    }
    finally {
        if (-not $open.Process.HasExited) { $open.Process.Kill() }
        $null = Invoke-Tool $sqlcmd ($connect + 'drop table shadowlun_acceptance')
    }
    Assert-NoLeak $before
})
