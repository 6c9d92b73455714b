# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-267, SEQ-16, CLU-4: a spanned volume on three LUNs

Never run on real Windows.

Run:
  .\T-267.ps1
Needs:
  one host
Precondition:
  The provider is ready.
Steps:
  1. three LUNs as dynamic disks, a volume spanned over them (diskpart)
  2. vshadow VOLUME, held; vshadow -qx
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - one copy of our provider with the right contents
  - three LUNs of the set on the array; at the end they are gone; no leak
Clean-up:
  deletes volume and LUNs.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-267' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-267'
    $tests = @(1..3 | ForEach-Object { New-TestLun '1GiB' })
    $letter = Get-FreeLetter
    $made = $false
    try {
        $numbers = @($tests | ForEach-Object { $_.Number })
        $lines = @($numbers | ForEach-Object { "select disk $_"; 'convert gpt'; 'convert dynamic' })
        $lines += "create volume simple size=500 disk=$($numbers[0])"
        $lines += "extend size=500 disk=$($numbers[1])"
        $lines += "extend size=500 disk=$($numbers[2])"
        $lines += 'format fs=ntfs quick'
        $lines += "assign letter=$letter"
        Invoke-DiskPart $folder $lines
        $made = $true
        $hash = Write-TestFile "${letter}:\acceptance.bin" 734003200
        $before = Get-ArrayState
        $held = Start-HeldSet $folder @() @("${letter}:")
        try {
            $copies = @(Get-ShadowCopies $held.SetId)
            Assert-Equal $copies.Count 1 'shadow copies of the set'
            Assert-OurCopy $copies[0]
            Assert-Equal @(Get-SetCopies $held.SetId).Count 3 'LUNs of the set on the array'
            Assert-Equal (Get-CopyHash $folder $copies[0].Device 'acceptance.bin') $hash 'SHA-256 of the file in the copy'
        }
        finally {
            $done = Stop-HeldSet $held
        }
        Assert-Equal $done.ExitCode 0 'exit code of vshadow'
        Assert-NoLeak $before
    }
    finally {
        if ($made) { Invoke-DiskPart $folder @("select volume $letter", 'delete volume') }
        foreach ($test in $tests) { Remove-Lun $test.Name }
    }
})
