# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-261, CTX-9: nonpersistent shadow copies of GPT, ReFS and RAW volumes

Never run on real Windows.

Run:
  .\T-261.ps1
Needs:
  one host
Precondition:
  The provider is ready.
Steps:
  1. for a GPT disk with NTFS, one with ReFS and one without a file system: as T-260
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - as T-260; of the RAW volume the contents are not looked at
Clean-up:
  deletes the test disks.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-261' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-261'
    foreach ($system in 'NTFS', 'ReFS', 'RAW') {
        Write-Host "--- GPT, $system"
        # ReFS does not fit on small volumes.
        $test = New-TestDisk 'GPT' $system '8GiB'
        try { Test-VolatileCopy $folder $test.Volume -NoFileSystem:($system -eq 'RAW') }
        finally { Remove-Lun $test.Name }
    }
})
