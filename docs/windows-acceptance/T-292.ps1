# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-292, REG-4: the binaries are of the machine's own architecture

Never run on real Windows.

Run:
  .\T-292.ps1
Needs:
  one host
Precondition:
  64-bit Windows Server; the provider is installed.
Steps:
  1. the file header of every .exe and .dll of the provider's folder
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - machine 0x8664 on AMD64, 0xaa64 on ARM64, in each; at least shadowlun-provider.exe and shadowlun-messages.dll
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

exit (Invoke-Case 'T-292' {
    $machines = @{ 'AMD64' = 0x8664; 'ARM64' = 0xaa64 }
    # Of the system, not of this PowerShell.
    $native = [Environment]::GetEnvironmentVariable('PROCESSOR_ARCHITECTURE', 'Machine')
    Assert-True ($machines.ContainsKey($native)) "a 64-bit system ($native)"
    $files = @(Get-ChildItem -LiteralPath (Split-Path -Parent (Get-Setting 'Provider')) -File | Where-Object { $_.Extension -in '.exe', '.dll' })
    foreach ($needed in 'shadowlun-provider.exe', 'shadowlun-messages.dll') {
        Assert-True (@($files | ForEach-Object { $_.Name }) -contains $needed) "$needed is there"
    }
    foreach ($file in $files) {
        $bytes = [System.IO.File]::ReadAllBytes($file.FullName)
        Assert-Equal ([System.Text.Encoding]::ASCII.GetString($bytes, 0, 2)) 'MZ' "mark of $($file.Name)"
        $header = [BitConverter]::ToInt32($bytes, 0x3c)
        Assert-True ([BitConverter]::ToUInt32($bytes, $header) -eq 0x4550) "PE signature of $($file.Name)"
        Assert-True ([BitConverter]::ToUInt16($bytes, $header + 4) -eq $machines[$native]) "$($file.Name) is made for $native"
    }
})
