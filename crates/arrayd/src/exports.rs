// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the iSCSI target shows to whom: one view per host, LUN 0 the array itself (SPC-4 controller device, as tgt does),
//! disks under the numbers of the catalogue.
//!
//! **Locks.** The target asks from its own threads, also while the service holds its lock and waits for a session to
//! end; hence nothing here calls back into the service.

use crate::catalogue::Catalogue;
use array_api::{LunId, LunIdentity};
use iscsi::{Access, HostView};
use scsi::{Identity, LogicalUnit};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// The product name that LUN 0 shows: the array is no volume.
const CONTROLLER_PRODUCT: &[u8; 16] = b"SHADOWLUN-ARRAY ";

/// The views of all hosts.
pub struct Exports {
    controller: Arc<LogicalUnit>,
    views: RwLock<Views>,
}

#[derive(Default)]
struct Views {
    by_host: HashMap<String, Arc<HostView>>,
    by_iqn: HashMap<String, Arc<HostView>>,
}

impl Exports {
    /// No hosts yet; `array` identifies LUN 0.
    pub fn new(array: &LunIdentity) -> Arc<Self> {
        let mut identity = scsi_identity(array);
        identity.product = *CONTROLLER_PRODUCT;
        Arc::new(Self {
            controller: LogicalUnit::controller(identity),
            views: RwLock::default(),
        })
    }

    /// Makes hosts and initiators those of the catalogue; views of hosts that stay live on with their sessions.
    pub fn set_hosts(&self, catalogue: &Catalogue) {
        let mut views = self.write();
        let mut next = Views::default();
        for (name, host) in &catalogue.hosts {
            let view = views
                .by_host
                .remove(name)
                .unwrap_or_else(|| HostView::new(Arc::clone(&self.controller)));
            for iqn in &host.iqns {
                next.by_iqn.insert(iqn.clone(), Arc::clone(&view));
            }
            next.by_host.insert(name.clone(), view);
        }
        *views = next;
    }

    /// Shows exactly these LUNs to a host; its sessions hear of the change (06/3F/0E). Unknown hosts see nothing.
    pub fn show(&self, host: &str, luns: BTreeMap<u8, Arc<LogicalUnit>>) {
        let view = self.read().by_host.get(host).cloned();
        if let Some(view) = view {
            view.set_luns(luns);
        }
    }

    /// Tells every session that sees this disk that it has another size (06/2A/09).
    pub fn capacity_changed(&self, unit: &Arc<LogicalUnit>) {
        let views: Vec<_> = self.read().by_host.values().cloned().collect();
        for view in views {
            view.capacity_changed(unit);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Views> {
        self.views.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Views> {
        self.views.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access for Exports {
    fn host_view(&self, initiator_iqn: &str) -> Option<Arc<HostView>> {
        let iqn = initiator_iqn.to_ascii_lowercase();
        self.read().by_iqn.get(&iqn).cloned()
    }
}

/// The frozen identity in the form of the SCSI layer. Shorter texts are filled with blanks (SPC-4 6.6.2).
pub fn scsi_identity(identity: &LunIdentity) -> Identity {
    Identity {
        vendor: padded(&identity.vendor),
        product: padded(&identity.product),
        revision: padded(&identity.revision),
        serial: identity.serial.clone(),
        designators: identity
            .designators
            .iter()
            .map(|designator| scsi::Designator {
                code_set: designator.code_set,
                kind: designator.kind,
                bytes: designator.bytes.clone(),
            })
            .collect(),
    }
}

/// The identity of the array itself.
pub fn controller_identity(array_id: LunId, oui: array_api::Oui, revision: [u8; 4]) -> LunIdentity {
    LunIdentity::new(array_id, oui, revision)
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [b' '; N];
    for (to, from) in out.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    out
}
