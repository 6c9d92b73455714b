// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::config::SessionInfo;
pub(crate) struct Session {
    info: SessionInfo,
}
impl Session {
    pub(crate) fn initiator(&self) -> &str {
        &self.info.initiator
    }
    pub(crate) fn info(&self) -> SessionInfo {
        self.info.clone()
    }
    pub(crate) fn close(&self) {}
    pub(crate) fn wait_until_idle(&self) {}
}
