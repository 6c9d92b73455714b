// SPDX-License-Identifier: MIT OR Apache-2.0
//! An iSCSI initiator from outside the project (libiscsi), so that target and examiner share no code.
//!
//! One [`Initiator`] is one session; calls block, at most for the time-out given at connect. Unit attentions are taken
//! note of and the command is repeated, as an operating system does.

mod libiscsi;

use libiscsi::{Completion, Context};
use std::ffi::CString;
use std::net::SocketAddr;
use std::time::Duration;

/// SAM-5 status codes (5.3.1) and libiscsi's own.
const STATUS_GOOD: i32 = 0x00;
const STATUS_CHECK_CONDITION: i32 = 0x02;
const STATUS_TIMED_OUT: i32 = 0x0F00_0002;
/// SPC-4 table 48.
const KEY_UNIT_ATTENTION: i32 = 0x06;
/// More than the queue of any target that behaves.
const UNIT_ATTENTIONS_MAX: usize = 16;
/// Largest transfer of one READ or WRITE here; smaller than the 1 MiB that targets commonly announce.
const TRANSFER_BYTES_MAX: usize = 512 * 1024;
/// REPORTED LUNS DATA HAS CHANGED (SPC-4 annex F).
pub const ASC_REPORTED_LUNS_CHANGED: u16 = 0x3F0E;
/// LOGICAL UNIT NOT SUPPORTED (SPC-4 annex F).
pub const ASC_LUN_NOT_SUPPORTED: u16 = 0x2500;

/// Sense data of a failed command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key, SPC-4 table 48.
    pub key: u8,
    /// Additional sense code in the high byte, qualifier in the low one.
    pub asc_ascq: u16,
}

impl std::fmt::Display for Sense {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [asc, ascq] = self.asc_ascq.to_be_bytes();
        write!(f, "{:X}/{asc:02X}/{ascq:02X}", self.key)
    }
}

/// Why a command or a login failed.
#[derive(Debug, thiserror::Error)]
pub enum InitiatorError {
    /// A name with a NUL byte, or no memory for a context.
    #[error("cannot set up a session with {0}")]
    Setup(String),
    /// Connection or login was refused.
    #[error("login at {portal} as {initiator}: {reason}")]
    Login {
        /// Address of the portal.
        portal: SocketAddr,
        /// Initiator name used.
        initiator: String,
        /// libiscsi's words.
        reason: String,
    },
    /// CHECK CONDITION.
    #[error("{command} to LUN {lun} failed with sense {sense}")]
    Check {
        /// Name of the command.
        command: &'static str,
        /// LUN number.
        lun: u8,
        /// What the device said.
        sense: Sense,
    },
    /// No answer in time.
    #[error("{command} to LUN {lun} was not answered in time")]
    TimedOut {
        /// Name of the command.
        command: &'static str,
        /// LUN number.
        lun: u8,
    },
    /// Another status, a broken connection, or an answer that is too short.
    #[error("{command} to LUN {lun}: {reason}")]
    Failed {
        /// Name of the command.
        command: &'static str,
        /// LUN number.
        lun: u8,
        /// What happened.
        reason: String,
    },
}

impl InitiatorError {
    /// The sense data, when the device gave some.
    pub fn sense(&self) -> Option<Sense> {
        match self {
            Self::Check { sense, .. } => Some(*sense),
            _ => None,
        }
    }
}

/// A unit attention that a command met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// LUN number that reported it.
    pub lun: u8,
    /// Additional sense code and qualifier.
    pub asc_ascq: u16,
}

/// Where a session goes and who it is.
#[derive(Clone, Debug)]
pub struct Portal {
    /// Address of the portal.
    pub address: SocketAddr,
    /// Target name (IQN).
    pub target: String,
    /// Initiator name (IQN) to log in with.
    pub initiator: String,
}

/// Capacity of a disk (READ CAPACITY 16, SBC-3 5.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes of a logical block.
    pub block_bytes: u32,
}

