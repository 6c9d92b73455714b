# SPDX-License-Identifier: MIT OR Apache-2.0
# What the acceptance scripts share: running tools, asking Windows and the array, assertions, test disks.
# Written for Windows PowerShell 5.1. Never run on real Windows.
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

# The provider's names (crates/vss_provider_server/src/ids.rs).
$ProviderId = '{28ea8399-c98f-4f97-b0d1-6b3d187c8045}'
$ClassId = '{2c7f1ed9-9c5e-439a-8d23-55efdae102c3}'
$AppId = '{5825446a-6af0-4fdd-84b6-11b2d2254718}'
$ProviderName = 'Shadowlun VSS Hardware Provider'
$ProviderService = 'ShadowlunProvider'
$EventSource = 'Shadowlun'
$SystemProviderId = '{b5946137-7b9f-4925-af80-51abd60b20d5}'
$GuidPattern = '\{[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\}'

# --- Settings -------------------------------------------------------------------------------------------------------

$script:Settings = $null

# The values of settings.psd1 (settings.example.psd1 explains them).
function Get-Settings {
    if ($null -eq $script:Settings) {
        $file = Join-Path $PSScriptRoot 'settings.psd1'
        if (-not (Test-Path -LiteralPath $file)) {
            throw "$file is missing: copy settings.example.psd1 to settings.psd1 and fill it in"
        }
        $script:Settings = Import-PowerShellDataFile -LiteralPath $file
    }
    return $script:Settings
}

function Get-Setting([string]$Name) {
    $settings = Get-Settings
    if (-not $settings.ContainsKey($Name)) { throw "settings.psd1 has no $Name (see settings.example.psd1)" }
    return $settings[$Name]
}

# Full path of a program of the Windows SDK (vshadow.exe, vswriter.exe, vsstrace.exe); skips the case where it is missing.
function Get-SdkTool([string]$Name) {
    $path = Join-Path (Get-Setting 'SdkTools') $Name
    if (-not (Test-Path -LiteralPath $path)) { Skip-Case "$path is missing: install the Windows SDK, set SdkTools in settings.psd1" }
    return $path
}

# A new empty folder of this run, without blanks in its name and on no volume under test.
function New-WorkFolder([string]$Case) {
    $folder = Join-Path (Get-Setting 'WorkFolder') ('{0}-{1:yyyyMMddHHmmss}' -f $Case, (Get-Date))
    $null = New-Item -ItemType Directory -Path $folder -Force
    return $folder
}

# How the message of an error begins that skips the case.
$SkipMark = 'SKIP: '

# --- Verdicts -------------------------------------------------------------------------------------------------------

# Runs the body of a case and returns its exit code: 0 passed, 1 failed, 77 skipped. The body's last word is printed as
# "RESULT T-nnn PASS|FAIL|SKIP reason", which run-all.ps1 reads. Use: exit (Invoke-Case 'T-nnn' { ... })
function Invoke-Case([string]$Case, [scriptblock]$Body) {
    try {
        & $Body | Out-Host
        Write-Host "RESULT $Case PASS"
        return 0
    }
    catch {
        if ($_.Exception.Message -like "$SkipMark*") {
            Write-Host "RESULT $Case SKIP $($_.Exception.Message.Substring($SkipMark.Length))"
            return 77
        }
        Write-Host $_.ScriptStackTrace
        Write-Host "RESULT $Case FAIL $($_.Exception.Message)"
        return 1
    }
}

# Ends the case as skipped.
function Skip-Case([string]$Reason) {
    throw "$SkipMark$Reason"
}

# Records what Windows did where the documents leave it open; names the open question.
function Write-Observation([string]$Question, [string]$Text) {
    Write-Host "OBSERVED ${Question}: $Text"
}

function Assert-True([bool]$Condition, [string]$What) {
    if (-not $Condition) { throw "expected: $What" }
    Write-Host "ok   $What"
}

function Assert-Equal($Actual, $Expected, [string]$What) {
    if ("$Actual" -ne "$Expected") { throw "expected ${What}: '$Expected', found '$Actual'" }
    Write-Host "ok   ${What}: $Actual"
}

