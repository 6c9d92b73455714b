// SPDX-License-Identifier: MIT OR Apache-2.0
//! The daemon's configuration file (TOML). Every setting has a default except `state_dir`; an unknown one is an error,
//! because a misspelt limit that is silently ignored is worse than a daemon that does not start.

use crate::size::ByteSize;
use array_api::{Enrolment, KeyPin, Oui, Token};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time from `arm` to the capture (design, "One array call commits").
const COMMIT_DEADLINE_MS_MAX: u64 = 8_000;
/// A smaller store could not hold one LUN's unflushed data.
const CAPACITY_MIN: u64 = 64 << 20;
/// A larger one could not number its chunks. Known here, so that nothing is made before it is refused.
const CAPACITY_MAX: u64 = 255 << 40;

/// An example with every setting at its default, printed by `shadowlund --print-config`.
pub const EXAMPLE: &str = r#"# Configuration of shadowlund. Every setting except state_dir may be left out.

# Where the array keeps everything: the LUN store, the catalogue, its key and the admin socket. Created if missing.
state_dir = "/var/lib/shadowlun"
# Name of the array, shown to hosts and in messages.
name = "shadowlun"
# error, warn, info, debug or trace; or a filter such as "info,iscsi=debug".
log = "info"

[store]
# Space for data. The data file is sparse. Used once, when the store is made.
capacity = "1TiB"
# No copy is prepared or committed with less free space than this, in the store or in the file system under it. Default:
# the smaller of 1 GiB and 5 % of the capacity.
# free_floor = "1GiB"
# With less free space than this, hosts are warned: the array says so in its log and to each provider that asks. Default:
# 10 % of the capacity.
# warn_free = "100GiB"

[api]
# HTTPS for the hosts. Port 0 lets the system choose.
listen = "127.0.0.1:8443"
# HOST:PORT for the enrolment lines, where it is not the address listened on.
# advertise = "array.example.net:8443"

[iscsi]
# Loopback only, until the target can ask initiators for a secret (CHAP). Port 0 lets the system choose.
listen = ["127.0.0.1:3260"]
target = "iqn.2026-01.net.shadowlun:array"
# Windows remembers a disk by its LUN number for a while. A freed number rests this long before a host gets it again, as
# long as that host has others.
number_rest_minutes = 10

[identity]
# Company id of the NAA designators of new LUNs: 6 hexadecimal digits, locally administered until a site has its own.
oui = "025348"

[sets]
# From arm to the capture; later the array refuses. At most 8000.
commit_deadline_ms = 8000
# A set that nobody called for so long and that was never reported is discarded.
idle_minutes = 30
"#;

/// The configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of everything the array keeps.
    pub state_dir: PathBuf,
    /// Name of the array.
    pub name: String,
    /// Filter of the log.
    pub log: String,
    /// Space for data of a new store, in bytes.
    pub capacity_bytes: u64,
    /// Least free space for new copies, in bytes; `None` for the smaller of 1 GiB and 5 % of the store's capacity.
    pub free_floor_bytes: Option<u64>,
    /// Free space below which hosts are warned, in bytes; `None` for 10 % of the store's capacity.
    pub warn_free_bytes: Option<u64>,
    /// Where the management interface listens.
    pub api_listen: SocketAddr,
    /// `HOST:PORT` for enrolment lines; `None` for the address listened on.
    pub api_advertise: Option<String>,
    /// Where the iSCSI target listens.
    pub iscsi_listen: Vec<SocketAddr>,
    /// Name of the iSCSI target.
    pub target_iqn: String,
    /// A freed LUN number is not used again earlier, unless the host has no other.
    pub number_rest: Duration,
    /// Company id of new LUNs' NAA designators.
    pub oui: Oui,
    /// From arm to the capture.
    pub commit_deadline: Duration,
    /// Unreported sets are discarded after this long without a call.
    pub set_idle: Duration,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "the configuration {path} cannot be read: {source} (write one; `shadowlund --print-config` prints an example)"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Not TOML, an unknown setting, or a value of another kind.
    #[error(
        "the configuration {path} does not fit: {reason} (`shadowlund --print-config` prints an example)"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, column and cause, in one line.
        reason: String,
    },
    /// A value that cannot work.
    #[error("the configuration {path} has an impossible {setting}: {reason}")]
    Impossible {
        /// The file.
        path: PathBuf,
        /// The setting's name.
        setting: &'static str,
        /// What is wrong and what would fit.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    state_dir: PathBuf,
    #[serde(default = "default_name")]
    name: String,
    #[serde(default = "default_log")]
    log: String,
    #[serde(default)]
    store: Store,
    #[serde(default)]
    api: Api,
    #[serde(default)]
    iscsi: Iscsi,
    #[serde(default)]
    identity: Identity,
    #[serde(default)]
    sets: Sets,
}

