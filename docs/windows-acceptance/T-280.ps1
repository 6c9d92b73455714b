# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-280, SEQ-32c, SEQ-32g: a writer fails at freeze, or at thaw

Never run on real Windows.

Run:
  .\T-280.ps1 -Volume S:
Needs:
  vswriter.exe of the Windows SDK
Precondition:
  The provider is ready; an NTFS volume on the array; vswriter.exe (the VSS Test Writer) is in SdkTools.
Steps:
  1. for Freeze and for Thaw: the Test Writer, told to fail at this event; vshadow VOLUME
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - vshadow fails: exit code other than 0
  - no leak: AbortSnapshots, or the deletion of what had been made, left nothing; the provider's events are recorded
    (101 is an abort)
  - afterwards a shadow copy is possible
  - a freeze window that runs out, the other half of SEQ-32g, is T-281
Clean-up:
  ends the Test Writer.
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

exit (Invoke-Case 'T-280' {
    Assert-ProviderReady
    $vswriter = Get-SdkTool 'vswriter.exe'
    $folder = New-WorkFolder 'T-280'
    $before = Get-ArrayState
    $data = "$Volume\acceptance-writer"
    $null = New-Item -ItemType Directory -Path $data -Force
    $null = Write-TestFile "$data\file.bin"
    foreach ($failing in 'Freeze', 'Thaw') {
        Write-Host "--- the writer fails at $failing"
        $config = Join-Path $folder "writer-$failing.xml"
        $lines = @(
            '<TestWriter usage="USER_DATA">'
            '    <RestoreMethod method="RESTORE_IF_CAN_BE_REPLACED" writerRestore="always" rebootRequired="no" />'
            '    <Component componentType="filegroup" componentName="AcceptanceFiles">'
            "        <ComponentFile path=`"$data`" filespec=`"*`" recursive=`"no`" />"
            '    </Component>'
            "    <FailEvent writerEvent=`"$failing`" retryable=`"no`" />"
            '</TestWriter>'
        )
        Set-Content -LiteralPath $config -Value $lines -Encoding Ascii
        $since = Get-Date
        $writer = Start-Tool $vswriter @($config)
        try {
            Start-Sleep -Seconds 15
            if ($writer.Process.HasExited) { throw "the Test Writer ended: $((Wait-Tool $writer).Text)" }
            $done = Invoke-VShadow @($Volume)
        }
        finally {
            if (-not $writer.Process.HasExited) { $writer.Process.Kill() }
            $null = Wait-Tool $writer
        }
        Assert-True ($done.ExitCode -ne 0) 'vshadow fails'
        $ids = (@(Get-ProviderEvents $since | ForEach-Object { $_.Id }) -join ' ')
        Write-Observation 'OQ-5' "failure at ${failing}: HRESULT $(Get-Hresult $done.Text), events of the provider: $ids"
        Assert-NoLeak $before
    }
    Test-VolatileCopy $folder $Volume
})
