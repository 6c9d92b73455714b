// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing to the Application log, and reading it back.

// UNSAFETY: calls the Win32 event log functions.
#![expect(unsafe_code)]

use super::{io_error, wide};
use crate::event_log::Log;
use crate::ids;
use crate::log_reader::{self, Entry, LogReader};
use std::io;
use vss_provider::Severity;
use windows::Win32::Foundation::{ERROR_HANDLE_EOF, HANDLE};
use windows::Win32::System::EventLog::{
    CloseEventLog, DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE,
    EVENTLOG_SEQUENTIAL_READ, EVENTLOG_WARNING_TYPE, OpenEventLogW, READ_EVENT_LOG_READ_FLAGS,
    ReadEventLogW, RegisterEventSourceW, ReportEventW,
};
use windows::core::PCWSTR;

/// The Application log under our source. Entries are lost where the log does not take them: there is nobody else to tell.
pub struct SystemLog(Option<HANDLE>);

// SAFETY: the handle is the event log's; its functions may be called from any thread.
unsafe impl Send for SystemLog {}
// SAFETY: as above.
unsafe impl Sync for SystemLog {}

impl SystemLog {
    /// Opens the log. It works without the source's registration too, with texts that the viewer cannot find.
    pub fn open() -> Self {
        let source = wide(ids::names().event_source);
        // SAFETY: `source` ends with a NUL.
        Self(unsafe { RegisterEventSourceW(PCWSTR::null(), PCWSTR(source.as_ptr())) }.ok())
    }
}

impl Log for SystemLog {
    fn write(&self, severity: Severity, message_id: u32, inserts: &[String; 3]) {
        let Some(handle) = self.0 else { return };
        let kind = match severity {
            Severity::Information => EVENTLOG_INFORMATION_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
            Severity::Error => EVENTLOG_ERROR_TYPE,
        };
        let texts = inserts.each_ref().map(wide);
        let pointers = texts.each_ref().map(|text| PCWSTR(text.as_ptr()));
        // SAFETY: the handle is open until Drop; the strings end with a NUL and outlive the call.
        let _ =
            unsafe { ReportEventW(handle, kind, 0, message_id, None, 0, Some(&pointers), None) };
    }
}

/// Most bytes that are read in search of our entries: a log of the largest size that people set.
const SEARCH_BYTES_MAX: usize = 1 << 30;
/// The longest record, by the documents.
const RECORD_BYTES_MAX: usize = 0x7_FFFF;

/// EVENTLOG_BACKWARDS_READ.
const BACKWARDS: READ_EVENT_LOG_READ_FLAGS = READ_EVENT_LOG_READ_FLAGS(8);

/// The Application log, to read. What Wine cannot show: it has none to read back.
pub struct ApplicationLog;

impl LogReader for ApplicationLog {
    fn newest(&self, count: usize) -> io::Result<Vec<Entry>> {
        let name = wide("Application");
        // SAFETY: `name` ends with a NUL.
        let log = unsafe { OpenEventLogW(PCWSTR::null(), PCWSTR(name.as_ptr())) };
        let log = log.map_err(io_error)?;
        let found = search(log, count);
        // SAFETY: opened above, closed once. A failure leaves nothing to do.
        let _ = unsafe { CloseEventLog(log) };
        found
    }
}

fn search(log: HANDLE, count: usize) -> io::Result<Vec<Entry>> {
    let mut records = vec![0_u8; RECORD_BYTES_MAX];
    let (mut found, mut searched) = (Vec::new(), 0_usize);
    while found.len() < count && searched < SEARCH_BYTES_MAX {
        let (mut read, mut needed) = (0_u32, 0_u32);
        // SAFETY: the buffer has the size that is named; the results go to places of ours.
        let done = unsafe {
            ReadEventLogW(
                log,
                READ_EVENT_LOG_READ_FLAGS(EVENTLOG_SEQUENTIAL_READ.0 | BACKWARDS.0),
                0,
                records.as_mut_ptr().cast(),
                RECORD_BYTES_MAX as u32,
                &raw mut read,
                &raw mut needed,
            )
        };
        match done {
            Err(error) if error.code() == ERROR_HANDLE_EOF.to_hresult() => break,
            done => done.map_err(io_error)?,
        }
        let read = usize::try_from(read).unwrap_or(0).min(records.len());
        if read == 0 {
            break;
        }
        searched += read;
        found.extend(log_reader::of_records(&records[..read]));
    }
    found.truncate(count);
    Ok(found)
}

impl Drop for SystemLog {
    fn drop(&mut self) {
        if let Some(handle) = self.0 {
            // SAFETY: the handle is ours, closed once. A failure leaves nothing to do.
            let _ = unsafe { DeregisterEventSource(handle) };
        }
    }
}
