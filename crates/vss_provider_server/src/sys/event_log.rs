// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing to the Application log.

// UNSAFETY: calls the Win32 event log functions.
#![expect(unsafe_code)]

use super::wide;
use crate::event_log::Log;
use crate::ids;
use vss_provider::Severity;
use windows::Win32::Foundation::HANDLE;
use windows::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
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

impl Drop for SystemLog {
    fn drop(&mut self) {
        if let Some(handle) = self.0 {
            // SAFETY: the handle is ours, closed once. A failure leaves nothing to do.
            let _ = unsafe { DeregisterEventSource(handle) };
        }
    }
}
