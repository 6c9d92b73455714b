// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts, host groups and the array's own id, in `catalogue.json`. What belongs to a LUN is not here but in the LUN's
//! owner record in the store, so that it changes in the same transaction as the data.

use crate::durable_file;
use array_api::{LunId, Token};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Version of the file that this code reads and writes.
const FORMAT: u32 = 1;
const FILE: &str = "catalogue.json";

/// The catalogue. A plain value: change a copy, save it, then take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    format: u32,
    /// Identity of the array itself, shown by LUN 0.
    pub array_id: LunId,
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Members of each host group: hosts that may import, mask and delete each other's copies.
    pub groups: BTreeMap<String, BTreeSet<String>>,
}

/// A host: one computer, whatever the number of its initiators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// iSCSI initiator names, in lower case (RFC 7143 4.2.7.2).
    pub iqns: BTreeSet<String>,
    /// SHA-256 of the host's token, in hexadecimal.
    pub token_sha256: String,
    /// May overwrite LUNs mapped to it by resync.
    pub allow_resync: bool,
    /// When it was added, seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
}

/// Why the catalogue cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The system refused.
    #[error(
        "{path} cannot be used: {source} (check its permissions and the space of its file system)"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another version, or not a catalogue.
    #[error(
        "{path} is not a catalogue of this version: {reason} (use the version that wrote it, or restore a backup)"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl Catalogue {
    /// Reads the catalogue in `state_dir`; a new array gets an empty one, with an id of its own, saved at once.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, CatalogueError> {
        let path = state_dir.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                Self::decode(&bytes).map_err(|reason| CatalogueError::Malformed { path, reason })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let catalogue = Self {
                    format: FORMAT,
                    array_id: LunId::random()?,
                    hosts: BTreeMap::new(),
                    groups: BTreeMap::new(),
                };
                catalogue.save(state_dir)?;
                Ok(catalogue)
            }
            Err(source) => Err(CatalogueError::Io { path, source }),
        }
    }

    /// Makes this the catalogue of `state_dir`, durably.
    pub fn save(&self, state_dir: &Path) -> Result<(), CatalogueError> {
        let path = state_dir.join(FILE);
        let mut bytes = serde_json::to_vec_pretty(self).expect("a catalogue has a JSON form");
        bytes.push(b'\n');
        durable_file::replace(&path, &bytes).map_err(|source| CatalogueError::Io { path, source })
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        // The version first: another one may have other fields, and should be named as what it is.
        let version: Version = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version.format != FORMAT {
            return Err(format!(
                "it has format {}, this program knows {FORMAT}",
                version.format
            ));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The host whose token this is. Only hashes are compared, so the time taken tells nothing about a token.
    pub fn host_of_token(&self, token: &Token) -> Option<&str> {
        let hash = hash_text(token);
        let mut hosts = self.hosts.iter();
        hosts
            .find(|(_, host)| host.token_sha256 == hash)
            .map(|(name, _)| name.as_str())
    }

    /// The host that has this initiator.
    pub fn host_of_iqn(&self, iqn: &str) -> Option<&str> {
        let iqn = iqn.to_ascii_lowercase();
        let mut hosts = self.hosts.iter();
        hosts
            .find(|(_, host)| host.iqns.contains(&iqn))
            .map(|(name, _)| name.as_str())
    }

    /// Whether `host` may handle copies that `creator` had made: the same host, or one of a common group.
    pub fn same_group(&self, host: &str, creator: &str) -> bool {
        let together =
            |members: &BTreeSet<String>| members.contains(host) && members.contains(creator);
        host == creator || self.groups.values().any(together)
    }
}

/// A token's hash as the catalogue keeps it.
pub fn hash_text(token: &Token) -> String {
    token
        .sha256()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogue_comes_back_as_saved_without_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalogue = Catalogue::load_or_create(dir.path()).unwrap();
        let token = Token::random().unwrap();
        let host = Host {
            iqns: BTreeSet::from(["iqn.2026-01.x:a".to_owned()]),
            token_sha256: hash_text(&token),
            allow_resync: true,
            created_unix_s: 1,
        };
        catalogue.hosts.insert("a".to_owned(), host);
        catalogue.save(dir.path()).unwrap();

        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(!text.contains(&token.expose()));
        let read = Catalogue::load_or_create(dir.path()).unwrap();
        assert_eq!(read, catalogue);
        assert_eq!(read.host_of_token(&token), Some("a"));
        assert_eq!(read.host_of_token(&Token::random().unwrap()), None);
        assert_eq!(read.host_of_iqn("IQN.2026-01.x:A"), Some("a"));
    }

    #[test]
    fn catalogue_of_another_version_is_refused_by_number() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), br#"{"format": 2, "more": []}"#).unwrap();
        let error = Catalogue::load_or_create(dir.path()).unwrap_err();
        assert!(
            error.to_string().contains("format 2, this program knows 1"),
            "{error}"
        );
    }
}
