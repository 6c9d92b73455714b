# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-285, CLU-1, CLU-3: a disk of a failover cluster

Never run on real Windows.

Run:
  .\T-285.ps1 -Volume S: -OtherHost backup -OtherArrayHost backup
Needs:
  a failover cluster, a host outside it
Precondition:
  This host is a node and owns the cluster disk of the volume (no CSV); every node has the provider; -OtherHost is
  outside the cluster and in the same host group of the array.
Steps:
  1. vshadow VOLUME (auto-import)
  2. vshadow -p -t=FILE VOLUME here; vshadow -i=FILE, -dx=SET on the host outside
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - whether VSS refuses the auto-import is recorded, with its HRESULT (open question OQ-25); if it works, the copy is
    mapped to this node only
  - the transported set is imported outside; never mapped to a node; no leak
Clean-up:
  deletes the sets.
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

exit (Invoke-Case 'T-285' {
    if ($null -eq (Get-Service -Name ClusSvc -ErrorAction SilentlyContinue)) { Skip-Case 'this host is no cluster node' }
    if ($OtherHost -eq '' -or $OtherArrayHost -eq '') { Skip-Case 'no -OtherHost and -OtherArrayHost were given: the case needs two hosts' }
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-285'
    $before = Get-ArrayState
    $held = $null
    try {
        $held = Start-HeldSet $folder @() @($Volume)
        Write-Observation 'OQ-25' 'auto-import on a cluster node works'
        Assert-Equal ((Get-LunHosts @(Get-SetCopies $held.SetId)[0]) -join ' ') (Get-Setting 'ArrayHost') 'hosts that see the copy'
    }
    catch [System.Management.Automation.RuntimeException] {
        if ($_.Exception.Message -notlike 'vshadow made no shadow copy*') { throw }
        Write-Observation 'OQ-25' "auto-import on a cluster node: $($_.Exception.Message)"
    }
    finally {
        if ($null -ne $held) { $null = Stop-HeldSet $held }
    }
    Assert-NoLeak $before

    $xml = Join-Path $folder 'set.xml'
    $set = New-PersistentSet $folder @("-t=$xml") @($Volume)
    $session = New-PSSession -ComputerName $OtherHost
    try {
        Copy-ToOther $session $xml
        $done = Invoke-RemoteVShadow $session @("-i=$xml")
        Assert-Equal $done.ExitCode 0 'exit code of vshadow -i outside the cluster'
        Assert-Equal ((Get-LunHosts @(Get-SetCopies $set.SetId)[0]) -join ' ') $OtherArrayHost 'hosts that see the copy'
        Assert-Equal (Invoke-RemoteVShadow $session @("-dx=$($set.SetId)")).ExitCode 0 'exit code of vshadow -dx'
    }
    finally { Remove-PSSession $session }
    Assert-NoLeak $before
})
