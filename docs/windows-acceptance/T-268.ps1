# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-268, SEQ-25, IMP-7: a transportable set is made on this host, imported and deleted on another

Never run on real Windows.

Run:
  .\T-268.ps1 -Volume S: -OtherHost backup -OtherArrayHost backup
Needs:
  two hosts
Precondition:
  Both hosts have the provider, enrolled at the array, and vshadow in the same place; both are in one host group of
  the array; PowerShell remoting to the other works; an NTFS volume on the array.
Steps:
  1. here: vshadow -p -t=FILE VOLUME
  2. there: vshadow -i=FILE, vshadow -qx=SET, read the file, vshadow -dx=SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - here nothing surfaces: the copy is mapped to no host after creation, and never to this one
  - there /Shadow copy set succe/; one copy of our provider with the attribute Imported and the right contents; mapped
    to that host only
  - after the deletion the LUN is gone; no leak
Clean-up:
  deletes the set.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [string]$OtherHost = '',
    [string]$OtherArrayHost = ''
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-268' {
    if ($OtherHost -eq '' -or $OtherArrayHost -eq '') { Skip-Case 'no -OtherHost and -OtherArrayHost were given: the case needs two hosts' }
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-268'
    $before = Get-ArrayState
    $hash = Write-TestFile "$Volume\acceptance.bin"
    $xml = Join-Path $folder 'set.xml'
    $set = New-PersistentSet $folder @("-t=$xml") @($Volume)
    $luns = @(Get-SetCopies $set.SetId)
    Assert-Equal $luns.Count 1 'LUNs of the set on the array'
    Assert-Equal @(Get-LunHosts $luns[0]).Count 0 'hosts that see the copy before the import'
    Assert-True ($null -eq (Get-LunDisk $luns[0])) 'no disk of the copy surfaced on this host'

    $session = New-PSSession -ComputerName $OtherHost
    try {
        Copy-ToOther $session $xml
        $done = Invoke-RemoteVShadow $session @("-i=$xml")
        Assert-Equal $done.ExitCode 0 'exit code of vshadow -i'
        Assert-Output $done.Text ([ordered]@{ 'import' = 'Shadow copy set succe' })
        Assert-Equal ((Get-LunHosts @(Get-SetCopies $set.SetId)[0]) -join ' ') $OtherArrayHost 'hosts that see the copy'
        $copies = @(Read-ShadowCopies (Invoke-RemoteVShadow $session @("-qx=$($set.SetId)")).Text)
        Assert-Equal $copies.Count 1 'shadow copies on the other host'
        Assert-OurCopy $copies[0]
        Assert-True ($copies[0].Attributes -contains 'Imported') 'attribute Imported'
        Assert-Equal (Get-RemoteCopyHash $session $folder $copies[0].Device 'acceptance.bin') $hash 'SHA-256 of the file in the copy'
        Assert-True ($null -eq (Get-LunDisk $luns[0])) 'no disk of the copy surfaced on this host'
        $done = Invoke-RemoteVShadow $session @("-dx=$($set.SetId)")
        Assert-Equal $done.ExitCode 0 'exit code of vshadow -dx'
    }
    finally { Remove-PSSession $session }
    Assert-NoLeak $before
})
