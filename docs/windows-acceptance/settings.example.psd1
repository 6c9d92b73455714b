# SPDX-License-Identifier: MIT OR Apache-2.0
# Copy to settings.psd1 beside this file and fill in. Every value is needed.
@{
    # The array, as ssh knows it: a user who may run shadowlun and iptables there, with a key that asks for no password.
    Array      = 'root@array.example.net'
    # ssh of this host (an optional feature of Windows Server 2019 and newer).
    Ssh        = 'C:\Windows\System32\OpenSSH\ssh.exe'
    # The command on the array; with --socket where state_dir is not the default.
    Shadowlun  = 'shadowlun'
    # Name under which 'shadowlun host add' added this host.
    ArrayHost  = 'winhost'
    # Port of the array's management interface, as the array itself sees it.
    ApiPort    = 8443
    # The installed provider.
    Provider   = 'C:\Program Files\Shadowlun\shadowlun-provider.exe'
    # Folder with vshadow.exe (and vswriter.exe, vsstrace.exe) of the Windows SDK, for this machine's processor.
    SdkTools   = 'C:\Program Files (x86)\Windows Kits\10\bin\10.0.22621.0\x64'
    # Files of the runs. No blanks in the path; not on a volume under test.
    WorkFolder = 'C:\shadowlun-acceptance'
}
