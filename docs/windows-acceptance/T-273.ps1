# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-273, BRK-6, BRK-7: nothing deletes a LUN that was broken out of its set

Never run on real Windows.

Run:
  .\T-273.ps1 -Volume S: -Phase 1
Needs:
  a restart
Precondition:
  The provider is ready; an NTFS volume on the array.
Steps:
  1. phase 1: vshadow -p -t=FILE, -i=FILE, -b=SET (plain break), then vshadow -dx=SET, then the VSS service is
     stopped; restart Windows
  2. phase 2: a look at the array
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - /Break done/
  - after vshadow -dx=SET (whatever it answers), after the stop of VSS and after the restart the LUN is there
Clean-up:
  phase 2 deletes the LUN.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume,
    [Parameter(Mandatory = $true)][ValidateSet(1, 2)][int]$Phase
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-273' {
    Assert-ProviderReady
    if ($Phase -eq 1) {
        $folder = New-WorkFolder 'T-273'
        $before = Get-ArrayState
        $set = New-ImportedSet $folder @($Volume)
        $name = @(Get-SetCopies $set.SetId)[0].name
        $done = Invoke-VShadow @("-b=$($set.SetId)")
        Assert-Equal $done.ExitCode 0 'exit code of vshadow -b'
        Assert-Output $done.Text ([ordered]@{ 'break' = 'Break done' })
        $done = Invoke-VShadow @("-dx=$($set.SetId)")
        Write-Observation 'OQ-23' "deleting a broken set: exit code $($done.ExitCode), HRESULT $(Get-Hresult $done.Text)"
        Assert-Equal @(Get-ArrayLuns | Where-Object { $_.name -eq $name }).Count 1 'the LUN after the deletion of its set'
        Stop-Service -Name VSS -Force
        Start-Sleep -Seconds 10
        Assert-Equal @(Get-ArrayLuns | Where-Object { $_.name -eq $name }).Count 1 'the LUN after the stop of VSS'
        Save-Phase 'T-273' @{ Before = $before; Name = $name }
        Write-Host 'Restart Windows, then run phase 2.'
        return
    }
    $state = Restore-Phase 'T-273'
    Assert-Equal @(Get-ArrayLuns | Where-Object { $_.name -eq $state.Name }).Count 1 'the LUN after the restart'
    Remove-Lun $state.Name
    Assert-NoLeak $state.Before
    Remove-Phase 'T-273'
})
