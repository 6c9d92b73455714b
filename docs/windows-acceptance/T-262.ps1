# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-262, CTX-1: a persistent shadow copy survives a restart and is deleted

Never run on real Windows.

Run:
  .\T-262.ps1 -Volume S: -Phase 1
Needs:
  a restart
Precondition:
  The provider is ready; an NTFS volume on the array.
Steps:
  1. phase 1: vshadow -p VOLUME; restart Windows
  2. phase 2: vshadow -qx=SET; read the file; vshadow -dx=SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - attributes Persistent and No_Auto_Release
  - after the restart the copy is listed and its file has the original's SHA-256
  - after the deletion the LUN is gone; no leak
Clean-up:
  phase 2 deletes the set.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [Parameter(Mandatory = $true)][ValidateSet(1, 2)][int]$Phase
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-262' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-262'
    if ($Phase -eq 1) {
        $before = Get-ArrayState
        $hash = Write-TestFile "$Volume\acceptance.bin"
        $set = New-PersistentSet $folder @() @($Volume)
        $copy = @(Get-ShadowCopies $set.SetId)[0]
        Assert-OurCopy $copy
        foreach ($attribute in 'Persistent', 'No_Auto_Release') {
            Assert-True ($copy.Attributes -contains $attribute) "attribute $attribute"
        }
        Save-Phase 'T-262' @{ Before = $before; Hash = $hash; SetId = $set.SetId }
        Write-Host 'Restart Windows, then run phase 2.'
        return
    }
    $state = Restore-Phase 'T-262'
    $copies = @(Get-ShadowCopies $state.SetId)
    Assert-Equal $copies.Count 1 'shadow copies of the set after the restart'
    Assert-Equal (Get-CopyHash $folder $copies[0].Device 'acceptance.bin') $state.Hash 'SHA-256 of the file in the copy'
    Remove-ShadowSet $state.SetId
    Assert-NoLeak $state.Before
    Remove-Phase 'T-262'
})
