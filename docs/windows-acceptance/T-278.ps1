# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-278, DEL-3: the requester is killed while it holds an auto-release copy; the copy is deleted

Never run on real Windows.

Run:
  .\T-278.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array.
Steps:
  1. vshadow VOLUME, held; vshadow is killed
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - within 10 minutes the LUN is gone: OnLunEmpty came; no leak
  - the set is not listed any more
Clean-up:
  none.
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

exit (Invoke-Case 'T-278' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-278'
    $before = Get-ArrayState
    $held = Start-HeldSet $folder @() @($Volume)
    Assert-Equal @(Get-SetCopies $held.SetId).Count 1 'LUNs of the set on the array'
    Stop-Process -Id $held.Tool.Process.Id -Force
    # Ends the script that vshadow had started.
    $null = New-Item -ItemType File -Path $held.Go
    Assert-NoLeak $before 600
    Assert-Equal @(Get-ShadowCopies $held.SetId).Count 0 'shadow copies of the set'
})
