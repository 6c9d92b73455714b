# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-274, OLS-1: diskshadow mask takes an imported set away, a second import brings it back

Never run on real Windows.

Run:
  .\T-274.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array.
Steps:
  1. diskshadow: a transportable persistent set with its metadata in FILE.cab; load metadata FILE.cab, import
  2. diskshadow: mask SET
  3. diskshadow: load metadata FILE.cab, import
  4. diskshadow: delete shadows set SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - after import: mapped to this host
  - after mask: the LUN is there with its data, mapped to no host
  - after the second import: mapped to this host again, the file readable (whether Windows takes it is recorded, open
    question OQ-18)
  - after the deletion the LUN is gone; no leak
Clean-up:
  deletes the set.
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

exit (Invoke-Case 'T-274' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-274'
    $before = Get-ArrayState
    $known = @(Get-ArrayCopies | ForEach-Object { $_.id })
    $hash = Write-TestFile "$Volume\acceptance.bin"
    $cab = Join-Path $folder 'set.cab'
    $null = Invoke-DiskShadow $folder @(
        'set context persistent'
        'set option transportable'
        "set metadata $cab"
        "add volume $Volume alias data provider $ProviderId"
        'create'
    )
    $luns = @(Get-ArrayCopies | Where-Object { $known -notcontains $_.id })
    Assert-Equal $luns.Count 1 'new copies on the array'
    $name = $luns[0].name
    $set = '{' + $luns[0].copy.set + '}'
    $hosts = { (Get-LunHosts (Get-ArrayLuns | Where-Object { $_.name -eq $name })) -join ' ' }
    try {
        $null = Invoke-DiskShadow $folder @("load metadata $cab", 'import')
        Assert-Equal (& $hosts) (Get-Setting 'ArrayHost') 'hosts that see the copy after the import'
        $null = Invoke-DiskShadow $folder @("mask $set")
        Assert-Equal (& $hosts) '' 'hosts that see the copy after mask'
        $null = Invoke-DiskShadow $folder @("load metadata $cab", 'import')
        $copies = @(Get-ShadowCopies $set)
        Write-Observation 'OQ-18' "import after mask: $($copies.Count) shadow copies, seen by '$(& $hosts)'"
        Assert-Equal (& $hosts) (Get-Setting 'ArrayHost') 'hosts that see the copy after the second import'
        Assert-Equal $copies.Count 1 'shadow copies of the set'
        Assert-Equal (Get-CopyHash $folder $copies[0].Device 'acceptance.bin') $hash 'SHA-256 of the file in the copy'
    }
    finally {
        $null = Invoke-DiskShadow $folder @("delete shadows set $set")
    }
    try { Assert-NoLeak $before }
    finally { Remove-Lun $name }
})
