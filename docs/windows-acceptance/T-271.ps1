# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-271, LOC-5, LOC-9: one of two LUNs is removed before the import

Never run on real Windows.

Run:
  .\T-271.ps1
Needs:
  one host
Precondition:
  The provider is ready.
Steps:
  1. two test disks; vshadow -p -t=FILE with both
  2. the copy of the second is deleted on the array
  3. vshadow -i=FILE
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - either the import succeeds for one: vshadow -qx shows one copy (VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED 0x00042321),
  - or it fails as a whole /HRESULT = 0x8004(2306|2320|2321)/ with an error event of the provider that names the LUN,
    and the remaining copy is mapped to no host; which of the two is recorded (open question OQ-19)
  - the remaining copy is still on the array
Clean-up:
  deletes the copies and test disks.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-271' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-271'
    $tests = @(1..2 | ForEach-Object { New-TestDisk 'GPT' 'NTFS' })
    try {
        $before = Get-ArrayState
        $xml = Join-Path $folder 'set.xml'
        $set = New-PersistentSet $folder @("-t=$xml") @($tests | ForEach-Object { $_.Volume })
        $luns = @(Get-SetCopies $set.SetId)
        Assert-Equal $luns.Count 2 'LUNs of the set on the array'
        $gone = $luns | Where-Object { $_.copy.source -eq $tests[1].Lun.id }
        $kept = $luns | Where-Object { $_.copy.source -eq $tests[0].Lun.id }
        $null = Invoke-Shadowlun "lun delete $($gone.name)"

        $since = Get-Date
        $done = Invoke-VShadow @("-i=$xml")
        $left = @(Get-SetCopies $set.SetId)
        Assert-Equal $left.Count 1 'LUNs of the set that are still on the array'
        if ($done.ExitCode -eq 0) {
            Write-Observation 'OQ-19' 'the import succeeded for the LUN that was there'
            Assert-Equal @(Get-ShadowCopies $set.SetId).Count 1 'imported shadow copies'
            Remove-ShadowSet $set.SetId
        }
        else {
            Write-Observation 'OQ-19' "the import failed as a whole: HRESULT $(Get-Hresult $done.Text)"
            Assert-Output (Get-Hresult $done.Text) ([ordered]@{ 'failure' = '^0x8004(2306|2320|2321)$' })
            Assert-ErrorEvent $since
            Assert-Equal @(Get-LunHosts $left[0]).Count 0 'hosts that see the remaining copy (nothing half surfaced)'
            Remove-Lun $kept.name
        }
        Assert-NoLeak $before
    }
    finally {
        foreach ($test in $tests) { Remove-Lun $test.Name }
    }
})
