// SPDX-License-Identifier: MIT OR Apache-2.0
use std::net::SocketAddr;
use std::time::Duration;

/// How a target is set up. [`TargetConfig::new`] fills in limits that suit a server with a few hosts.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// iSCSI name of the target (RFC 7143 4.2.7): `iqn.` and so on, lower case.
    pub iqn: String,
    /// Addresses to listen on; port 0 takes a free one. Loopback only, until there is CHAP.
    pub listen: Vec<SocketAddr>,
    /// Threads that execute commands, shared by all sessions.
    pub workers: usize,
    /// Most sessions at once; more are refused with "out of resources" (0302h).
    pub sessions_max: usize,
    /// Commands of one session that may be under way: the width of the CmdSN window.
    pub tasks_per_session: u32,
    /// Time in which a login has to be finished.
    pub login_within: Duration,
    /// Silence after which the target asks with a NOP-In whether the initiator is still there.
    pub ping_after: Duration,
    /// Silence after that question, or lack of progress in sending, after which the connection is closed.
    pub dead_after: Duration,
}

impl TargetConfig {
    /// A target `iqn` on the addresses `listen`, with default limits.
    pub fn new(iqn: impl Into<String>, listen: Vec<SocketAddr>) -> Self {
        Self {
            iqn: iqn.into(),
            listen,
            workers: 16,
            sessions_max: 256,
            tasks_per_session: 128,
            login_within: Duration::from_secs(15),
            ping_after: Duration::from_secs(30),
            dead_after: Duration::from_secs(30),
        }
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        if !is_iscsi_name(&self.iqn) {
            return Err(StartError::Name(self.iqn.chars().take(256).collect()));
        }
        if self.listen.is_empty() {
            return Err(StartError::NoAddress);
        }
        if let Some(address) = self.listen.iter().find(|a| !a.ip().is_loopback()) {
            return Err(StartError::NotLoopback(*address));
        }
        let limits = [
            ("workers", self.workers, 1, 1024),
            ("sessions_max", self.sessions_max, 1, 4096),
            (
                "tasks_per_session",
                self.tasks_per_session as usize,
                1,
                1024,
            ),
        ];
        for (name, value, min, max) in limits {
            if !(min..=max).contains(&value) {
                return Err(StartError::Limit {
                    name,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

/// Longest iSCSI name in bytes (RFC 7143 4.2.7.1).
pub(crate) const NAME_BYTES_MAX: usize = 223;

/// Whether `name` is an iSCSI name in its normal form (RFC 7143 4.2.7, RFC 3722): a known kind, and lower case
/// letters, digits, dots, dashes and colons.
pub(crate) fn is_iscsi_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && ["iqn.", "eui.", "naa."]
            .iter()
            .any(|kind| name.len() > kind.len() && name.starts_with(kind))
        && name
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | ':') || !c.is_ascii())
}

/// Why a target did not start. Nothing is left listening.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name is no iSCSI name.
    #[error("{0:?} is not an iSCSI name (iqn.yyyy-mm.domain:name, lower case, at most 223 bytes)")]
    Name(String),
    /// Nothing to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// An initiator's name proves nothing, so nothing beyond this machine may reach a target without CHAP.
    #[error(
        "{0} is not a loopback address: without CHAP authentication, which this version does not have, the target listens on 127.0.0.0/8 and ::1 only"
    )]
    NotLoopback(SocketAddr),
    /// A limit makes no sense.
    #[error("{name} is {value}, which is not between {min} and {max}")]
    Limit {
        /// Which field of [`TargetConfig`].
        name: &'static str,
        /// What it was set to.
        value: usize,
        /// Smallest value.
        min: usize,
        /// Largest value.
        max: usize,
    },
    /// Another program listens there.
    #[error("the port of {0} is in use by another program")]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system gave no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// One session, for people.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The target's handle of the session (TSIH).
    pub tsih: u16,
    /// iSCSI name of the initiator.
    pub initiator: String,
    /// Where the initiator connects from.
    pub peer: SocketAddr,
    /// The portal that it uses.
    pub local: SocketAddr,
    /// A discovery session: it sees names, not LUNs.
    pub discovery: bool,
    /// Commands under way.
    pub tasks: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str) -> Result<(), StartError> {
        TargetConfig::new("iqn.2026-11.test:a", vec![address.parse().unwrap()]).check()
    }

    #[test]
    fn check_address_beyond_loopback_names_chap() {
        for address in ["0.0.0.0:3260", "192.0.2.1:3260", "[::]:3260"] {
            let error = check(address).unwrap_err();
            assert!(matches!(error, StartError::NotLoopback(_)));
            assert!(error.to_string().contains("CHAP"));
        }
        assert!(check("127.8.9.1:0").is_ok());
        assert!(check("[::1]:0").is_ok());
    }

    #[test]
    fn is_iscsi_name_wrong_form_is_refused() {
        assert!(is_iscsi_name("iqn.1991-05.com.microsoft:win-host"));
        for name in ["iqn.", "IQN.2026-11.a:b", "shadowlun", "iqn.2026-11.a:b c"] {
            assert!(!is_iscsi_name(name), "{name}");
        }
        assert!(!is_iscsi_name(&format!("iqn.{}", "a".repeat(220))));
    }
}