/// One logged-in session; logs out when dropped.
pub struct Initiator {
    context: Context,
    attentions: Vec<Attention>,
}

impl Initiator {
    /// Connects and logs in. Each command waits at most `timeout` (whole seconds, at least one).
    pub fn connect(portal: &Portal, timeout: Duration) -> Result<Self, InitiatorError> {
        let text = |s: &str| CString::new(s).map_err(|_| InitiatorError::Setup(s.to_owned()));
        let seconds = i32::try_from(timeout.as_secs().max(1)).unwrap_or(i32::MAX);
        let mut context = Context::new(&text(&portal.initiator)?, &text(&portal.target)?, seconds)
            .ok_or_else(|| InitiatorError::Setup(portal.initiator.clone()))?;
        context
            .connect(&text(&portal.address.to_string())?)
            .map_err(|reason| InitiatorError::Login {
                portal: portal.address,
                initiator: portal.initiator.clone(),
                reason,
            })?;
        Ok(Self {
            context,
            attentions: Vec::new(),
        })
    }

    /// The unit attentions met since the last call.
    pub fn take_attentions(&mut self) -> Vec<Attention> {
        std::mem::take(&mut self.attentions)
    }

    /// LUN numbers that the target shows to this initiator, well-known ones left out (REPORT LUNS, SPC-4 6.33).
    ///
    /// # Errors
    /// Also when the list is cut short or uses an addressing method other than peripheral or flat space.
    pub fn report_luns(&mut self) -> Result<Vec<u8>, InitiatorError> {
        let done = self.run("REPORT LUNS", 0, |c| c.report_luns(16 + 256 * 8))?;
        let malformed = || InitiatorError::Failed {
            command: "REPORT LUNS",
            lun: 0,
            reason: format!("malformed list of {} bytes", done.data.len()),
        };
        let (head, list) = done.data.split_at_checked(8).ok_or_else(malformed)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let list = list.get(..length).ok_or_else(malformed)?;
        let mut luns = Vec::new();
        for entry in list.chunks_exact(8) {
            match (entry[0] >> 6, entry[0] & 0x3F) {
                (0 | 1, 0) => luns.push(entry[1]),
                (3, _) => {}
                _ => return Err(malformed()),
            }
        }
        Ok(luns)
    }

    /// TEST UNIT READY, once: a unit attention is an error here (and is also taken note of).
    pub fn test_unit_ready(&mut self, lun: u8) -> Result<(), InitiatorError> {
        let done = self.context.test_unit_ready(lun);
        let result = judge("TEST UNIT READY", lun, done).map(|_| ());
        self.note(&result, lun);
        result
    }

    /// Standard INQUIRY data, or a vital product data page, as it came.
    pub fn inquiry(&mut self, lun: u8, page: Option<u8>) -> Result<Vec<u8>, InitiatorError> {
        Ok(self.run("INQUIRY", lun, |c| c.inquiry(lun, page))?.data)
    }

    /// Capacity of a disk.
    pub fn capacity(&mut self, lun: u8) -> Result<Capacity, InitiatorError> {
        let done = self.run("READ CAPACITY", lun, |c| c.read_capacity(lun))?;
        let short = || InitiatorError::Failed {
            command: "READ CAPACITY",
            lun,
            reason: format!("{} bytes are too few", done.data.len()),
        };
        let last = done.data.first_chunk::<8>().ok_or_else(short)?;
        let block = done.data.get(8..12).ok_or_else(short)?;
        let capacity = Capacity {
            blocks: u64::from_be_bytes(*last).saturating_add(1),
            block_bytes: u32::from_be_bytes([block[0], block[1], block[2], block[3]]),
        };
        match capacity.block_bytes {
            512 | 4096 => Ok(capacity),
            other => Err(InitiatorError::Failed {
                command: "READ CAPACITY",
                lun,
                reason: format!("a block of {other} bytes"),
            }),
        }
    }

