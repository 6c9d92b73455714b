# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-006, REG-21: uninstall of a provider that is not registered succeeds

Never run on real Windows.

Run:
  .\T-006.ps1
Needs:
  one host
Precondition:
  Administrator.
Steps:
  1. shadowlun-provider uninstall, twice
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - exit code 0 both times
  - /The provider is uninstalled/
  - no COM key, service or event source
Clean-up:
  installs the provider again if it was installed.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-006' {
    $installed = @(Get-ProviderEntry).Count -ne 0
    try {
        foreach ($round in 1..2) {
            $done = Invoke-Provider @('uninstall')
            Assert-Equal $done.ExitCode 0 "exit code of uninstall, round $round"
            Assert-Output $done.Text ([ordered]@{ 'success' = 'The provider is uninstalled' })
        }
        Assert-Equal @(Get-ProviderEntry).Count 0 'entries in VSS'
        Assert-Equal @(Get-ProviderTraces).Count 0 'keys left behind'
    }
    finally {
        if ($installed) { $null = Invoke-Provider @('install') }
    }
})
