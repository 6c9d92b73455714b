// SPDX-License-Identifier: MIT OR Apache-2.0
//! The contract's own suite against the real daemon, through its HTTPS client. Contents are written and read over iSCSI.

mod support;

use array_api::conformance::{ALPHA, BETA, Fixture, GAMMA, LUN_BYTES};
use array_api::{Array, ArrayErrorKind, HttpsArray, LunId, ResyncPair};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::Daemon;

/// A host for looking into LUNs that the hosts of the suite do not have mapped.
const READER: &str = "reader";

struct RealArray {
    daemon: Daemon,
    hosts: HashMap<String, Arc<HttpsArray>>,
    created: AtomicU32,
    /// Mapped to the reader; overwritten with what is to be read.
    scratch: LunId,
    _dir: tempfile::TempDir,
}

impl RealArray {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path());
        let rights: [(&str, &[&str]); 4] = [
            (ALPHA, &["--allow-resync"]),
            (BETA, &[]),
            (GAMMA, &[]),
            (READER, &["--allow-resync"]),
        ];
        let hosts = rights
            .into_iter()
            .map(|(name, more)| (name.to_owned(), Arc::new(daemon.add_host(name, more))))
            .collect();
        for (group, host) in [("cluster", BETA), ("looking", READER)] {
            daemon.admin(&["host", "group", "create", group]);
            for member in [ALPHA, host] {
                daemon.admin(&["host", "group", "add", group, member]);
            }
        }
        Self {
            scratch: daemon.create_lun("scratch", LUN_BYTES, &[READER]),
            daemon,
            hosts,
            created: AtomicU32::new(0),
            _dir: dir,
        }
    }

    /// Does something while the reader has the original mapped.
    fn as_reader<T>(&self, lun: LunId, work: impl FnOnce() -> T) -> T {
        let id = lun.to_string();
        self.daemon.admin(&["lun", "map", &id, READER]);
        let result = work();
        self.daemon.admin(&["lun", "unmap", &id, READER]);
        result
    }

    fn first_byte(&self, lun: LunId) -> u64 {
        let number = self.daemon.number(lun, READER);
        let output = self.daemon.qemu_io(READER, number, &["read -v 0 512"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, bytes) = text.split_once("00000000:").expect("a dump");
        let byte = bytes.split_whitespace().next().expect("a byte");
        u64::from_str_radix(byte, 16).unwrap()
    }
}

impl Fixture for RealArray {
    fn host(&self, name: &str) -> Arc<dyn Array> {
        let host: Arc<HttpsArray> = Arc::clone(&self.hosts[name]);
        host
    }

    fn create_lun(&self, size_bytes: u64, hosts: &[&str]) -> LunId {
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        self.daemon
            .create_lun(&format!("lun-{number}"), size_bytes, hosts)
    }

    fn lun_count(&self) -> usize {
        self.daemon.lun_count()
    }

    fn write_marker(&self, lun: LunId, value: u64) -> bool {
        let byte = u8::try_from(value & 0xff).unwrap();
        self.as_reader(lun, || self.daemon.fill(READER, lun, byte));
        true
    }

    /// Copies are read by way of the scratch LUN: mapping them would change their state.
    fn read_marker(&self, lun: LunId) -> Option<u64> {
        let pair = ResyncPair {
            copy: lun,
            target: self.scratch,
        };
        match self.hosts[READER].resync(support::WITHIN, uuid::Uuid::new_v4(), &[pair]) {
            Ok(_) => Some(self.first_byte(self.scratch)),
            Err(error) => {
                assert_eq!(error.kind, ArrayErrorKind::NotACopy, "{error}");
                Some(self.as_reader(lun, || self.first_byte(lun)))
            }
        }
    }
}

array_api::array_conformance_suite!(RealArray::new);
