# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-284, LIM-1: 64 volumes in a set work, the 65th is refused

Never run on real Windows.

Run:
  .\T-284.ps1
Needs:
  one host
Precondition:
  The provider is ready.
Steps:
  1. a LUN with 65 NTFS partitions without letters
  2. vshadow -nw with 64 of them, held
  3. vshadow -nw with all 65
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - 64: one set with 64 copies of our provider
  - 65: vshadow fails, /HRESULT = 0x80042312/ (VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED)
  - no leak
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

exit (Invoke-Case 'T-284' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-284'
    $test = New-TestLun '8GiB'
    try {
        $null = Initialize-Disk -Number $test.Number -PartitionStyle GPT -PassThru
        $volumes = @(foreach ($index in 1..65) {
            $partition = New-Partition -DiskNumber $test.Number -Size 100MB
            $null = $partition | Format-Volume -FileSystem NTFS -Confirm:$false
            $fresh = Get-Partition -DiskNumber $test.Number -PartitionNumber $partition.PartitionNumber
            @($fresh.AccessPaths | Where-Object { $_ -like '\\?\Volume{*' })[0]
        })
        $before = Get-ArrayState
        $held = Start-HeldSet $folder @('-nw') @($volumes[0..63])
        try {
            $copies = @(Get-ShadowCopies $held.SetId)
            Assert-Equal $copies.Count 64 'shadow copies of the set'
            foreach ($copy in $copies) { Assert-OurCopy $copy }
        }
        finally { $null = Stop-HeldSet $held }
        Assert-NoLeak $before
        $done = Invoke-VShadow (@('-nw') + $volumes)
        Assert-True ($done.ExitCode -ne 0) 'vshadow with 65 volumes fails'
        Assert-Equal (Get-Hresult $done.Text) '0x80042312' 'HRESULT'
        Assert-NoLeak $before
    }
    finally { Remove-Lun $test.Name }
})
