# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-263, CTX-1, CTX-2, CTX-3, CTX-5: the contexts and options of a requester, by the decision table 6.4

Never run on real Windows.

Run:
  .\T-263.ps1 -Volume S:
Needs:
  one host
Precondition:
  The provider is ready; an NTFS volume on the array. The array makes differential copies and no plex copies.
Steps:
  1. vshadow with -p -nw, -nw, -nar, -tr, -ad: a set each
  2. vshadow with -ap, and with -ad -ap
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - the first five: a copy of our provider with the attributes that belong to the option (No_Writers, Persistent,
    Differential)
  - -ap and -ad -ap: our provider makes no copy: vshadow fails, with /HRESULT = 0x8004230[ce]|0x8004231b/, or another
    provider makes it; nothing is made on the array
Clean-up:
  deletes the sets.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z]:$')][string]$Volume
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-263' {
    Assert-ProviderReady
    $folder = New-WorkFolder 'T-263'
    $before = Get-ArrayState
    Write-Host '--- -p -nw'
    $set = New-PersistentSet $folder @('-nw') @($Volume)
    $copy = @(Get-ShadowCopies $set.SetId)[0]
    Assert-OurCopy $copy
    foreach ($attribute in 'Persistent', 'No_Auto_Release', 'No_Writers') {
        Assert-True ($copy.Attributes -contains $attribute) "attribute $attribute"
    }
    Remove-ShadowSet $set.SetId
    Assert-NoLeak $before

    $options = [ordered]@{ '-nw' = @('No_Writers'); '-nar' = @(); '-tr' = @(); '-ad' = @('Differential') }
    foreach ($option in $options.Keys) {
        Write-Host "--- $option"
        Test-VolatileCopy $folder $Volume @($option) $options[$option]
    }

    foreach ($refused in @('-ap'), @('-ad', '-ap')) {
        Write-Host "--- $refused"
        $done = Invoke-VShadow ($refused + @($Volume))
        Assert-True ($done.Text -notmatch [regex]::Escape($ProviderId)) 'our provider made no copy'
        if ($done.ExitCode -ne 0) {
            Assert-Output (Get-Hresult $done.Text) ([ordered]@{ 'refusal' = '^(0x8004230c|0x8004230e|0x8004231b)$' })
        }
        Assert-NoLeak $before
    }
})
