// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which initiator sees which LUNs.

use scsi::{LogicalUnit, Nexus, UnitAttention};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Who may log in and what it sees. Asked once per login, from connection threads.
///
/// **Duties.** Return at once. The same initiator name gives the same [`HostView`] for as long as the host exists, so
/// that a later [`HostView::set_luns`] reaches the sessions that are up.
pub trait Access: Send + Sync {
    /// The view of the host that `initiator_iqn` belongs to; `None` refuses the login (RFC 7143 status 0202h).
    fn host_view(&self, initiator_iqn: &str) -> Option<Arc<HostView>>;
}

/// The LUNs of one host: the controller device at 0, disks at 1 to 254.
pub struct HostView {
    controller: Arc<LogicalUnit>,
    state: Mutex<State>,
}

struct State {
    luns: Arc<BTreeMap<u8, Arc<LogicalUnit>>>,
    /// Sessions that want to hear of changes.
    nexuses: Vec<Weak<Nexus>>,
}

impl HostView {
    /// A view with nothing but `controller` at LUN 0.
    pub fn new(controller: Arc<LogicalUnit>) -> Arc<Self> {
        let luns = Arc::new(BTreeMap::from([(0, Arc::clone(&controller))]));
        Arc::new(Self {
            controller,
            state: Mutex::new(State {
                luns,
                nexuses: Vec::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code that can panic runs under the view's lock")
    }

    /// Replaces the whole map at once and, if it differs, tells every session of the host (06/3F/0E). Commands that
    /// were accepted before go on to the unit that they were sent to; later ones see the new map only.
    ///
    /// # Panics
    /// If `luns` has a number outside 1-254: 0 is the controller, and Windows takes no number above 255.
    pub fn set_luns(&self, mut luns: BTreeMap<u8, Arc<LogicalUnit>>) {
        assert!(
            luns.keys().all(|lun| (1..=254).contains(lun)),
            "disks have LUNs 1-254, not {:?}",
            luns.keys()
        );
        luns.insert(0, Arc::clone(&self.controller));
        let mut state = self.lock();
        let unchanged = state.luns.len() == luns.len()
            && luns.iter().all(|(lun, unit)| {
                state
                    .luns
                    .get(lun)
                    .is_some_and(|present| Arc::ptr_eq(present, unit))
            });
        if unchanged {
            return;
        }
        state.luns = Arc::new(luns);
        state.nexuses.retain(|nexus| {
            nexus
                .upgrade()
                .inspect(|nexus| nexus.inventory_changed())
                .is_some()
        });
    }

    /// Tells every session of the host that a LUN has another size now (06/2A/09), if the host sees it.
    pub fn capacity_changed(&self, unit: &Arc<LogicalUnit>) {
        let state = self.lock();
        let luns = state.luns.iter();
        for (lun, _) in luns.filter(|(_, present)| Arc::ptr_eq(present, unit)) {
            for nexus in state.nexuses.iter().filter_map(Weak::upgrade) {
                nexus.establish(*lun, UnitAttention::CapacityChanged);
            }
        }
    }

    /// The disks that the host sees, by LUN; without the controller.
    pub fn luns(&self) -> BTreeMap<u8, Arc<LogicalUnit>> {
        let mut luns = (*self.map()).clone();
        luns.remove(&0);
        luns
    }

    /// The current map, the controller included.
    pub(crate) fn map(&self) -> Arc<BTreeMap<u8, Arc<LogicalUnit>>> {
        Arc::clone(&self.lock().luns)
    }

    /// From now on `nexus` hears of changes.
    pub(crate) fn watch(&self, nexus: &Arc<Nexus>) {
        let mut state = self.lock();
        state.nexuses.retain(|known| known.strong_count() > 0);
        state.nexuses.push(Arc::downgrade(nexus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scsi::Identity;

    fn unit() -> Arc<LogicalUnit> {
        LogicalUnit::controller(Identity {
            vendor: *b"SHADOWLN",
            product: *b"SHADOWLUN-VOLUME",
            revision: *b"0001",
            serial: String::new(),
            designators: Vec::new(),
        })
    }

    #[test]
    fn set_luns_same_map_tells_nobody() {
        let view = HostView::new(unit());
        let disk = unit();
        view.set_luns(BTreeMap::from([(1, Arc::clone(&disk))]));
        let nexus = Arc::new(Nexus::new());
        nexus.take(0);
        view.watch(&nexus);
        view.set_luns(BTreeMap::from([(1, disk)]));
        assert_eq!(nexus.take(0), None);
    }

    /// T-211, RSY-4: the size of a disk is read again by those who see it, and by nobody else.
    #[test]
    fn t211_capacity_changed_is_told_to_sessions_that_see_the_unit() {
        let (one, two) = (unit(), unit());
        let [sees, other] = [&one, &two].map(|disk| {
            let view = HostView::new(unit());
            view.set_luns(BTreeMap::from([(1, Arc::clone(disk))]));
            let nexus = Arc::new(Nexus::new());
            nexus.take(1);
            view.watch(&nexus);
            view.capacity_changed(&one);
            nexus
        });
        assert_eq!(sees.take(1).unwrap().to_string(), "06/2a/09");
        assert_eq!(other.take(1), None);
    }

    #[test]
    fn set_luns_other_unit_at_the_same_number_is_told() {
        let view = HostView::new(unit());
        view.set_luns(BTreeMap::from([(1, unit())]));
        let nexus = Arc::new(Nexus::new());
        nexus.take(0);
        view.watch(&nexus);
        view.set_luns(BTreeMap::from([(1, unit())]));
        assert_eq!(nexus.take(0).unwrap().to_string(), "06/3f/0e");
    }
}