# Every regular expression of the list has to match the text. -Expected: ordered table of what => expression.
function Assert-Output([string]$Text, [System.Collections.IDictionary]$Expected) {
    foreach ($what in $Expected.Keys) {
        if ($Text -notmatch $Expected[$what]) { throw "expected in the output: $what (/$($Expected[$what])/), found:`n$Text" }
        Write-Host "ok   output: $what"
    }
}

# Waits until the condition is true; fails after the time.
function Wait-Until([scriptblock]$Condition, [int]$TimeoutSeconds, [string]$What) {
    $end = (Get-Date).AddSeconds($TimeoutSeconds)
    while (-not (& $Condition)) {
        if ((Get-Date) -gt $end) { throw "expected within $TimeoutSeconds s: $What" }
        Start-Sleep -Seconds 1
    }
    Write-Host "ok   $What"
}

# --- Running tools --------------------------------------------------------------------------------------------------

# Quotes arguments in the way that C programs take a command line apart.
function ConvertTo-CommandLine([string[]]$Arguments) {
    $quoted = foreach ($argument in $Arguments) {
        if ($argument -ne '' -and $argument -notmatch '[\s"]') { $argument }
        else { '"' + (($argument -replace '(\\*)"', '$1$1\"') -replace '(\\+)$', '$1$1') + '"' }
    }
    return ($quoted -join ' ')
}

# Starts a program with its output captured; -InputText is fed to it and its standard input closed.
function Start-Tool([string]$FilePath, [string[]]$Arguments = @(), [string]$InputText = '', [switch]$Quiet) {
    $start = New-Object System.Diagnostics.ProcessStartInfo
    $start.FileName = $FilePath
    $start.Arguments = ConvertTo-CommandLine $Arguments
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    if (-not $Quiet) { Write-Host "> $FilePath $($start.Arguments)" }
    $process = [System.Diagnostics.Process]::Start($start)
    $output = $process.StandardOutput.ReadToEndAsync()
    $errors = $process.StandardError.ReadToEndAsync()
    # Bytes, because the stream writer may put a byte order mark in front.
    $bytes = [System.Text.Encoding]::UTF8.GetBytes($InputText)
    try {
        if ($bytes.Length -gt 0) { $process.StandardInput.BaseStream.Write($bytes, 0, $bytes.Length) }
        $process.StandardInput.BaseStream.Close()
    }
    catch [System.IO.IOException] {
        Write-Host "($FilePath ended before it had read its input)"
    }
    return [pscustomobject]@{
        Process = $process; Output = $output; Errors = $errors; Quiet = [bool]$Quiet; Name = (Split-Path -Leaf $FilePath)
    }
}

# Waits for a program of Start-Tool. The answer has ExitCode, Output, and Text (Output, then what went to standard error).
function Wait-Tool($Tool, [int]$TimeoutSeconds = 600) {
    if (-not $Tool.Process.WaitForExit($TimeoutSeconds * 1000)) {
        $Tool.Process.Kill()
        throw "$($Tool.Name) did not end within $TimeoutSeconds s"
    }
    $Tool.Process.WaitForExit()
    $text = $Tool.Output.Result + $Tool.Errors.Result
    if (-not $Tool.Quiet) { Write-Host $text }
    return [pscustomobject]@{ ExitCode = $Tool.Process.ExitCode; Output = $Tool.Output.Result; Text = $text }
}

# Runs a program to its end.
function Invoke-Tool([string]$FilePath, [string[]]$Arguments = @(), [int]$TimeoutSeconds = 600, [string]$InputText = '') {
    return Wait-Tool (Start-Tool $FilePath $Arguments $InputText) $TimeoutSeconds
}

function Invoke-VShadow([string[]]$Arguments, [int]$TimeoutSeconds = 600) {
    return Invoke-Tool (Get-SdkTool 'vshadow.exe') $Arguments $TimeoutSeconds
}