fn default_name() -> String {
    "shadowlun".to_owned()
}

fn default_log() -> String {
    "info".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Store {
    capacity: ByteSize,
    free_floor: Option<ByteSize>,
    warn_free: Option<ByteSize>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            capacity: ByteSize(1 << 40),
            free_floor: None,
            warn_free: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Api {
    listen: SocketAddr,
    advertise: Option<String>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443),
            advertise: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Iscsi {
    listen: Vec<SocketAddr>,
    target: String,
    number_rest_minutes: u64,
}

impl Default for Iscsi {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3260)],
            target: "iqn.2026-01.net.shadowlun:array".to_owned(),
            number_rest_minutes: 10,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Identity {
    oui: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sets {
    commit_deadline_ms: u64,
    idle_minutes: u64,
}

impl Default for Sets {
    fn default() -> Self {
        Self {
            commit_deadline_ms: COMMIT_DEADLINE_MS_MAX,
            idle_minutes: 30,
        }
    }
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks a configuration's text; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            reason: one_line(text, &error),
        })?;
        let impossible = |setting, reason: String| ConfigError::Impossible {
            path: path.to_owned(),
            setting,
            reason,
        };
        file.check()
            .map_err(|(setting, reason)| impossible(setting, reason))
    }
}

type Check = (&'static str, bool, &'static str);

impl File {
    fn check(self) -> Result<Config, (&'static str, String)> {
        let capacity_bytes = self.store.capacity.0;
        let free_floor_bytes = self.store.free_floor.map(|size| size.0);
        let oui = self
            .identity
            .oui
            .as_deref()
            .map(str::parse::<Oui>)
            .transpose();
        let oui = oui.map_err(|error| ("identity.oui", error.to_string()))?;
        let mut checks = self.value_checks().into_iter().chain(self.address_checks());
        if let Some((setting, _, reason)) = checks.find(|(_, wrong, _)| *wrong) {
            return Err((setting, reason.to_owned()));
        }
        Ok(Config {
            state_dir: self.state_dir,
            name: self.name,
            log: self.log,
            capacity_bytes,
            free_floor_bytes,
            warn_free_bytes: self.store.warn_free.map(|size| size.0),
            api_listen: self.api.listen,
            api_advertise: self.api.advertise,
            iscsi_listen: self.iscsi.listen,
            target_iqn: self.iscsi.target,
            number_rest: Duration::from_secs(60 * self.iscsi.number_rest_minutes),
            oui: oui.unwrap_or(Oui::LOCAL),
            commit_deadline: Duration::from_millis(self.sets.commit_deadline_ms),
            set_idle: Duration::from_secs(60 * self.sets.idle_minutes),
        })
    }

    /// Setting, whether it is impossible, and what is possible.
    fn value_checks(&self) -> [Check; 10] {
        let capacity_bytes = self.store.capacity.0;
        let free_floor_bytes = self.store.free_floor.map(|size| size.0);
        let deadline_ms = self.sets.commit_deadline_ms;
        [
            (
                "state_dir",
                self.state_dir.as_os_str().is_empty(),
                "it is empty; name a directory",
            ),
            (
                "name",
                self.name.is_empty()
                    || self.name.len() > 64
                    || self.name.contains(char::is_control),
                "1 to 64 printable characters fit",
            ),
            (
                "store.capacity",
                capacity_bytes < CAPACITY_MIN,
                "at least 64 MiB are needed",
            ),
            (
                "store.capacity",
                capacity_bytes > CAPACITY_MAX,
                "a store has at most 255 TiB",
            ),
            (
                "store.free_floor",
                free_floor_bytes.is_some_and(|floor| floor >= capacity_bytes),
                "it must be below the capacity",
            ),
            (
                "store.warn_free",
                self.store
                    .warn_free
                    .is_some_and(|size| size.0 >= capacity_bytes),
                "it must be below the capacity",
            ),
            (
                "iscsi.number_rest_minutes",
                self.iscsi.number_rest_minutes > 60 * 24,
                "0 minutes to a day fit",
            ),
            (
                "iscsi.target",
                !is_target_name(&self.iscsi.target),
                "iqn.YYYY-MM.DOMAIN:NAME fits, in lower case, of at most 223 characters (RFC 7143 4.2.7)",
            ),
            (
                "sets.commit_deadline_ms",
                deadline_ms == 0 || deadline_ms > COMMIT_DEADLINE_MS_MAX,
                "1 to 8000 fit: Windows gives up after 10 s",
            ),
            (
                "sets.idle_minutes",
                self.sets.idle_minutes == 0 || self.sets.idle_minutes > 60 * 24 * 365,
                "1 minute to a year fits",
            ),
        ]
    }

