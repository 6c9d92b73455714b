// SPDX-License-Identifier: MIT OR Apache-2.0
//! A panic inside the running provider, both ways of hosting it, through COM under Wine. The provider is the real one, made by the
//! vendor's way, over an array that panics when it is told to. Needs the Windows programs: `cargo xtask build`.

use array_api::simulated::{SimulatedArray, VirtualClock};
use std::path::PathBuf;
use std::time::Duration;
use vss_provider::{Hresult, LunDescription, identity};
use vss_rig::com::ComProvider;
use vss_rig::host::ProviderHost as _;
use vss_rig::interrupt::Interrupt;
use vss_rig::sequence::{Point, ShadowSet};
use vss_rig::wine::{WindowsParts, WineHost};

const EXECUTABLE: &str = r"C:\Program Files\Panicker\panicking-provider.exe";
const DATA: &str = "ProgramData/Panicker";
/// Id of the event of a panic.
const INTERNAL_ERROR: u32 = 399;
/// How long an event may take to its file: at most a tick.
const EVENT_LIMIT: Duration = Duration::from_secs(30);

struct Fixture {
    host: WineHost,
    original: LunDescription,
}

impl Fixture {
    fn start(hosting: &str) -> Self {
        let windows = WindowsParts::find(None).unwrap();
        let built = std::env::current_exe().unwrap();
        let built = built.ancestors().nth(3).unwrap().join("windows");
        let interrupt = Interrupt::default();
        let events = format!("{DATA}/events.jsonl");
        let host = WineHost::without_provider(&windows, &events, &interrupt).unwrap();
        let place = host.drive_c().join("Program Files/Panicker");
        std::fs::create_dir_all(&place).unwrap();
        for (from, to) in [
            ("panicking-provider.exe", "panicking-provider.exe"),
            ("shadowlun-messages.dll", "panicking-messages.dll"),
        ] {
            let from = built.join(from);
            std::fs::copy(&from, place.join(to))
                .unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask build`", from.display()));
        }
        let data = host.drive_c().join(DATA);
        std::fs::create_dir_all(&data).unwrap();
        let settings = "event_file = 'C:\\ProgramData\\Panicker\\events.jsonl'\n";
        std::fs::write(data.join("provider.toml"), settings).unwrap();
        host.run_program(EXECUTABLE, &["install", "--hosting", hosting])
            .unwrap();
        Self {
            host,
            original: original(),
        }
    }

    /// The file that tells the array where to panic.
    fn panic_file(&self) -> PathBuf {
        self.host.drive_c().join(DATA).join("panic")
    }

    fn set(&self) -> ShadowSet {
        ShadowSet::new(0, &[std::slice::from_ref(&self.original)])
    }

    fn pids(&self) -> Vec<String> {
        let prefix = format!("WINEPREFIX={}", self.host.prefix().display());
        let entries = std::fs::read_dir("/proc").unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|pid| {
                let of = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                let environment = of("environ");
                let line = String::from_utf8_lossy(&of("cmdline")).into_owned();
                line.contains("panicking-provider.exe")
                    && environment
                        .split(|byte| *byte == 0)
                        .any(|entry| entry == prefix.as_bytes())
            })
            .collect()
    }

    /// A call during which the array panics in `operation` is a VETO.
    fn panics(&self, operation: &str, call: impl FnOnce() -> Hresult) {
        std::fs::write(self.panic_file(), operation).unwrap();
        let code = call();
        std::fs::remove_file(self.panic_file()).unwrap();
        assert_eq!(code, Hresult::VSS_E_PROVIDER_VETO, "{operation}");
    }

    /// The panic's event comes. In the commit window it waits for what ends that.
    fn is_told(&self, provider: &ComProvider, operation: &str) {
        let mut told = Vec::new();
        let wanted = format!("the array panics in {operation}");
        let came = Interrupt::default().wait_until(EVENT_LIMIT, || {
            told.extend(provider.take_events());
            told.iter()
                .any(|event| event.id == INTERNAL_ERROR && event.text.contains(&wanted))
        });
        assert!(came.unwrap(), "{operation}: {told:#?}");
    }
}

/// The LUN of the provider's array, as an array made in the same way describes it.
fn original() -> LunDescription {
    let array = SimulatedArray::new(VirtualClock::new());
    let lun = array.create_lun(1 << 30, &["here"]);
    let infos = array.host("here").query(Duration::from_secs(1), &[lun]);
    let info = infos.unwrap().remove(0).unwrap();
    identity::describe(&info.identity)
}

fn step(set: &mut ShadowSet, provider: &ComProvider, point: Point) -> Hresult {
    set.step(provider, point)
        .map_or_else(|e| e.code, |()| Hresult::S_OK)
}

fn every_operation_panics(hosting: &str) {
    let f = Fixture::start(hosting);
    let provider = f.host.load().unwrap();
    let mut set = f.set();
    set.drive(&provider, Point::Created).unwrap();
    let process = f.pids();
    assert!(!process.is_empty());

    // Whatever the panic leaves of a set, VSS gives it up, and the next set is whole.
    for (operation, before, at) in [
        ("check", None, Point::Preparing),
        ("prepare", None, Point::Preparing),
        ("ready", Some(Point::Preparing), Point::Prepared),
        ("arm", Some(Point::Prepared), Point::Precommitted),
        ("commit", Some(Point::Precommitted), Point::Committed),
        ("report", Some(Point::Postcommitted), Point::Reported),
        ("map", Some(Point::Reported), Point::Surfaced),
    ] {
        let mut broken = f.set();
        if let Some(before) = before {
            broken.drive(&provider, before).unwrap();
        }
        f.panics(operation, || step(&mut broken, &provider, at));
        let _ = provider.abort_snapshots(broken.id);
        f.is_told(&provider, operation);
        let mut next = f.set();
        next.drive(&provider, Point::Created).expect(operation);
        next.delete(&provider).expect(operation);
    }
    let mut given_up = f.set();
    given_up.drive(&provider, Point::Precommitted).unwrap();
    f.panics("abort", || provider.abort_snapshots(given_up.id));
    f.is_told(&provider, "abort");
    let copy = &set.targets()[0];
    f.panics("delete", || provider.on_lun_empty(copy));
    f.is_told(&provider, "delete");
    set.delete(&provider).unwrap();

    assert_eq!(f.pids(), process, "it is the same process all along");
    drop(provider);
    f.host.end().unwrap();
}

/// T-234, GEN-7, ERR-1: a panic below each method comes out of the program that COM started as VETO with an event; the set is given
/// up, the next one is whole, and the process goes on.
#[test]
fn t234_panic_in_the_program_that_com_starts() {
    every_operation_panics("local-server");
}

/// T-234, GEN-7: the same in the Windows service.
#[test]
fn t234_panic_in_the_service() {
    every_operation_panics("service");
}