# Runs a diskshadow script; its lines go to a file without a byte order mark.
function Invoke-DiskShadow([string]$Folder, [string[]]$Lines, [int]$TimeoutSeconds = 600) {
    $file = Join-Path $Folder ('{0}.dsh' -f [guid]::NewGuid())
    [System.IO.File]::WriteAllLines($file, $Lines, (New-Object System.Text.ASCIIEncoding))
    $Lines | ForEach-Object { Write-Host "  diskshadow: $_" }
    return Invoke-Tool (Join-Path $env:SystemRoot 'System32\diskshadow.exe') @('/s', $file) $TimeoutSeconds
}

# Runs a diskpart script.
function Invoke-DiskPart([string]$Folder, [string[]]$Lines) {
    $file = Join-Path $Folder ('{0}.txt' -f [guid]::NewGuid())
    [System.IO.File]::WriteAllLines($file, $Lines, (New-Object System.Text.ASCIIEncoding))
    $done = Invoke-Tool (Join-Path $env:SystemRoot 'System32\diskpart.exe') @('/s', $file) 300
    if ($done.ExitCode -ne 0) { throw "diskpart failed with $($done.ExitCode)" }
}

function Invoke-Provider([string[]]$Arguments, [int]$TimeoutSeconds = 120) {
    return Invoke-Tool (Get-Setting 'Provider') $Arguments $TimeoutSeconds
}

# The HRESULT that vshadow printed, in lower case ('0x80042306'), or '' when it printed none.
function Get-Hresult([string]$Text) {
    $found = [regex]::Matches($Text, 'HRESULT = (0x[0-9a-fA-F]{8})')
    if ($found.Count -eq 0) { return '' }
    return $found[$found.Count - 1].Groups[1].Value.ToLowerInvariant()
}

# --- Provider and events --------------------------------------------------------------------------------------------

# The provider's entries among those registered with VSS, as WMI shows them: ID, CLSID, Name, Type, Version, VersionID.
function Get-ProviderEntry {
    return @(Get-CimInstance -ClassName Win32_ShadowProvider | Where-Object { $_.ID -eq $ProviderId })
}

# What 'install' writes and 'uninstall' removes: the list of what is there.
function Get-ProviderTraces {
    $keys = @(
        "HKLM:\Software\Classes\CLSID\$ClassId"
        "HKLM:\Software\Classes\AppID\$AppId"
        'HKLM:\Software\Classes\AppID\shadowlun-provider.exe'
        "HKLM:\SYSTEM\CurrentControlSet\Services\EventLog\Application\$EventSource"
        "HKLM:\SYSTEM\CurrentControlSet\Services\$ProviderService"
    )
    return @($keys | Where-Object { Test-Path -LiteralPath $_ })
}

# Skips the case unless the provider is installed, enrolled and reaches its array.
function Assert-ProviderReady {
    $status = Invoke-Provider @('status', '--json')
    if ($status.ExitCode -ne 0) { Skip-Case "the provider is not in order: run 'shadowlun-provider status'" }
}

function Get-Events([string]$Source, [datetime]$Since) {
    try {
        return @(Get-WinEvent -FilterHashtable @{ LogName = 'Application'; ProviderName = $Source; StartTime = $Since })
    }
    catch {
        # An empty log is told as an error.
        if ($_.FullyQualifiedErrorId -like 'NoMatchingEventsFound*') { return @() }
        throw
    }
}

# The provider's events since then (ids: crates/vss_provider/src/events.rs).
function Get-ProviderEvents([datetime]$Since) {
    return @(Get-Events $EventSource $Since)
}

# One event of severity error with a cause and a remedy is there (ERR-3, LOG-4).
function Assert-ErrorEvent([datetime]$Since) {
    Wait-Until { @(Get-ProviderEvents $Since | Where-Object { $_.Level -eq 2 }).Count -ge 1 } 60 'the provider wrote an error event'
    $entry = @(Get-ProviderEvents $Since | Where-Object { $_.Level -eq 2 })[0]
    Write-Host $entry.Message
    Assert-Output $entry.Message ([ordered]@{ 'cause' = 'Cause: .'; 'remedy' = 'What to do: .' })
}

