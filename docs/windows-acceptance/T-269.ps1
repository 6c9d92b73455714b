# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-269, IMP-5: a second import of an imported set fails and harms nothing

Never run on real Windows.

Run:
  .\T-269.ps1 -Volume S: -OtherHost backup -OtherArrayHost backup
Needs:
  two hosts
Precondition:
  As T-268.
Steps:
  1. here: vshadow -p -t=FILE VOLUME
  2. there: vshadow -i=FILE, twice; read the file; vshadow -dx=SET
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - the second import fails: exit code other than 0; its HRESULT is recorded (open question OQ-18)
  - the LUN is still there, mapped to that host, its file readable
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

exit (Invoke-Case 'T-269' {
    if ($OtherHost -eq '' -or $OtherArrayHost -eq '') { Skip-Case 'no -OtherHost and -OtherArrayHost were given: the case needs two hosts' }
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-269'
    $before = Get-ArrayState
    $hash = Write-TestFile "$Volume\acceptance.bin"
    $xml = Join-Path $folder 'set.xml'
    $set = New-PersistentSet $folder @("-t=$xml") @($Volume)
    $session = New-PSSession -ComputerName $OtherHost
    try {
        Copy-ToOther $session $xml
        Assert-Equal (Invoke-RemoteVShadow $session @("-i=$xml")).ExitCode 0 'exit code of the first vshadow -i'
        $second = Invoke-RemoteVShadow $session @("-i=$xml")
        Write-Observation 'OQ-18' "second import: exit code $($second.ExitCode), HRESULT $(Get-Hresult $second.Text)"
        try {
            Assert-True ($second.ExitCode -ne 0) 'the second import fails'
            Assert-Equal ((Get-LunHosts @(Get-SetCopies $set.SetId)[0]) -join ' ') $OtherArrayHost 'hosts that see the copy'
            $copy = @(Read-ShadowCopies (Invoke-RemoteVShadow $session @("-qx=$($set.SetId)")).Text)[0]
            Assert-Equal (Get-RemoteCopyHash $session $folder $copy.Device 'acceptance.bin') $hash 'SHA-256 of the file in the copy'
        }
        finally {
            $null = Invoke-RemoteVShadow $session @("-dx=$($set.SetId)")
        }
    }
    finally { Remove-PSSession $session }
    Assert-NoLeak $before
})