    /// Reads `length_bytes` from `offset` (both whole blocks of 512 bytes; the disk must have such blocks).
    pub fn read(
        &mut self,
        lun: u8,
        offset: u64,
        length_bytes: usize,
    ) -> Result<Vec<u8>, InitiatorError> {
        let mut data = Vec::with_capacity(length_bytes);
        while data.len() < length_bytes {
            let part = (length_bytes - data.len()).min(TRANSFER_BYTES_MAX);
            let lba = (offset + data.len() as u64) / BLOCK_BYTES;
            let done = self.run("READ", lun, |c| {
                c.read(lun, lba, part as u32, BLOCK_BYTES as u32)
            })?;
            if done.data.len() != part {
                return Err(InitiatorError::Failed {
                    command: "READ",
                    lun,
                    reason: format!("{} of {part} bytes came", done.data.len()),
                });
            }
            data.extend_from_slice(&done.data);
        }
        Ok(data)
    }

    /// Writes `data` at `offset` (whole blocks of 512 bytes).
    pub fn write(&mut self, lun: u8, offset: u64, data: &[u8]) -> Result<(), InitiatorError> {
        let mut at = offset;
        for part in data.chunks(TRANSFER_BYTES_MAX) {
            let lba = at / BLOCK_BYTES;
            self.run("WRITE", lun, |c| {
                c.write(lun, lba, part, BLOCK_BYTES as u32)
            })?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// SYNCHRONIZE CACHE of the whole disk.
    pub fn synchronize_cache(&mut self, lun: u8) -> Result<(), InitiatorError> {
        self.run("SYNCHRONIZE CACHE", lun, |c| c.synchronize_cache(lun))
            .map(|_| ())
    }

    /// Runs a command, again after each unit attention.
    fn run(
        &mut self,
        command: &'static str,
        lun: u8,
        mut issue: impl FnMut(&mut Context) -> Result<Completion, String>,
    ) -> Result<Completion, InitiatorError> {
        for _ in 0..UNIT_ATTENTIONS_MAX {
            let result = judge(command, lun, issue(&mut self.context));
            self.note(&result, lun);
            match result {
                Err(InitiatorError::Check { sense, .. })
                    if i32::from(sense.key) == KEY_UNIT_ATTENTION => {}
                other => return other,
            }
        }
        Err(InitiatorError::Failed {
            command,
            lun,
            reason: format!("{UNIT_ATTENTIONS_MAX} unit attentions in a row"),
        })
    }

    fn note<T>(&mut self, result: &Result<T, InitiatorError>, lun: u8) {
        if let Err(InitiatorError::Check { sense, .. }) = result
            && i32::from(sense.key) == KEY_UNIT_ATTENTION
        {
            self.attentions.push(Attention {
                lun,
                asc_ascq: sense.asc_ascq,
            });
        }
    }
}

/// Logical block size that [`Initiator::read`] and [`Initiator::write`] count in.
pub const BLOCK_BYTES: u64 = 512;

fn judge(
    command: &'static str,
    lun: u8,
    done: Result<Completion, String>,
) -> Result<Completion, InitiatorError> {
    let failed = |reason| InitiatorError::Failed {
        command,
        lun,
        reason,
    };
    let done = done.map_err(failed)?;
    match done.status {
        STATUS_GOOD => Ok(done),
        STATUS_CHECK_CONDITION => Err(InitiatorError::Check {
            command,
            lun,
            sense: Sense {
                key: (done.sense_key & 0x0F) as u8,
                asc_ascq: (done.asc_ascq & 0xFFFF) as u16,
            },
        }),
        STATUS_TIMED_OUT => Err(InitiatorError::TimedOut { command, lun }),
        status => Err(InitiatorError::Failed {
            command,
            lun,
            reason: format!("status {status:#x}"),
        }),
    }
}
