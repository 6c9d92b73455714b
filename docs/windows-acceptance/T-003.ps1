# SPDX-License-Identifier: MIT OR Apache-2.0
<#
T-003, REG-18, REG-19: install by an ordinary user fails and leaves nothing behind

Never run on real Windows.

Run:
  .\T-003.ps1
Needs:
  one host
Precondition:
  Windows Server; administrator, to make an ordinary user and to look afterwards.
Steps:
  1. uninstall, if it is installed
  2. make a local user who is no administrator
  3. as that user: shadowlun-provider install
Expected output and outcome, which the script checks (texts between slashes are regular expressions):
  - exit code 1
  - the output names the refusal /(?i)80070005|administrator/ and a remedy /What to do/
  - no entry in VSS; no COM key, service or event source
Clean-up:
  deletes the user; installs the provider again if it was installed.
Exit code: 0 passed, 1 failed, 77 skipped; the reason is in the line RESULT.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'Common.psm1') -Force

exit (Invoke-Case 'T-003' {
    $installed = @(Get-ProviderEntry).Count -ne 0
    if ($installed) { Assert-Equal (Invoke-Provider @('uninstall')).ExitCode 0 'exit code of uninstall' }
    $folder = New-WorkFolder 'T-003'
    $name = 'shadowlun-test'
    $password = ConvertTo-SecureString ('Aa1!{0}' -f [guid]::NewGuid()) -AsPlainText -Force
    $null = New-LocalUser -Name $name -Password $password -Description 'Acceptance test T-003'
    try {
        # The group Users, whatever its name in this language.
        Add-LocalGroupMember -SID 'S-1-5-32-545' -Member $name
        $credential = New-Object System.Management.Automation.PSCredential ".\$name", $password
        $out = Join-Path $folder 'out.txt'
        $errors = Join-Path $folder 'errors.txt'
        $process = Start-Process -FilePath (Get-Setting 'Provider') -ArgumentList 'install' -Credential $credential `
            -WorkingDirectory "$env:SystemDrive\" -RedirectStandardOutput $out -RedirectStandardError $errors -PassThru
        # Without a look at the handle the exit code is lost.
        $null = $process.Handle
        if (-not $process.WaitForExit(120000)) { throw 'install did not end within 120 s' }
        $text = (Get-Content -LiteralPath $out, $errors) -join "`n"
        Write-Host $text

        Assert-Equal $process.ExitCode 1 'exit code of install'
        Assert-Output $text ([ordered]@{ 'refusal' = '(?i)80070005|administrator'; 'remedy' = 'What to do' })
        Assert-Equal @(Get-ProviderEntry).Count 0 'entries in VSS'
        Assert-Equal @(Get-ProviderTraces).Count 0 'keys left behind'
    }
    finally {
        Remove-LocalUser -Name $name
        if ($installed) { $null = Invoke-Provider @('install') }
    }
})
