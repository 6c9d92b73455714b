// SPDX-License-Identifier: MIT OR Apache-2.0
//! A group keeps the contract that its members keep. The suite's LUNs are on the second, so that each call has to find them.
#![cfg(feature = "simulation")]

use array_api::conformance::{ALPHA, BETA, Fixture};
use array_api::simulated::{SimulatedArray, VirtualClock};
use array_api::{Array, ArrayGroup, LunId};
use std::sync::Arc;

struct Pair([SimulatedArray; 2]);

impl Pair {
    fn new() -> Self {
        let clock = VirtualClock::new();
        Self([(); 2].map(|()| {
            let array = SimulatedArray::new(clock.clone());
            array.set_group("pair", &[ALPHA, BETA]);
            array.set_resync_right(ALPHA, true);
            array
        }))
    }
}

impl Fixture for Pair {
    fn host(&self, name: &str) -> Arc<dyn Array> {
        let members = self.0.iter().map(|array| array.host(name)).collect();
        Arc::new(ArrayGroup::new(members))
    }

    fn create_lun(&self, size_bytes: u64, hosts: &[&str]) -> LunId {
        self.0[1].create_lun(size_bytes, hosts)
    }

    fn lun_count(&self) -> usize {
        self.0.iter().map(SimulatedArray::lun_count).sum()
    }

    fn write_marker(&self, lun: LunId, value: u64) -> bool {
        self.0[1].write(lun, value)
    }

    fn read_marker(&self, lun: LunId) -> Option<u64> {
        self.0[1].read(lun)
    }
}

array_api::array_conformance_suite!(Pair::new);
