# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-007, REG-16, ROLE-7: an update keeps the provider id, changes the version id, and deletes copies of the old version

Never run on real Windows.

Run:
  .\T-007.ps1 -Volume S: -NewFolder 'C:\Program Files\Shadowlun-next'
Needs:
  files of the next version
Precondition:
  Version n is installed and ready; the files of version n+1 are in a folder that only administrators may write to.
Steps:
  1. vshadow -p VOLUME with version n
  2. NEWFOLDER\shadowlun-provider install
  3. vshadow -dx=SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - one entry: same provider id and class id, another version id
  - the set of version n is deleted; its LUN is gone
Clean-up:
  none: version n+1 stays installed; install of the old folder goes back.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [string]$NewFolder = ''
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-007' {
    if ($NewFolder -eq '') { Skip-Case 'no -NewFolder with the files of the next version was given' }
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-007'
    $before = Get-ArrayState
    $old = @(Get-ProviderEntry)[0]
    $set = New-PersistentSet $folder @() @($Volume)
    $done = Invoke-Tool (Join-Path $NewFolder 'shadowlun-provider.exe') @('install')
    Assert-Equal $done.ExitCode 0 'exit code of install'
    $new = @(Get-ProviderEntry)
    Assert-Equal $new.Count 1 'entries with our provider id'
    Assert-Equal $new[0].CLSID $old.CLSID 'class id'
    Assert-True ($new[0].VersionID -ne $old.VersionID) 'the version id has changed'
    Remove-ShadowSet $set.SetId
    Assert-NoLeak $before
})
