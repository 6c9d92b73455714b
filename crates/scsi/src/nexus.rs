// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a target remembers for one initiator's session (an I_T nexus, SAM-5 4.7): its unit attentions.

use crate::sense::Sense;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

/// Most unit attentions kept for one LUN; older ones win, newer ones repeat what a host does anyway: look again.
const PENDING_MAX: usize = 8;

/// A change that the initiator has to hear about before its next command is carried out (SAM-5 5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitAttention {
    /// 29h/00h: first command of this nexus to this LUN.
    PowerOn,
    /// 29h/03h: a LUN or target reset.
    Reset,
    /// 2Fh/00h: another initiator cleared the task set.
    CommandsCleared,
    /// 2Ah/09h: READ CAPACITY has something new to tell.
    CapacityChanged,
}

impl UnitAttention {
    /// What the initiator is told.
    pub fn sense(self) -> Sense {
        match self {
            Self::PowerOn => Sense::unit_attention(0x29, 0x00),
            Self::Reset => Sense::unit_attention(0x29, 0x03),
            Self::CommandsCleared => Sense::unit_attention(0x2f, 0x00),
            Self::CapacityChanged => Sense::unit_attention(0x2a, 0x09),
        }
    }
}

/// 3Fh/0Eh: LUNs were mapped or unmapped.
const REPORTED_LUNS_CHANGED: Sense = Sense::unit_attention(0x3f, 0x0e);

/// The unit attentions of one I_T nexus.
#[derive(Debug, Default)]
pub struct Nexus {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Pending for the nexus as a whole: told once, by whichever LUN is asked first (SPC-4 6.33).
    inventory_changed: bool,
    /// Per LUN. A LUN without an entry has not been spoken to: its power-on condition is pending.
    luns: BTreeMap<u8, VecDeque<UnitAttention>>,
}

impl Nexus {
    /// A new nexus: every LUN has its power-on condition to tell.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code that can panic runs under the nexus lock")
    }

    /// Establishes `attention` for one LUN.
    pub fn establish(&self, lun: u8, attention: UnitAttention) {
        let mut state = self.lock();
        // A LUN that was not spoken to yet tells of its power-on, which says all that a reset would.
        let Some(pending) = state.luns.get_mut(&lun) else {
            return;
        };
        if pending.len() < PENDING_MAX && !pending.contains(&attention) {
            pending.push_back(attention);
        }
    }

    /// Says that the LUN list has changed: 06/3F/0E once, on any LUN.
    pub fn inventory_changed(&self) {
        self.lock().inventory_changed = true;
    }

    /// A REPORT LUNS was carried out by an installed unit: the initiator knows the list now (SPC-4 6.33).
    pub fn inventory_reported(&self) {
        self.lock().inventory_changed = false;
    }

    /// Takes the next thing to tell about `lun`, which is thereby told.
    pub fn take(&self, lun: u8) -> Option<Sense> {
        let mut state = self.lock();
        let Some(pending) = state.luns.get_mut(&lun) else {
            state.luns.insert(lun, VecDeque::new());
            return Some(UnitAttention::PowerOn.sense());
        };
        if let Some(attention) = pending.pop_front() {
            return Some(attention.sense());
        }
        std::mem::take(&mut state.inventory_changed).then_some(REPORTED_LUNS_CHANGED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(nexus: &Nexus, lun: u8) -> Option<String> {
        nexus.take(lun).map(|sense| sense.to_string())
    }

    #[test]
    fn take_first_command_tells_power_on_per_lun() {
        let nexus = Nexus::new();
        assert_eq!(told(&nexus, 1).as_deref(), Some("06/29/00"));
        assert_eq!(told(&nexus, 1), None);
        assert_eq!(told(&nexus, 2).as_deref(), Some("06/29/00"));
    }

    #[test]
    fn inventory_changed_is_told_once_per_nexus() {
        let nexus = Nexus::new();
        told(&nexus, 1);
        told(&nexus, 2);
        nexus.inventory_changed();
        assert_eq!(told(&nexus, 2).as_deref(), Some("06/3f/0e"));
        assert_eq!(told(&nexus, 1), None);
        assert_eq!(told(&nexus, 2), None);
    }

    #[test]
    fn inventory_reported_clears_the_attention() {
        let nexus = Nexus::new();
        told(&nexus, 1);
        nexus.inventory_changed();
        nexus.inventory_reported();
        assert_eq!(told(&nexus, 1), None);
    }

    #[test]
    fn establish_touches_that_lun_only() {
        let nexus = Nexus::new();
        told(&nexus, 1);
        told(&nexus, 2);
        nexus.establish(1, UnitAttention::Reset);
        nexus.establish(1, UnitAttention::Reset);
        assert_eq!(told(&nexus, 2), None);
        assert_eq!(told(&nexus, 1).as_deref(), Some("06/29/03"));
        assert_eq!(told(&nexus, 1), None);
    }
}
