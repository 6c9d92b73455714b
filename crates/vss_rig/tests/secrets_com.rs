// SPDX-License-Identifier: MIT OR Apache-2.0
//! T-304: a host's token, wherever anything is written. A whole set and the failures around a token through the real executable under
//! Wine, with the array's log, Wine's trace of the provider and everything else as talkative as they can be; then every file is
//! searched. Needs the programs of both systems.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vss_provider::{Hresult, LunDescription};
use vss_rig::array::{Binaries, CREATOR, Daemon, Host};
use vss_rig::description::disks;
use vss_rig::host::ProviderHost as _;
use vss_rig::initiator::Initiator;
use vss_rig::interrupt::Interrupt;
use vss_rig::sequence::{Point, ShadowSet};
use vss_rig::wine::{Hosting, WindowsParts, WineHost};

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN_BYTES: usize = 32;
const CLASS: &str =
    r"HKLM\Software\Classes\CLSID\{2C7F1ED9-9C5E-439A-8D23-55EFDAE102C3}\LocalServer32";
/// Starts the provider with Wine's view of it: what it traces, reports to the event log and writes to ETW.
const TALKATIVE: &str = r#"cmd /c set WINEDEBUG=+debugstr,+eventlog,+seh,fixme+ntdll&& set RUST_BACKTRACE=full&& "C:\Program Files\Shadowlun\shadowlun-provider.exe""#;

/// A secret in every form in which something might have written it, whole or a quarter of it.
fn forms(token: &str) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = (0..TOKEN_BYTES)
        .map(|at| u8::from_str_radix(&token[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    let spaced: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let listed: Vec<_> = bytes.iter().map(u8::to_string).collect();
    let quarter = TOKEN_BYTES / 4;
    let mut texts = vec![
        hex[..2 * quarter].to_owned(),
        hex[3 * 2 * quarter..].to_owned(),
        escaped[..3 * quarter].to_owned(),
        spaced[..quarter].join(" "),
        listed[..quarter].join(", "),
    ];
    // Base64 of the bytes and of the digits: what stands before them decides which byte begins a group of three.
    for alphabet in [b"+/", b"-_"] {
        for at in 0..3 {
            texts.push(base64(&bytes[at..at + 9], alphabet));
            texts.push(base64(&hex.as_bytes()[at..at + 18], alphabet));
            texts.push(base64(
                &hex.to_uppercase().as_bytes()[at..at + 18],
                alphabet,
            ));
        }
    }
    let upper: Vec<_> = texts[..4].iter().map(|text| text.to_uppercase()).collect();
    texts.extend(upper);
    let wide = texts
        .iter()
        .map(|text| text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    let narrow = texts.iter().map(|text| text.clone().into_bytes());
    narrow
        .chain(wide)
        .chain([bytes[..quarter].to_vec()])
        .collect()
}

/// Of whole groups of three bytes.
fn base64(bytes: &[u8], last_two: &[u8; 2]) -> String {
    let digits: Vec<u8> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(*last_two)
        .collect();
    let groups = bytes
        .chunks_exact(3)
        .map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]]));
    let sextets = groups.flat_map(|group| [18, 12, 6, 0].map(|shift| group >> shift & 63));
    sextets
        .map(|sextet| char::from(digits[sextet as usize]))
        .collect()
}

fn holds(text: &[u8], form: &[u8]) -> bool {
    first_of(text, &[form.to_vec()]).is_some()
}

/// The first of these forms that the text holds; one look at each byte.
fn first_of<'a>(text: &[u8], forms: &'a [Vec<u8>]) -> Option<&'a Vec<u8>> {
    let mut begins = [false; 256];
    forms
        .iter()
        .for_each(|form| begins[usize::from(form[0])] = true);
    let starts = (0..text.len()).filter(|at| begins[usize::from(text[*at])]);
    let mut starts = starts.map(|at| &text[at..]);
    starts.find_map(|rest| forms.iter().find(|form| rest.starts_with(form)))
}

/// Every file below, without what links lead to.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

/// Without programs and tables of Windows, which nothing writes to, and what is on the array's LUNs.
fn is_written(file: &Path) -> bool {
    if file.ends_with("store/data") {
        return false;
    }
    let ending = file
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    !matches!(
        ending,
        "dll" | "exe" | "drv" | "sys" | "nls" | "ttf" | "fon" | "ocx" | "cpl"
    )
}

struct Fixture {
    host: WineHost,
    enrolled: Host,
    original: LunDescription,
    daemon: Daemon,
    told: String,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn start() -> Self {
        let interrupt = Interrupt::default();
        let folder = tempfile::tempdir().unwrap();
        let mut binaries = Binaries::find(None).unwrap();
        let daemon = folder.path().join("talkative");
        let script = format!(
            "#!/bin/sh\nsed -i '1i log = \"trace\"' \"$2\"\nexec {} \"$@\"\n",
            binaries.daemon.display()
        );
        std::fs::write(&daemon, script).unwrap();
        std::fs::set_permissions(&daemon, Permissions::from_mode(0o755)).unwrap();
        binaries.daemon = daemon;
        let daemon = Daemon::start(&binaries, folder.path(), "4GiB", &interrupt).unwrap();
        let enrolled = daemon.add_host(CREATOR, "iqn.2026-01.test:host").unwrap();
        daemon.create_lun("one", "1GiB", CREATOR).unwrap();
        let mut session = Initiator::connect(&daemon.portal(&enrolled).unwrap(), LIMIT).unwrap();
        let original = disks(&mut session).unwrap().remove(0).description;
        let host = WineHost::start(&WindowsParts::find(None).unwrap(), &interrupt).unwrap();
        host.install(Hosting::LocalServer).unwrap();
        host.run_program("reg", &["add", CLASS, "/ve", "/d", TALKATIVE, "/f"])
            .unwrap();
        host.enroll(&enrolled.enrolment).unwrap();
        Self {
            host,
            enrolled,
            original,
            daemon,
            told: String::new(),
            folder,
        }
    }

