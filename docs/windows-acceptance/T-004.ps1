# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-004, REG-2, REG-19: install on a client edition fails and takes back the COM keys

Never run on real Windows.

Run:
  .\T-004.ps1
Needs:
  a Windows 10 or 11 machine
Precondition:
  A client edition of Windows with the provider's files; administrator.
Steps:
  1. shadowlun-provider install
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - exit code 1
  - E_INVALIDARG /(?i)80070057/ and the remedy /Windows Server/
  - what was installed was removed again: no COM key, service or event source
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

exit (Invoke-Case 'T-004' {
    # 1 is a workstation, 2 a domain controller, 3 a server.
    $product = (Get-CimInstance -ClassName Win32_OperatingSystem).ProductType
    if ($product -ne 1) { Skip-Case 'this is Windows Server: run the case on a client edition' }
    $done = Invoke-Provider @('install')
    Assert-Equal $done.ExitCode 1 'exit code of install'
    Assert-Output $done.Text ([ordered]@{
        'step' = 'Registering the provider with VSS failed'
        'E_INVALIDARG' = '(?i)80070057'
        'remedy' = 'What to do: install on Windows Server'
        'undone' = 'was removed again'
    })
    Assert-Equal @(Get-ProviderTraces).Count 0 'keys left behind'
})
