# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-002, REG-17: installing over an installation is an update and leaves one entry

Never run on real Windows.

Run:
  .\T-002.ps1
Needs:
  one host
Precondition:
  The provider is installed.
Steps:
  1. shadowlun-provider install, twice
  2. the list of providers from WMI
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - exit code 0 both times: VSS_E_PROVIDER_ALREADY_REGISTERED (0x80042303) does not come through, because install
    unregisters first
  - one entry with our id afterwards
  - status is in order
Clean-up:
  none.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-002' {
    Assert-Equal @(Get-ProviderEntry).Count 1 'entries before'
    foreach ($round in 1..2) {
        $done = Invoke-Provider @('install')
        Assert-Equal $done.ExitCode 0 "exit code of install, round $round"
        Assert-True ($done.Text -notmatch '(?i)80042303') 'no VSS_E_PROVIDER_ALREADY_REGISTERED'
        Assert-Output $done.Text ([ordered]@{ 'success' = 'is installed and registered with VSS' })
    }
    Assert-Equal @(Get-ProviderEntry).Count 1 'entries afterwards'
    $status = ConvertFrom-Json (Invoke-Provider @('status', '--json')).Output
    $line = $status.lines | Where-Object { $_.what -eq 'registered in VSS' }
    Assert-True $line.in_order 'status says that the provider is registered in VSS'
})
