# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-001, REG-15, REG-23: install registers the provider once, with all its ids

Never run on real Windows.

Run:
  .\T-001.ps1
Needs:
  one host
Precondition:
  Windows Server; administrator; the provider is not installed; its files are in place.
Steps:
  1. shadowlun-provider install
  2. the list of providers from WMI (Win32_ShadowProvider) and from vssadmin list providers
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - exit code 0
  - install prints /is installed and registered with VSS/
  - one entry with our id: our name, type 3 (hardware), our class id, a version, a version id
  - vssadmin prints our id /28ea8399-c98f-4f97-b0d1-6b3d187c8045/ and name
Clean-up:
  none: the provider stays installed for the other cases.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-001' {
    if (@(Get-ProviderEntry).Count -ne 0) { Skip-Case "the provider is registered already: run 'shadowlun-provider uninstall'" }
    $done = Invoke-Provider @('install')
    Assert-Equal $done.ExitCode 0 'exit code of install'
    Assert-Output $done.Text ([ordered]@{ 'success' = 'is installed and registered with VSS' })

    $entries = @(Get-ProviderEntry)
    Assert-Equal $entries.Count 1 'entries with our provider id'
    Assert-Equal $entries[0].Name $ProviderName 'name'
    Assert-Equal $entries[0].Type 3 'type (3 = hardware)'
    Assert-Equal $entries[0].CLSID.ToLowerInvariant() $ClassId 'class id'
    Assert-Output $entries[0].Version ([ordered]@{ 'version' = '^\d+\.\d+\.\d+' })
    Assert-Output $entries[0].VersionID ([ordered]@{ 'version id' = "^$GuidPattern$" })
    Assert-True ($entries[0].VersionID -ne $entries[0].ID) 'the version id is not the provider id'

    $listed = Invoke-Tool (Join-Path $env:SystemRoot 'System32\vssadmin.exe') @('list', 'providers')
    Assert-Output $listed.Text ([ordered]@{ 'id' = [regex]::Escape($ProviderId); 'name' = [regex]::Escape($ProviderName) })
})
