# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-255, SEQ-36, SEQ-40: power off between the flags on the originals and the release of writes

Never run on real Windows.

Run:
  .\T-255.ps1 -Volume S: -Phase 1 -PowerOff 'ssh root@hypervisor virsh destroy winhost'
Needs:
  iptables on the array; a way to cut the power; a restart
Precondition:
  The provider is ready; a volume on the array; this host is a virtual machine or has a remote power switch.
Steps:
  1. phase 1: vshadow VOLUME; when the array shows its set as armed, the management interface is cut for 20 s, and the
     command -PowerOff takes this host's power away (for example ssh HYPERVISOR virsh destroy VM)
  2. start the host
  3. phase 2
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - the volume is writable, has its letter and no flag hidden, read-only or shadow copy
  - after the next set of the provider no orphan and no LUN of the lost set is on the array
Clean-up:
  deletes what phase 1 kept.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [Parameter(Mandatory = $true)][ValidateSet(1, 2)][int]$Phase,
    [string]$PowerOff = ''
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-255' {
    if ($Phase -eq 1) {
        if ($PowerOff -eq '') { Skip-Case 'no -PowerOff command was given' }
        Assert-ProviderReady
        $hash = Write-TestFile "$Volume\acceptance.bin"
        Save-Phase 'T-255' @{ Before = (Get-ArrayState); Hash = $hash }
        $null = Start-TrappedSet 'armed' (Get-CutCommand 'DROP' 20) @($Volume)
        $null = Invoke-Tool $env:ComSpec @('/d', '/c', $PowerOff) 60
        Start-Sleep -Seconds 30
        throw 'this host still has power'
    }
    $state = Restore-Phase 'T-255'
    Assert-ProviderReady
    $partition = Get-Partition -DriveLetter $Volume.Substring(0, 1)
    foreach ($flag in 'IsHidden', 'IsReadOnly', 'IsShadowCopy', 'NoDefaultDriveLetter') {
        Assert-True (-not $partition.$flag) "the original is not marked $flag"
    }
    Assert-Equal (Get-FileHash -LiteralPath "$Volume\acceptance.bin").Hash $state.Hash 'SHA-256 of the file on the original'
    $null = Write-TestFile "$Volume\acceptance-after.bin"
    # The next set discards what the lost one left.
    $held = Start-HeldSet (New-WorkFolder 'T-255') @() @($Volume)
    $null = Stop-HeldSet $held
    Assert-NoLeak $state.Before
    Remove-Phase 'T-255'
})