    /// As above. A target that could not listen, or a host that could not be added, should be known before the store
    /// is made.
    fn address_checks(&self) -> [Check; 4] {
        let listen = &self.iscsi.listen;
        let fixed: Vec<_> = listen
            .iter()
            .filter(|address| address.port() != 0)
            .collect();
        [
            (
                "iscsi.listen",
                self.iscsi.listen.is_empty(),
                "name at least one address",
            ),
            (
                "iscsi.listen",
                self.iscsi
                    .listen
                    .iter()
                    .any(|address| !address.ip().is_loopback()),
                "only loopback addresses fit: without CHAP, which this version does not have, an initiator's name \
                 proves nothing",
            ),
            (
                "iscsi.listen",
                fixed.iter().collect::<BTreeSet<_>>().len() != fixed.len(),
                "it names an address twice; name each once",
            ),
            (
                "api.advertise",
                self.api
                    .advertise
                    .as_deref()
                    .is_some_and(|text| !is_host_address(text)),
                "HOST:PORT fits, as hosts reach the array",
            ),
        ]
    }
}

/// Whether a host could be given this as the array's address.
fn is_host_address(text: &str) -> bool {
    let token: Token = "0".repeat(64).parse().expect("64 digits are a token");
    Enrolment::new(text, KeyPin([0; 32]), token).is_ok()
}

/// Checked here and not only by the target: a daemon that cannot start must not have made its store before.
fn is_target_name(name: &str) -> bool {
    let fits = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':');
    let begins = ["iqn.", "eui.", "naa."]
        .iter()
        .any(|form| name.starts_with(form));
    begins && (5..=223).contains(&name.len()) && name.bytes().all(fits)
}

/// toml's own text shows the source over several lines; a log line is one.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let cause = error.message().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
            format!("line {line}: {cause}")
        }
        None => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("test.toml"))
    }

    #[test]
    fn config_example_equals_the_defaults() {
        let example = parse(EXAMPLE).unwrap();
        let shortest = parse(r#"state_dir = "/var/lib/shadowlun""#).unwrap();
        assert_eq!(example, shortest);
    }

    #[test]
    fn config_unknown_setting_is_refused_in_one_line_with_its_place() {
        let error = parse("state_dir = \"/x\"\n[store]\ncapcity = \"1GiB\"\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("line 3") && text.contains("capcity"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn config_impossible_values_are_refused_by_name() {
        let cases = [
            ("state_dir = ''", "state_dir"),
            ("state_dir = '/x'\nname = ''", "name"),
            (
                "state_dir = '/x'\n[store]\ncapacity = '1MiB'",
                "store.capacity",
            ),
            (
                "state_dir = '/x'\n[store]\nfree_floor = '2TiB'",
                "store.free_floor",
            ),
            (
                "state_dir = '/x'\n[store]\nwarn_free = '2TiB'",
                "store.warn_free",
            ),
            (
                "state_dir = '/x'\n[iscsi]\nnumber_rest_minutes = 1441",
                "iscsi.number_rest_minutes",
            ),
            (
                "state_dir = '/x'\n[store]\ncapacity = '256TiB'",
                "store.capacity",
            ),
            ("state_dir = '/x'\n[iscsi]\nlisten = []", "iscsi.listen"),
            (
                "state_dir = '/x'\n[iscsi]\nlisten = ['127.0.0.1:3260', '127.0.0.1:3260']",
                "iscsi.listen",
            ),
            (
                "state_dir = '/x'\n[api]\nadvertise = 'array'",
                "api.advertise",
            ),
            (
                "state_dir = '/x'\n[iscsi]\nlisten = ['0.0.0.0:0']",
                "iscsi.listen",
            ),
            (
                "state_dir = '/x'\n[iscsi]\ntarget = 'Array'",
                "iscsi.target",
            ),
            (
                "state_dir = '/x'\n[identity]\noui = '12345'",
                "identity.oui",
            ),
            (
                "state_dir = '/x'\n[sets]\ncommit_deadline_ms = 8001",
                "sets.commit_deadline_ms",
            ),
            (
                "state_dir = '/x'\n[sets]\nidle_minutes = 0",
                "sets.idle_minutes",
            ),
        ];
        for (text, setting) in cases {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(&error, ConfigError::Impossible { setting: found, .. } if *found == setting),
                "{text}: {error}"
            );
        }
    }
}
