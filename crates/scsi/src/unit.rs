// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::cdb::{CDB_BYTES, Cdb, Extent, Operation};
use crate::identity::Identity;
use crate::nexus::Nexus;
use crate::opcode::{self, Opcode};
use crate::sense::Sense;
use crate::{sbc, spc};
use block::{Disk, WriteFence};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Most bytes that one READ, WRITE or comparing VERIFY moves; page B0h says so (MAXIMUM TRANSFER LENGTH).
pub const TRANSFER_BYTES_MAX: u64 = 4 << 20;

/// What answers at a LUN.
pub struct LogicalUnit {
    kind: Kind,
}

enum Kind {
    Disk {
        /// Replaced when the LUN gets another size. Commands under way go on with the one that they began with.
        disk: RwLock<Disk>,
        fence: Arc<WriteFence>,
        identity: Identity,
    },
    /// The array itself, peripheral device type 0Ch.
    Controller { identity: Identity },
    /// Nothing is mapped here.
    Absent,
}

/// What a command may know about where it came from.
pub struct Context<'a> {
    /// The session.
    pub nexus: &'a Nexus,
    /// The LUN that was addressed.
    pub lun: u8,
    /// All LUNs that the initiator sees, ascending, LUN 0 included.
    pub inventory: &'a [u8],
    /// Relative identifier of the target port (SPC-4 7.8.6.7), from 1.
    pub relative_port: u16,
    /// Target port group (SPC-4 7.8.6.8).
    pub port_group: u16,
}

/// A CDB that was found good for its unit.
pub struct Accepted {
    opcode: &'static Opcode,
    operation: Operation,
    data_out_bytes: u64,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x} {:?}", self.opcode.opcode, self.operation)
    }
}

impl Accepted {
    /// Bytes that the command takes from the initiator.
    pub fn data_out_bytes(&self) -> u64 {
        self.data_out_bytes
    }

    /// Whether the initiator has to send exactly that: a WRITE SAME with less or more than its one block makes no
    /// sense, where a shortened WRITE does.
    pub fn takes_exactly(&self) -> bool {
        matches!(self.operation, Operation::WriteSame { .. })
    }

    /// Whether the command changes data and has to pass [`LogicalUnit::fence`] before it is executed.
    pub fn passes_fence(&self) -> bool {
        self.opcode.writes
    }
}

/// How a command ended: GOOD with data, or CHECK CONDITION with sense data.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Data for the initiator, already cut to the allocation length of the CDB.
    pub data: Vec<u8>,
    /// `None` is status GOOD, `Some` is CHECK CONDITION.
    pub sense: Option<Sense>,
}

impl Reply {
    /// GOOD with `data`.
    pub fn good(data: Vec<u8>) -> Self {
        Self { data, sense: None }
    }

    /// CHECK CONDITION.
    pub fn check(sense: Sense) -> Self {
        Self {
            data: Vec::new(),
            sense: Some(sense),
        }
    }
}

impl From<Result<Vec<u8>, Sense>> for Reply {
    fn from(result: Result<Vec<u8>, Sense>) -> Self {
        result.map_or_else(Self::check, Self::good)
    }
}

impl LogicalUnit {
    /// A disk. Use one unit per LUN for all hosts and sessions that see it: resets and their unit attentions reach
    /// the sessions that share the unit.
    ///
    /// # Panics
    /// If `identity` does not fit its pages: identities come from our own array.
    pub fn disk(disk: Disk, fence: Arc<WriteFence>, identity: Identity) -> Arc<Self> {
        identity.assert_fits();
        Arc::new(Self {
            kind: Kind::Disk {
                disk: RwLock::new(disk),
                fence,
                identity,
            },
        })
    }

