// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits while a host writes over iSCSI (ROLE-11): all copies of a set show one instant.

mod support;

use array_api::{Array, LunId};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Daemon, MIB, WITHIN, armed};

/// An initiator of its own that is told one write after the other.
struct Writer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Writer {
    fn new(daemon: &Daemon, lun: LunId) -> Self {
        let mut child = Command::new("qemu-io")
            .arg("--image-opts")
            .arg(daemon.image("a", daemon.number(lun, "a")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It tells of each unit attention that it answers by repeating the command.
            .stderr(Stdio::null())
            .spawn()
            .expect("qemu-io is missing: install qemu-utils and qemu-block-extra");
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Comes back when the write was acknowledged.
    fn write(&mut self, byte: u8) {
        writeln!(self.input, "write -P {byte} 0 4k").unwrap();
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).unwrap();
            assert!(count > 0, "qemu-io ended");
            assert!(!line.contains("failed"), "{line}");
            if line.contains("wrote 4096/4096") {
                return;
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first_byte(daemon: &Daemon, lun: LunId) -> u8 {
    let output = daemon.qemu_io("a", daemon.number(lun, "a"), &["read -v 0 512"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, bytes) = text.split_once("00000000:").expect("a dump");
    u8::from_str_radix(bytes.split_whitespace().next().unwrap(), 16).unwrap()
}

#[test]
fn commit_under_alternating_writes_shows_one_instant() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let luns = ["one", "two"].map(|name| daemon.create_lun(name, 4 * MIB, &["a"]));
    let mut writers = luns.map(|lun| Writer::new(&daemon, lun));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Each number goes to the first LUN, and to the second one only after the first has acknowledged it: at every
        // instant the first is equal to the second or one ahead. Nothing ever pauses this writer but the fence.
        let numbers = scope.spawn(|| {
            let mut number = 0_u8;
            while !done.load(Ordering::Relaxed) {
                number = number.wrapping_add(1);
                for writer in &mut writers {
                    writer.write(number);
                }
            }
        });
        for _ in 0..8 {
            let set = armed(&array, &luns);
            let report = array.commit(WITHIN, set).unwrap();
            assert_eq!(report.luns, 2);
            assert!(report.held_us <= 2_000_000 && report.held_us <= report.total_us);
            let copies: Vec<LunId> = array
                .report(WITHIN, set, &luns)
                .unwrap()
                .into_iter()
                .map(|report| report.copy)
                .collect();
            array.map(WITHIN, &copies).unwrap();
            let [one, two] = [0, 1].map(|index: usize| first_byte(&daemon, copies[index]));
            assert!(
                one.wrapping_sub(two) <= 1,
                "the copies show {one} and {two}"
            );
            for copy in copies {
                array.delete(WITHIN, copy).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        numbers.join().unwrap();
    });
    assert_eq!(daemon.lun_count(), 2);
}

/// The control: the check of the other test sees when the LUNs were captured one after the other.
#[test]
fn copies_of_two_sets_show_two_instants() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path());
    let array = daemon.add_host("a", &[]);
    let luns = ["one", "two"].map(|name| daemon.create_lun(name, 4 * MIB, &["a"]));
    let mut writers = luns.map(|lun| Writer::new(&daemon, lun));
    let mut shown = Vec::new();
    for (index, lun) in luns.into_iter().enumerate() {
        for number in 1..=5 {
            for writer in &mut writers {
                writer.write(number + 5 * u8::try_from(index).unwrap());
            }
        }
        let copies = support::copies(&array, &[lun]);
        array.map(WITHIN, &copies).unwrap();
        shown.push(first_byte(&daemon, copies[0]));
    }
    assert_eq!(shown, [5, 10]);
    assert!(shown[0].wrapping_sub(shown[1]) > 1);
}