# --- The array ------------------------------------------------------------------------------------------------------

# Runs a script of the POSIX shell on the array, through ssh.
function Invoke-ArrayShell([string]$Script, [int]$TimeoutSeconds = 120) {
    $done = Wait-Tool (Start-ArrayShell $Script) $TimeoutSeconds
    if ($done.ExitCode -ne 0) { throw "the array's command failed with $($done.ExitCode): $Script`n$($done.Text)" }
    return $done.Output
}

function Start-ArrayShell([string]$Script) {
    $arguments = @('-o', 'BatchMode=yes', (Get-Setting 'Array'), 'sh -s')
    return Start-Tool (Get-Setting 'Ssh') $arguments (($Script -replace "`r`n", "`n") + "`n") -Quiet
}

# Asks 'shadowlun --json'; the answer's objects, one by one.
function Invoke-Shadowlun([string]$Command) {
    $text = Invoke-ArrayShell "$(Get-Setting 'Shadowlun') --json $Command"
    $answer = ConvertFrom-Json $text
    foreach ($item in $answer) { $item }
}

function Get-ArrayLuns { return @(Invoke-Shadowlun 'lun list') }

# LUNs that are shadow copies.
function Get-ArrayCopies { return @(Get-ArrayLuns | Where-Object { $null -ne $_.copy }) }

# Ids of all LUNs, sorted: equal before and after a case means "no leak".
function Get-ArrayState { return ((@(Get-ArrayLuns | ForEach-Object { $_.id }) | Sort-Object) -join ' ') }

# Waits until the array holds the same LUNs as before: deletion may go on after the requester has ended.
function Assert-NoLeak([string]$Before, [int]$TimeoutSeconds = 300) {
    Wait-Until { (Get-ArrayState) -eq $Before } $TimeoutSeconds 'the array holds the same LUNs as before (no leak)'
    Assert-Equal (@(Invoke-Shadowlun 'orphans').Count) 0 'orphans on the array'
}

# The copies of a set; the id as vshadow prints it, with braces.
function Get-SetCopies([string]$SetId) {
    $id = $SetId.Trim('{', '}').ToLowerInvariant()
    return @(Get-ArrayCopies | Where-Object { $_.copy.set -eq $id })
}

# Names of the hosts that a LUN is mapped to.
function Get-LunHosts($Lun) {
    return @($Lun.map.PSObject.Properties | ForEach-Object { $_.Name })
}

