# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-266, SEQ-19, SEQ-20: two volumes on one LUN share one target LUN

Never run on real Windows.

Run:
  .\T-266.ps1
Needs:
  one host
Precondition:
  The provider is ready.
Steps:
  1. a LUN with two NTFS partitions
  2. vshadow with both, held; vshadow -qx
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - two copies of our provider, both readable with the right contents
  - one LUN of the set on the array, with both shadow copy ids; at the end it is gone; no leak
Clean-up:
  deletes the test disk.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-266' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-266'
    $test = New-TestLun '2GiB'
    try {
        $null = Initialize-Disk -Number $test.Number -PartitionStyle GPT -PassThru
        $volumes = @(foreach ($index in 1..2) {
            $letter = Get-FreeLetter
            $null = New-Partition -DiskNumber $test.Number -Size 900MB -DriveLetter $letter
            $null = Format-Volume -DriveLetter $letter -FileSystem NTFS -Confirm:$false
            "${letter}:"
        })
        $hashes = @($volumes | ForEach-Object { Write-TestFile "$_\acceptance.bin" })
        $before = Get-ArrayState
        $held = Start-HeldSet $folder @() $volumes
        try {
            $luns = @(Get-SetCopies $held.SetId)
            Assert-Equal $luns.Count 1 'LUNs of the set on the array'
            Assert-Equal @($luns[0].copy.snapshots).Count 2 'shadow copies on the LUN'
            foreach ($index in 0..1) {
                $copy = Get-ShadowCopies $held.SetId | Where-Object { $_.Id -eq $held.Ids[$index] }
                Assert-OurCopy $copy
                Assert-Equal (Get-CopyHash $folder $copy.Device 'acceptance.bin') $hashes[$index] "SHA-256 in the copy of $($volumes[$index])"
            }
        }
        finally {
            $done = Stop-HeldSet $held
        }
        Assert-Equal $done.ExitCode 0 'exit code of vshadow'
        Assert-NoLeak $before
    }
    finally { Remove-Lun $test.Name }
})
