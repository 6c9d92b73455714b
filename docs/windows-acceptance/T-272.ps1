# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-272, BRK-2, BRK-3, BRK-4: BreakSnapshotSetEx with each flag

Never run on real Windows.

Run:
  .\T-272.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array, which stays present.
Steps:
  1. for each of -mask, -rw, -norevert, -forcerevert: vshadow -p -t=FILE, vshadow -i=FILE, vshadow FLAG -bex=SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - -mask: /BreakEx done/; the LUN is there and mapped to no host
  - -rw: /BreakEx done/; the array shows the LUN as broken, and its volume takes writes
  - -norevert: /BreakEx done/; the disk's identity is not the original's
  - -forcerevert with the original present: fails, /HRESULT = 0x800423f6/ (VSS_E_BREAK_REVERT_ID_FAILED); the LUN is
    there
Clean-up:
  deletes the LUNs.
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

exit (Invoke-Case 'T-272' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-272'
    $before = Get-ArrayState
    $original = (Get-Partition -DriveLetter $Volume.Substring(0, 1)).DiskNumber
    foreach ($flag in '-mask', '-rw', '-norevert', '-forcerevert') {
        Write-Host "--- $flag"
        $set = New-ImportedSet $folder @($Volume)
        $name = @(Get-SetCopies $set.SetId)[0].name
        try {
            # The flags come first: vshadow carries the command out as soon as it reads it.
            $done = Invoke-VShadow @($flag, "-bex=$($set.SetId)")
            $lun = Get-ArrayLuns | Where-Object { $_.name -eq $name }
            Assert-True ($null -ne $lun) 'the LUN is still on the array'
            if ($flag -eq '-forcerevert') {
                Assert-True ($done.ExitCode -ne 0) 'vshadow -bex fails'
                Assert-Equal (Get-Hresult $done.Text) '0x800423f6' 'HRESULT'
                continue
            }
            Assert-Equal $done.ExitCode 0 'exit code of vshadow -bex'
            Assert-Output $done.Text ([ordered]@{ 'break' = 'BreakEx done' })
            if ($flag -eq '-mask') {
                Assert-Equal @(Get-LunHosts $lun).Count 0 'hosts that see the LUN'
                continue
            }
            $number = (Get-LunDisk $lun).Number
            if ($flag -eq '-rw') {
                Assert-True $lun.broken 'the array shows the LUN as broken out of its set'
                $opened = Open-DiskVolume $number
                $null = Write-TestFile "$opened\acceptance-broken.bin"
                Write-Host 'ok   the broken volume takes writes'
            }
            else {
                Assert-True ((Get-DiskIdentity $number) -ne (Get-DiskIdentity $original)) 'the identity of the disk is not that of the original'
            }
        }
        finally {
            if ($flag -eq '-forcerevert') { $null = Invoke-VShadow @("-dx=$($set.SetId)") }
            Remove-Lun $name
        }
    }
    Assert-NoLeak $before
})
