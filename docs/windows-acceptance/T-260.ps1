# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-260, SEQ-24, DEL-1, DEL-3: a shadow copy of a basic MBR disk with NTFS (section 4.1)

Never run on real Windows.

Run:
  .\T-260.ps1
Needs:
  one host
Precondition:
  The provider is ready.
Steps:
  1. an MBR disk with an NTFS volume
  2. vshadow VOLUME, held by -exec; vshadow -qx; a look at the copy; its end
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - exit code 0; /Shadow copy set succe/, /Snapshot creation done/
  - one copy of our provider /Provider id: {28ea8399-.../ with the attributes Hardware and Auto_Release
  - one LUN mapped to this host only, without a drive letter; the file of the copy has the original's SHA-256; a write
    fails
  - at the end the LUN is gone; no leak
Clean-up:
  deletes the test disk.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-260' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-260'
    $test = New-TestDisk 'MBR' 'NTFS'
    try { Test-VolatileCopy $folder $test.Volume }
    finally { Remove-Lun $test.Name }
})