    /// The disk has another size from now on. Who sees the LUN has to be told: [`crate::UnitAttention::CapacityChanged`].
    ///
    /// # Panics
    /// If this is no disk.
    pub fn set_disk(&self, next: Disk) {
        let Kind::Disk { disk, .. } = &self.kind else {
            panic!("only a disk has a size");
        };
        *disk.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// The array itself, for LUN 0.
    ///
    /// # Panics
    /// As [`LogicalUnit::disk`].
    pub fn controller(identity: Identity) -> Arc<Self> {
        identity.assert_fits();
        Arc::new(Self {
            kind: Kind::Controller { identity },
        })
    }

    /// What answers where nothing is mapped: INQUIRY with peripheral qualifier 3 and type 1Fh, REQUEST SENSE with
    /// 05/25/00, everything else with CHECK CONDITION 05/25/00 (SAM-5 5.11, SPC-4 6.6).
    pub fn absent() -> Arc<Self> {
        Arc::new(Self { kind: Kind::Absent })
    }

    /// The gate that write-class commands pass; `None` for units that hold no data.
    pub fn fence(&self) -> Option<&Arc<WriteFence>> {
        match &self.kind {
            Kind::Disk { fence, .. } => Some(fence),
            Kind::Controller { .. } | Kind::Absent => None,
        }
    }

    /// Checks a CDB before any data is transferred: known, well-formed, inside the medium, and nothing that the
    /// initiator has to hear first. `cdb` shorter than 16 bytes counts as padded with zeros.
    pub fn accept(&self, cdb: &[u8], nexus: &Nexus, lun: u8) -> Result<Accepted, Sense> {
        let mut padded: Cdb = [0; CDB_BYTES];
        let length = cdb.len().min(CDB_BYTES);
        padded[..length].copy_from_slice(&cdb[..length]);
        let opcode = self.find(&padded)?;
        if !opcode.despite_attention
            && let Some(attention) = nexus.take(lun)
        {
            return Err(attention);
        }
        let operation = opcode.parse(&padded)?;
        let data_out_bytes = match &self.kind {
            Kind::Disk { disk, .. } => {
                let geometry = current(disk).geometry();
                sbc::check(&operation, geometry, opcode.transfer_length_byte())?
            }
            Kind::Controller { .. } | Kind::Absent => 0,
        };
        Ok(Accepted {
            opcode,
            operation,
            data_out_bytes,
        })
    }

    fn find(&self, cdb: &Cdb) -> Result<&'static Opcode, Sense> {
        if let Kind::Absent = self.kind {
            return match opcode::find(cdb) {
                Ok(entry) if matches!(entry.opcode, 0x03 | 0x12) => Ok(entry),
                _ => Err(Sense::LUN_NOT_SUPPORTED),
            };
        }
        let entry = opcode::find(cdb)?;
        match self.kind {
            Kind::Controller { .. } if !entry.on_controller => Err(Sense::INVALID_OPCODE),
            _ => Ok(entry),
        }
    }

    /// Carries the command out. `data_out` is what the initiator sent: the bytes that [`Accepted::data_out_bytes`]
    /// named, or fewer if it had fewer to send; then whole blocks of it are written and no more.
    pub fn execute(&self, accepted: &Accepted, data_out: &[u8], context: &Context<'_>) -> Reply {
        let result = match accepted.operation {
            Operation::TestUnitReady => Ok(Vec::new()),
            Operation::RequestSense { allocation } => self.request_sense(context, allocation),
            Operation::Inquiry { page, allocation } => self
                .inquiry(page, context)
                .map(|data| cut(data, allocation)),
            Operation::ReportLuns { select, allocation } => {
                context.nexus.inventory_reported();
                Ok(cut(spc::report_luns(select, context.inventory), allocation))
            }
            Operation::ReportOpcodes {
                query,
                timeouts,
                allocation,
            } => {
                let here = |entry: &Opcode| match self.kind {
                    Kind::Disk { .. } => true,
                    Kind::Controller { .. } => entry.on_controller,
                    Kind::Absent => false,
                };
                spc::report_opcodes(query, timeouts, here).map(|data| cut(data, allocation))
            }
            operation => match &self.kind {
                Kind::Disk { disk, .. } => sbc::execute(&operation, &current(disk), data_out),
                // `find` lets none of these through.
                Kind::Controller { .. } | Kind::Absent => Err(Sense::INVALID_OPCODE),
            },
        };
        result.into()
    }

    fn request_sense(&self, context: &Context<'_>, allocation: usize) -> Result<Vec<u8>, Sense> {
        let sense = match self.kind {
            Kind::Absent => Sense::LUN_NOT_SUPPORTED,
            _ => context.nexus.take(context.lun).unwrap_or(Sense::NONE),
        };
        Ok(cut(sense.to_fixed().to_vec(), allocation))
    }

    fn inquiry(&self, page: Option<u8>, context: &Context<'_>) -> Result<Vec<u8>, Sense> {
        match (&self.kind, page) {
            (Kind::Absent, None) => Ok(spc::inquiry_absent()),
            (Kind::Absent, Some(_)) => Err(Sense::LUN_NOT_SUPPORTED),
            (Kind::Controller { identity }, None) => {
                Ok(spc::inquiry(spc::TYPE_CONTROLLER, identity))
            }
            (Kind::Controller { identity }, Some(page)) => {
                spc::vital_page(spc::TYPE_CONTROLLER, page, identity, None, context)
            }
            (Kind::Disk { identity, .. }, None) => Ok(spc::inquiry(spc::TYPE_DISK, identity)),
            (Kind::Disk { identity, disk, .. }, Some(page)) => spc::vital_page(
                spc::TYPE_DISK,
                page,
                identity,
                Some(current(disk).geometry()),
                context,
            ),
        }
    }
}

fn current(disk: &RwLock<Disk>) -> Disk {
    disk.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Extent {
    /// The extent as bytes; `check` has shown that this cannot overflow.
    pub(crate) fn bytes(self, block_bytes: u32) -> (u64, u64) {
        let block = u64::from(block_bytes);
        (self.lba * block, self.blocks * block)
    }
}

/// Data cut to an allocation length, which is never an error (SPC-4 4.2.5.6).
fn cut(mut data: Vec<u8>, allocation: usize) -> Vec<u8> {
    data.truncate(allocation);
    data
}