    fn token(&self) -> String {
        let line = self.enrolled.enrolment.to_string();
        line.rsplit('/').next().unwrap().to_owned()
    }

    /// A command of the provider, what it says, and whether it succeeded.
    fn command(&mut self, arguments: &[&str], stdin: Option<&str>) -> bool {
        let output = self.host.provider_command(arguments, stdin).unwrap();
        self.told += &output.text;
        output.code == 0
    }

    fn reports(&mut self) {
        for command in ["status", "doctor", "events"] {
            self.command(&[command], None);
            self.command(&[command, "--json"], None);
        }
    }

    fn set(&self) -> ShadowSet {
        ShadowSet::new(0, &[std::slice::from_ref(&self.original)])
    }

    /// A set that the array refuses.
    fn refused_set(&mut self) {
        let provider = self.host.load().unwrap();
        let mut luns = vec![self.original.clone()];
        assert!(!provider.are_luns_supported(0, &mut luns).1);
        let set = self.set();
        let code = provider.begin_prepare_snapshot(set.id, set.id, 0, &mut luns);
        assert_ne!(code, Hresult::S_OK);
        self.told += &format!("{:?}", provider.take_events());
    }

    /// Everything that was written, by its name.
    fn written(&self) -> Vec<(String, Vec<u8>)> {
        let prefix = self.host.prefix();
        let places = [prefix.parent().unwrap(), self.folder.path()];
        let files = places
            .iter()
            .flat_map(|place| files(place))
            .filter(|file| is_written(file));
        let read = |file: PathBuf| Some((file.display().to_string(), std::fs::read(&file).ok()?));
        let told = (
            "what commands and events told".to_owned(),
            self.told.clone().into_bytes(),
        );
        files.filter_map(read).chain([told]).collect()
    }
}

/// T-304, SEC-10: after a whole set, after enrolments that are refused, with a wrong token and with one that was taken away, neither
/// token is in any log, trace, event, report, registry or other file of either side.
#[test]
fn t304_token_is_written_nowhere() {
    let mut f = Fixture::start();
    let provider = f.host.load().unwrap();
    let mut set = f.set();
    set.drive(&provider, Point::Created).unwrap();
    set.delete(&provider).unwrap();
    f.told += &format!("{:?}", provider.take_events());
    drop(provider);
    f.reports();

    let (token, line) = (f.token(), f.enrolled.enrolment.to_string());
    let wrong: String = token.chars().rev().collect();
    let wrong_line = line.replace(&token, &wrong);
    assert!(!f.command(&["enroll", "-"], Some(&line.replace("/1/", "/2/"))));
    assert!(!f.command(&["enroll", &format!("{line}0")], None));
    f.command(&["enroll", "-"], Some(&wrong_line));
    f.reports();
    let _ = f.command(&["unenroll"], None);

    // The array forgets the host: its token is one that was taken away.
    f.command(&["enroll", "-"], Some(&line));
    let lun = vss_rig::array::lun_id(&f.original).unwrap().to_string();
    f.daemon.cli(&["lun", "unmap", &lun, CREATOR]).unwrap();
    f.daemon.cli(&["host", "remove", CREATOR]).unwrap();
    f.refused_set();
    f.reports();

    let written = f.written();
    let all_told: Vec<u8> = written
        .iter()
        .flat_map(|(_, text)| text.iter().copied())
        .collect();
    for sign_of_life in [
        "TRACE",
        "EtwEventWriteTransfer",
        "ReportEventW",
        "\"severity\"",
    ] {
        assert!(
            holds(&all_told, sign_of_life.as_bytes()),
            "nothing wrote {sign_of_life}"
        );
    }
    let forms: Vec<_> = [&token, &wrong]
        .iter()
        .flat_map(|secret| forms(secret))
        .collect();
    for (name, text) in &written {
        if let Some(form) = first_of(text, &forms) {
            panic!("{name} holds {:?}", String::from_utf8_lossy(form));
        }
    }
    f.host.end().unwrap();
}

/// The search finds what it looks for.
#[test]
fn forms_of_a_secret_are_those_of_its_usual_encodings() {
    let token = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let forms = forms(token);
    for text in [
        format!("Authorization: Bearer {token}"),
        token.to_uppercase(),
        "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=".to_owned(),
        "MDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmY=".to_owned(),
        "VAARIjNEVWZ3iJmqu8zd7v8=".to_owned(),
        "SUQAESIzRFVmd4iZqrvM3e7/".to_owned(),
        "VDAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZm".to_owned(),
        "%00%11%22%33%44%55%66%77%88".to_owned(),
        "[0, 17, 34, 51, 68, 85, 102, 119, 136]".to_owned(),
    ] {
        assert!(
            forms.iter().any(|form| holds(text.as_bytes(), form)),
            "{text}"
        );
    }
    let wide: Vec<u8> = token.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(forms.iter().any(|form| holds(&wide, form)));
    assert!(
        !forms
            .iter()
            .any(|form| holds(b"ffeeddccbbaa998877665544332211", form))
    );
}
