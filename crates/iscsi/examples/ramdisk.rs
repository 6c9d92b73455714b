// SPDX-License-Identifier: MIT OR Apache-2.0
//! A target with one RAM disk at LUN 1, for trying out initiators and for measuring: prints its URL and serves until
//! its standard input is closed. `cargo run --release -p iscsi --example ramdisk [MiB]`

use block::{Disk, WriteFence, ram::RamDisk};
use iscsi::{Access, HostView, Target, TargetConfig};
use scsi::{Designator, Identity, LogicalUnit};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

const IQN: &str = "iqn.2026-11.local.shadowlun:ramdisk";

/// Everybody sees the same.
struct Open(Arc<HostView>);

impl Access for Open {
    fn host_view(&self, _: &str) -> Option<Arc<HostView>> {
        Some(Arc::clone(&self.0))
    }
}

fn identity(serial: &str) -> Identity {
    Identity {
        vendor: *b"SHADOWLN",
        product: *b"SHADOWLUN-VOLUME",
        revision: *b"0001",
        serial: serial.to_owned(),
        designators: vec![Designator {
            code_set: 2,
            kind: 1,
            bytes: format!("SHADOWLN{serial}").into_bytes(),
        }],
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mib: u64 = std::env::args().nth(1).map_or(Ok(256), |mib| mib.parse())?;
    let disk = Disk::new(RamDisk::new(mib << 20));
    let unit = LogicalUnit::disk(disk, WriteFence::new(), identity("disk"));
    let view = HostView::new(LogicalUnit::controller(identity("controller")));
    view.set_luns(BTreeMap::from([(1, unit)]));
    let config = TargetConfig::new(IQN, vec!["127.0.0.1:0".parse()?]);
    let target = Target::start(config, Arc::new(Open(view)))?;
    println!("iscsi://{}/{IQN}/1", target.local_addrs()[0]);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    target.shutdown();
    Ok(())
}