# Runs shell commands on the array as soon as some set is in that phase (preparing, armed, committing, captured); looks
# every few milliseconds, gives up after some minutes with exit code 9. Answers a tool for Wait-Tool.
function Start-ArrayTrap([string]$Phase, [string]$Action) {
    $shadowlun = Get-Setting 'Shadowlun'
    return Start-ArrayShell @"
round=0
while [ `$round -lt 6000 ]; do
    if $shadowlun --json set list | grep -q '"phase": "$Phase"'; then
        $Action
        exit 0
    fi
    round=`$((round + 1))
    sleep 0.01
done
exit 9
"@
}

# Shell commands that cut the provider's way to the management interface for some seconds, and the way only: iSCSI goes on.
# DROP makes calls hang, 'REJECT --reject-with tcp-reset' makes them fail at once. Goes on in the background.
function Get-CutCommand([string]$Target, [int]$Seconds) {
    $rule = "INPUT -p tcp --dport $(Get-Setting 'ApiPort') -j $Target"
    return "iptables -I $rule; (sleep $Seconds; iptables -D $rule) </dev/null >/dev/null 2>&1 &"
}

# Starts vshadow and waits until its set is in that phase on the array, where the action was then run. Answers vshadow, still
# running, for Wait-Tool. Skips the case when the phase was over before it was seen: then nothing was tested.
function Start-TrappedSet([string]$Phase, [string]$Action, [string[]]$Arguments) {
    $trap = Start-ArrayTrap $Phase $Action
    $tool = Start-Tool (Get-SdkTool 'vshadow.exe') $Arguments
    $caught = Wait-Tool $trap 300
    if ($caught.ExitCode -ne 0) {
        if (-not $tool.Process.HasExited) { $tool.Process.Kill() }
        Skip-Case "the array never showed the set as ${Phase}: $($caught.Text)"
    }
    return $tool
}

# --- Shadow copies --------------------------------------------------------------------------------------------------

# What 'vshadow -qx' tells of a set, or 'vshadow -q' of all sets: Id, SetId, Volume, Device, ProviderId, Attributes.
function Get-ShadowCopies([string]$SetId = '') {
    $arguments = if ($SetId -eq '') { @('-q') } else { @("-qx=$SetId") }
    return Read-ShadowCopies (Invoke-VShadow $arguments).Text
}

# The same of a text that vshadow printed.
function Read-ShadowCopies([string]$Text) {
    $field = { param($block, $pattern) if ($block -match $pattern) { $Matches[1].Trim() } else { '' } }
    foreach ($block in ($Text -split '\* SNAPSHOT ID = ' | Select-Object -Skip 1)) {
        [pscustomobject]@{
            Id = & $field $block "^($GuidPattern)"
            SetId = & $field $block "Shadow copy Set: ($GuidPattern)"
            Volume = & $field $block 'Original Volume name: (\S+)'
            Device = & $field $block 'Shadow copy device name: (\S+)'
            ProviderId = & $field $block "Provider id: ($GuidPattern)"
            Attributes = @((& $field $block 'Attributes: ([^\r\n]*)') -split '\s+')
        }
    }
}

# Set id and shadow ids of a -script file of vshadow. Its documentation and its source name the variables differently.
function Read-SetVariables([string]$File) {
    $text = Get-Content -LiteralPath $File -Raw
    $values = { param($name) [regex]::Matches($text, "(?im)^SET V?SHADOW_$name=(\S+)") | ForEach-Object { $_.Groups[1].Value } }
    return [pscustomobject]@{
        SetId = @(& $values 'SET_ID')[0]
        Ids = @(& $values 'ID_\d+')
        Devices = @(& $values 'DEVICE_\d+')
    }
}

# Makes a set with vshadow that stays for longer than the command (-p). Adds SetId, Ids and Devices to the answer.
function New-PersistentSet([string]$Folder, [string[]]$Options, [string[]]$Volumes) {
    $script = Join-Path $Folder ('{0}.cmd' -f [guid]::NewGuid())
    $done = Invoke-VShadow (@('-p', "-script=$script") + $Options + $Volumes)
    Assert-Equal $done.ExitCode 0 'exit code of vshadow'
    return Read-SetVariables $script
}

# Makes a nonpersistent set and keeps vshadow, and with it the set, until Stop-HeldSet.
function Start-HeldSet([string]$Folder, [string[]]$Options, [string[]]$Volumes, [int]$TimeoutSeconds = 600) {
    $name = [guid]::NewGuid()
    $hold = Join-Path $Folder "$name-hold.cmd"
    $ready = Join-Path $Folder "$name-ready"
    $go = Join-Path $Folder "$name-go"
    $script = Join-Path $Folder "$name-set.cmd"
    [string[]]$lines = @('@echo off', "echo ready> $ready", ':again', "if exist $go exit /b 0", 'ping -n 2 127.0.0.1 >nul', 'goto again')
    [System.IO.File]::WriteAllLines($hold, $lines, (New-Object System.Text.ASCIIEncoding))
    $tool = Start-Tool (Get-SdkTool 'vshadow.exe') ($Options + @("-script=$script", "-exec=$hold") + $Volumes)
    $end = (Get-Date).AddSeconds($TimeoutSeconds)
    while (-not (Test-Path -LiteralPath $ready)) {
        if ($tool.Process.HasExited) {
            $done = Wait-Tool $tool 60
            throw "vshadow made no shadow copy: exit code $($done.ExitCode), $(Get-Hresult $done.Text)"
        }
        if ((Get-Date) -gt $end) { $tool.Process.Kill(); throw "vshadow made no shadow copy within $TimeoutSeconds s" }
        Start-Sleep -Milliseconds 200
    }
    $set = Read-SetVariables $script
    return [pscustomobject]@{ Tool = $tool; Go = $go; SetId = $set.SetId; Ids = $set.Ids; Devices = $set.Devices }
}

# Lets the vshadow of Start-HeldSet end; answers what it printed.
function Stop-HeldSet($Held, [int]$TimeoutSeconds = 600) {
    $null = New-Item -ItemType File -Path $Held.Go -Force
    return Wait-Tool $Held.Tool $TimeoutSeconds
}

# Makes a persistent transportable set and imports it here. Adds Xml, the Backup Components Document, to the answer.
function New-ImportedSet([string]$Folder, [string[]]$Volumes) {
    $xml = Join-Path $Folder ('{0}.xml' -f [guid]::NewGuid())
    $set = New-PersistentSet $Folder @("-t=$xml") $Volumes
    $done = Invoke-VShadow @("-i=$xml")
    Assert-Equal $done.ExitCode 0 'exit code of vshadow -i'
    Assert-Output $done.Text ([ordered]@{ 'import' = 'Shadow copy set succe' })
    return [pscustomobject]@{ SetId = $set.SetId; Ids = $set.Ids; Xml = $xml }
}

# A nonpersistent set of one volume on our provider, from creation to the end of vshadow: readable, read-only, without a
# letter, gone afterwards. -NoFileSystem leaves out what needs one.
function Test-VolatileCopy([string]$Folder, [string]$Volume, [string[]]$Options = @(), [string[]]$Attributes = @(), [switch]$NoFileSystem) {
    $before = Get-ArrayState
    $hash = if ($NoFileSystem) { '' } else { Write-TestFile "$Volume\acceptance.bin" }
    $held = Start-HeldSet $Folder $Options @($Volume)
    try {
        $copies = @(Get-ShadowCopies $held.SetId)
        Assert-Equal $copies.Count 1 'shadow copies of the set'
        Assert-OurCopy $copies[0]
        foreach ($attribute in (@('Auto_Release') + $Attributes)) {
            Assert-True ($copies[0].Attributes -contains $attribute) "attribute $attribute"
        }
        $luns = @(Get-SetCopies $held.SetId)
        Assert-Equal $luns.Count 1 'LUNs of the set'
        Assert-Equal (Get-LunHosts $luns[0]) (Get-Setting 'ArrayHost') 'hosts that see the copy'
        $disk = Get-LunDisk $luns[0]
        $letters = @(Get-Partition -DiskNumber $disk.Number | Where-Object { "$($_.DriveLetter)" -match '[A-Z]' })
        Assert-Equal $letters.Count 0 'drive letters of the copy (hidden)'
        if (-not $NoFileSystem) {
            Assert-Equal (Get-CopyHash $Folder $copies[0].Device 'acceptance.bin') $hash 'SHA-256 of the file in the copy'
            Assert-True (-not (Test-CopyWritable $Folder $copies[0].Device)) 'the copy is read-only'
        }
    }
    finally {
        $done = Stop-HeldSet $held
    }
    Assert-Equal $done.ExitCode 0 'exit code of vshadow'
    Assert-Output $done.Text ([ordered]@{ 'set created' = 'Shadow copy set succe'; 'end' = 'Snapshot creation done' })
    Assert-NoLeak $before
}

# Deletes a set with vshadow.
function Remove-ShadowSet([string]$SetId) {
    $done = Invoke-VShadow @("-dx=$SetId")
    Assert-Equal $done.ExitCode 0 'exit code of vshadow -dx'
}

# Writes a file of random bytes; answers its SHA-256.
function Write-TestFile([string]$Path, [int]$Bytes = 1048576) {
    $data = New-Object byte[] $Bytes
    [System.Security.Cryptography.RandomNumberGenerator]::Create().GetBytes($data)
    [System.IO.File]::WriteAllBytes($Path, $data)
    return (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash
}

# SHA-256 of a file of a shadow copy device; cmd copies it out, because .NET does not take every device path.
function Get-CopyHash([string]$Folder, [string]$Device, [string]$File) {
    $target = Join-Path $Folder ('{0}.bin' -f [guid]::NewGuid())
    $source = $Device.TrimEnd('\') + '\' + $File
    $done = Invoke-Tool $env:ComSpec @('/d', '/c', 'copy', '/b', $source, $target) 300
    if ($done.ExitCode -ne 0) { throw "$source cannot be read" }
    return (Get-FileHash -LiteralPath $target -Algorithm SHA256).Hash
}

# Whether a file can be written on a shadow copy device.
function Test-CopyWritable([string]$Folder, [string]$Device) {
    $source = Join-Path $Folder 'probe.txt'
    Set-Content -LiteralPath $source -Value 'probe'
    $done = Invoke-Tool $env:ComSpec @('/d', '/c', 'copy', '/b', $source, ($Device.TrimEnd('\') + '\acceptance-probe.txt')) 60
    return ($done.ExitCode -eq 0)
}

# A copy made by us: our provider's id and the hardware attribute.
function Assert-OurCopy($Copy) {
    Assert-Equal $Copy.ProviderId.ToLowerInvariant() $ProviderId 'provider of the shadow copy'
    Assert-True ($Copy.Attributes -contains 'Hardware') 'attribute Hardware'
}

# --- Test disks -----------------------------------------------------------------------------------------------------

function Get-FreeLetter {
    $used = @([System.IO.DriveInfo]::GetDrives() | ForEach-Object { $_.Name.Substring(0, 1).ToUpperInvariant() })
    foreach ($code in 71..90) {
        $letter = [string][char]$code
        if ($used -notcontains $letter) { return $letter }
    }
    throw 'no drive letter is free'
}

# The Windows disk of a LUN, found by the serial number of page 80, or $null.
function Get-LunDisk($Lun) {
    $serial = $Lun.identity.serial
    return (Get-Disk | Where-Object { "$($_.SerialNumber)".Trim() -eq $serial } | Select-Object -First 1)
}

# Creates a LUN mapped to this host and waits for its disk. Answers Lun, Name, Number (of the disk).
function New-TestLun([string]$Size = '2GiB') {
    $name = 'acceptance-{0:yyyyMMddHHmmssfff}' -f (Get-Date)
    $lun = Invoke-Shadowlun "lun create $name $Size --host $(Get-Setting 'ArrayHost')"
    Wait-Until { Update-HostStorageCache; $null -ne (Get-LunDisk $lun) } 120 "the disk of LUN $name appeared"
    $disk = Get-LunDisk $lun
    # Whatever the SAN policy is.
    Set-Disk -Number $disk.Number -IsOffline $false
    Set-Disk -Number $disk.Number -IsReadOnly $false
    return [pscustomobject]@{ Lun = $lun; Name = $name; Number = $disk.Number }
}

# Puts one partition with a file system on the disk of a new LUN. Answers Lun, Name, Number, Volume ('G:').
function New-TestDisk([string]$Style = 'GPT', [string]$FileSystem = 'NTFS', [string]$Size = '2GiB') {
    $test = New-TestLun $Size
    $letter = Get-FreeLetter
    $null = Initialize-Disk -Number $test.Number -PartitionStyle $Style -PassThru
    $null = New-Partition -DiskNumber $test.Number -UseMaximumSize -DriveLetter $letter
    if ($FileSystem -ne 'RAW') {
        $null = Format-Volume -DriveLetter $letter -FileSystem $FileSystem -Confirm:$false
    }
    return [pscustomobject]@{ Lun = $test.Lun; Name = $test.Name; Number = $test.Number; Volume = "${letter}:" }
}

# Gives the largest partition of a disk a letter; answers 'G:'.
function Open-DiskVolume([int]$Number) {
    Set-Disk -Number $Number -IsOffline $false
    $partition = Get-Partition -DiskNumber $Number | Sort-Object -Property Size -Descending | Select-Object -First 1
    $letter = Get-FreeLetter
    Set-Partition -DiskNumber $Number -PartitionNumber $partition.PartitionNumber -NewDriveLetter $letter
    return "${letter}:"
}

# Signature (MBR) or GUID (GPT) of a disk.
function Get-DiskIdentity([int]$Number) {
    $disk = Get-Disk -Number $Number
    return "$($disk.Signature)$($disk.Guid)"
}

# Takes a LUN away from this host and deletes it: a test disk, or a copy that was broken out of its set.
function Remove-Lun([string]$Name) {
    $lun = Get-ArrayLuns | Where-Object { $_.name -eq $Name } | Select-Object -First 1
    if ($null -eq $lun) { return }
    $disk = Get-LunDisk $lun
    if ($null -ne $disk) { Set-Disk -Number $disk.Number -IsOffline $true }
    foreach ($mapped in (Get-LunHosts $lun)) { $null = Invoke-Shadowlun "lun unmap $Name $mapped" }
    $null = Invoke-Shadowlun "lun delete $Name"
    Update-HostStorageCache
}

# --- Two phases and two hosts ---------------------------------------------------------------------------------------

function Get-PhaseFile([string]$Case) {
    return (Join-Path (Get-Setting 'WorkFolder') "$Case.phase.clixml")
}

# Keeps what phase 2, after a restart, has to know.
function Save-Phase([string]$Case, [System.Collections.IDictionary]$State) {
    $file = Get-PhaseFile $Case
    $null = New-Item -ItemType Directory -Path (Split-Path -Parent $file) -Force
    Export-Clixml -LiteralPath $file -InputObject ([hashtable]$State)
}

# Reads what phase 1 left, and fails when Windows was not restarted in between.
function Restore-Phase([string]$Case) {
    $file = Get-PhaseFile $Case
    if (-not (Test-Path -LiteralPath $file)) { throw "run phase 1 of $Case first" }
    $written = (Get-Item -LiteralPath $file).LastWriteTime
    if ((Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime -lt $written) {
        throw "restart Windows between phase 1 and phase 2 of $Case"
    }
    return Import-Clixml -LiteralPath $file
}

function Remove-Phase([string]$Case) { Remove-Item -LiteralPath (Get-PhaseFile $Case) }

# Copies a file into the same folder of another host; answers nothing, because the path is the same.
function Copy-ToOther([System.Management.Automation.Runspaces.PSSession]$Session, [string]$File) {
    Invoke-Command -Session $Session -ArgumentList (Split-Path -Parent $File) -ScriptBlock {
        param($folder)
        $null = New-Item -ItemType Directory -Path $folder -Force
    }
    Copy-Item -ToSession $Session -LiteralPath $File -Destination $File
}

# SHA-256 of a file of a shadow copy device on another host.
function Get-RemoteCopyHash([System.Management.Automation.Runspaces.PSSession]$Session, [string]$Folder, [string]$Device, [string]$File) {
    return Invoke-Command -Session $Session -ArgumentList $Folder, ($Device.TrimEnd('\') + '\' + $File) -ScriptBlock {
        param($folder, $source)
        $target = Join-Path $folder 'copied.bin'
        $null = & $env:ComSpec /d /c copy /b /y $source $target
        if ($LASTEXITCODE -ne 0) { throw "$source cannot be read" }
        (Get-FileHash -LiteralPath $target -Algorithm SHA256).Hash
    }
}

# Runs vshadow on another host, through PowerShell remoting. The other host has vshadow in the same place.
function Invoke-RemoteVShadow([System.Management.Automation.Runspaces.PSSession]$Session, [string[]]$Arguments) {
    Write-Host "[$($Session.ComputerName)] vshadow $($Arguments -join ' ')"
    $done = Invoke-Command -Session $Session -ArgumentList (Get-SdkTool 'vshadow.exe'), $Arguments -ScriptBlock {
        param($tool, $arguments)
        $text = & $tool @arguments | Out-String
        [pscustomobject]@{ ExitCode = $LASTEXITCODE; Text = $text }
    }
    Write-Host $done.Text
    return $done
}

Export-ModuleMember -Function * -Variable @(
    'ProviderId', 'ClassId', 'AppId', 'ProviderName', 'ProviderService', 'EventSource', 'SystemProviderId', 'GuidPattern'
)
