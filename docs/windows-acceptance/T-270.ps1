# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-270, IMP-2, SEQ-25: a transportable set is imported on the host that made it

Never run on real Windows.

Run:
  .\T-270.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array.
Steps:
  1. vshadow -p -t=FILE VOLUME
  2. vshadow -i=FILE, vshadow -qx=SET, read the file, vshadow -dx=SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - /Shadow copy set succe/; one copy of our provider with the attributes Transportable and Imported, with the right
    contents, mapped to this host
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

exit (Invoke-Case 'T-270' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-270'
    $before = Get-ArrayState
    $hash = Write-TestFile "$Volume\acceptance.bin"
    $set = New-ImportedSet $folder @($Volume)
    $copies = @(Get-ShadowCopies $set.SetId)
    Assert-Equal $copies.Count 1 'shadow copies of the set'
    Assert-OurCopy $copies[0]
    foreach ($attribute in 'Transportable', 'Imported') {
        Assert-True ($copies[0].Attributes -contains $attribute) "attribute $attribute"
    }
    Assert-Equal ((Get-LunHosts @(Get-SetCopies $set.SetId)[0]) -join ' ') (Get-Setting 'ArrayHost') 'hosts that see the copy'
    Assert-Equal (Get-CopyHash $folder $copies[0].Device 'acceptance.bin') $hash 'SHA-256 of the file in the copy'
    Remove-ShadowSet $set.SetId
    Assert-NoLeak $before
})
