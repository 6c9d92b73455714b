# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-276, RSY-7, RSY-8, RSY-9, RSY-10: resync of changed originals, with -revertsig and -novolcheck

Never run on real Windows.

Run:
  .\T-276.ps1
Needs:
  the right to resync
Precondition:
  The provider is ready; this host was added with --allow-resync.
Steps:
  1. a test disk with one volume: vshadow -p -t=FILE; change the file; vshadow -addresync=ID -resync=FILE; the same
     with -revertsig
  2. a test disk with two volumes, a set of the first: the same without and with -novolcheck
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - an unknown shadow copy id: fails, /HRESULT = 0x8004232b/ (VSS_E_SNAPSHOT_NOT_IN_SET)
  - /Resync done/; the file is as it was when the copy was made; the disk keeps its identity; the copy is still on the
    array
  - two volumes: without the flag it fails, /HRESULT = 0x8004232a/ (VSS_E_UNSELECTED_VOLUME), and the file is as
    changed; with -novolcheck /Resync done/
Clean-up:
  deletes copies and test disks.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-276' {
    Assert-ProviderReady
    $me = @(Invoke-Shadowlun 'host list' | Where-Object { $_.name -eq (Get-Setting 'ArrayHost') })[0]
    if (-not $me.allow_resync) { Skip-Case 'this host has no right to resync: add it with --allow-resync' }
    $folder = New-WorkFolder 'T-276'
    $before = Get-ArrayState
    foreach ($partitions in 1, 2) {
        Write-Host "--- $partitions volume(s) on the LUN"
        $test = New-TestLun '2GiB'
        $names = @()
        try {
            $null = Initialize-Disk -Number $test.Number -PartitionStyle GPT -PassThru
            $volumes = @(foreach ($index in 1..$partitions) {
                $letter = Get-FreeLetter
                $null = New-Partition -DiskNumber $test.Number -Size 900MB -DriveLetter $letter
                $null = Format-Volume -DriveLetter $letter -FileSystem NTFS -Confirm:$false
                "${letter}:"
            })
            $file = "$($volumes[0])\acceptance.bin"
            $hash = Write-TestFile $file
            $identity = Get-DiskIdentity $test.Number
            $xml = Join-Path $folder "set-$partitions.xml"
            $set = New-PersistentSet $folder @("-t=$xml") @($volumes[0])
            $names = @(Get-SetCopies $set.SetId | ForEach-Object { $_.name })
            $add = "-addresync=$($set.Ids[0])"

            $done = Invoke-VShadow @("-addresync={$([guid]::NewGuid())}", "-resync=$xml")
            Assert-True ($done.ExitCode -ne 0) 'a resync of a shadow copy that is not in the document fails'
            Assert-Equal (Get-Hresult $done.Text) '0x8004232b' 'HRESULT'
            if ($partitions -eq 2) {
                $changed = Write-TestFile $file
                $done = Invoke-VShadow @($add, "-resync=$xml")
                Assert-True ($done.ExitCode -ne 0) 'a resync that would overwrite an unselected volume fails'
                Assert-Equal (Get-Hresult $done.Text) '0x8004232a' 'HRESULT'
                Assert-Equal (Get-FileHash -LiteralPath $file).Hash $changed 'SHA-256 of the changed file'
            }
            $flags = if ($partitions -eq 2) { @('-novolcheck') } else { @('', '-revertsig') }
            foreach ($flag in $flags) {
                Write-Host "--- flag: $flag"
                $arguments = @($flag, $add, "-resync=$xml" | Where-Object { $_ -ne '' })
                $null = Write-TestFile $file
                $done = Invoke-VShadow $arguments
                Assert-Equal $done.ExitCode 0 'exit code of vshadow -resync'
                Assert-Output $done.Text ([ordered]@{ 'resync' = 'Resync done' })
                Wait-Until { Test-Path -LiteralPath $file } 120 'the volume is back'
                Assert-Equal (Get-FileHash -LiteralPath $file).Hash $hash 'SHA-256 of the file after the resync'
                Assert-Equal (Get-DiskIdentity (Get-LunDisk $test.Lun).Number) $identity 'identity of the disk'
                Assert-Equal @(Get-SetCopies $set.SetId).Count 1 'copies of the set on the array'
            }
        }
        finally {
            foreach ($name in $names) { Remove-Lun $name }
            Remove-Lun $test.Name
        }
    }
    Assert-NoLeak $before
})
