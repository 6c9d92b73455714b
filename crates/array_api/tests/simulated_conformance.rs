// SPDX-License-Identifier: MIT OR Apache-2.0
//! The simulated array keeps the contract that the real one keeps.
#![cfg(feature = "simulation")]

use array_api::conformance::{ALPHA, BETA, Fixture};
use array_api::simulated::{SimulatedArray, VirtualClock};
use array_api::{Array, LunId};
use std::sync::Arc;

struct Simulation(SimulatedArray);

impl Simulation {
    fn new() -> Self {
        let array = SimulatedArray::new(VirtualClock::new());
        array.set_group("pair", &[ALPHA, BETA]);
        array.set_resync_right(ALPHA, true);
        Self(array)
    }
}

impl Fixture for Simulation {
    fn host(&self, name: &str) -> Arc<dyn Array> {
        self.0.host(name)
    }

    fn create_lun(&self, size_bytes: u64, hosts: &[&str]) -> LunId {
        self.0.create_lun(size_bytes, hosts)
    }

    fn lun_count(&self) -> usize {
        self.0.lun_count()
    }

    fn write_marker(&self, lun: LunId, value: u64) -> bool {
        self.0.write(lun, value)
    }

    fn read_marker(&self, lun: LunId) -> Option<u64> {
        self.0.read(lun)
    }
}

array_api::array_conformance_suite!(Simulation::new);
