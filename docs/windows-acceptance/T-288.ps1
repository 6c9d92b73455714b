# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-288, SWP-1: LUN swap: the copy takes the place of the original

Never run on real Windows.

Run:
  .\T-288.ps1
Needs:
  one host
Precondition:
  The provider is ready; this host is in no cluster.
Steps:
  1. a test disk; vshadow -p -t=FILE; change the file
  2. the original offline and unmapped on the array
  3. vshadow -i=FILE; vshadow -bw=SET
  4. the file in the place of the original
  5. the copy unmapped, the original mapped again
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - /Shadow copy set succe/; /Clearing read-only flag/
  - the swapped-in volume has the file as it was when the copy was made, and takes writes
  - the original, mapped again, has the changed file: it was not touched
Clean-up:
  deletes copy and test disk.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-288' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-288'
    $before = Get-ArrayState
    $test = New-TestDisk 'MBR' 'NTFS'
    $name = ''
    try {
        $hash = Write-TestFile "$($test.Volume)\acceptance.bin"
        $xml = Join-Path $folder 'set.xml'
        $set = New-PersistentSet $folder @("-t=$xml") @($test.Volume)
        $name = @(Get-SetCopies $set.SetId)[0].name
        $changed = Write-TestFile "$($test.Volume)\acceptance.bin"

        Set-Disk -Number $test.Number -IsOffline $true
        $null = Invoke-Shadowlun "lun unmap $($test.Name) $(Get-Setting 'ArrayHost')"
        Wait-Until { Update-HostStorageCache; $null -eq (Get-LunDisk $test.Lun) } 300 'the original has left this host'

        $done = Invoke-VShadow @("-i=$xml")
        Assert-Equal $done.ExitCode 0 'exit code of vshadow -i'
        Assert-Output $done.Text ([ordered]@{ 'import' = 'Shadow copy set succe' })
        $done = Invoke-VShadow @("-bw=$($set.SetId)")
        Assert-Equal $done.ExitCode 0 'exit code of vshadow -bw'
        Assert-Output $done.Text ([ordered]@{ 'read/write' = 'Clearing read-only flag' })

        $lun = Get-ArrayLuns | Where-Object { $_.name -eq $name }
        $opened = Open-DiskVolume (Get-LunDisk $lun).Number
        Assert-Equal (Get-FileHash -LiteralPath "$opened\acceptance.bin").Hash $hash 'SHA-256 of the file on the swapped-in volume'
        $null = Write-TestFile "$opened\acceptance-swapped.bin"
        Write-Host 'ok   the swapped-in volume takes writes'
        Remove-Lun $name

        $null = Invoke-Shadowlun "lun map $($test.Name) $(Get-Setting 'ArrayHost')"
        Wait-Until { Update-HostStorageCache; $null -ne (Get-LunDisk $test.Lun) } 120 'the original is back'
        $opened = Open-DiskVolume (Get-LunDisk $test.Lun).Number
        Assert-Equal (Get-FileHash -LiteralPath "$opened\acceptance.bin").Hash $changed 'SHA-256 of the file on the original'
        Assert-True (-not (Test-Path -LiteralPath "$opened\acceptance-swapped.bin")) 'nothing was written to the original'
    }
    finally {
        if ($name -ne '') { Remove-Lun $name }
        Remove-Lun $test.Name
    }
    Assert-NoLeak $before
})
