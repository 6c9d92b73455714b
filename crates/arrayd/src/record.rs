// SPDX-License-Identifier: MIT OR Apache-2.0
//! The owner record of a LUN: what the array knows of it, stored by the LUN store as opaque bytes beside the LUN itself,
//! in the same transactions as its data (SEQ-39). JSON with a version number.

use array_api::{CopyInfo, LunIdentity, LunRole, LunState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const FORMAT: u32 = 1;

/// What the array knows of a LUN, apart from its id and size, which the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: u32,
    /// Name for people, unique.
    pub name: String,
    /// What its pages show, frozen at creation.
    pub identity: LunIdentity,
    /// Creation, seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
    /// The tag, while this is a shadow copy.
    pub copy: Option<CopyInfo>,
    /// Was a shadow copy once and is an ordinary LUN since (OLS-6).
    pub broken: bool,
    /// LUN number per host that has it mapped.
    pub map: BTreeMap<String, u8>,
}

/// Bytes that are no record of this version.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another version.
    #[error("its record has format {0}, this program knows {FORMAT}")]
    Version(u32),
    /// Not a record.
    #[error("its record does not fit: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Record {
    /// A new LUN's record.
    pub fn new(
        name: String,
        identity: LunIdentity,
        created_unix_s: u64,
        copy: Option<CopyInfo>,
    ) -> Self {
        Self {
            format: FORMAT,
            name,
            identity,
            created_unix_s,
            copy,
            broken: false,
            map: BTreeMap::new(),
        }
    }

    /// The bytes for the store.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has a JSON form")
    }

    /// The record in the store's bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let version: Version = serde_json::from_slice(bytes)?;
        if version.format != FORMAT {
            return Err(RecordError::Version(version.format));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The tag's state, while this is a shadow copy.
    pub fn state(&self) -> Option<LunState> {
        self.copy.as_ref().map(|copy| copy.state)
    }

    /// Holds a set's instant that nobody was told of, or no data yet: dies with the process that made it.
    pub fn untold(&self) -> bool {
        matches!(self.state(), Some(LunState::Reserved | LunState::Captured))
    }

    /// A copy that VSS knows.
    pub fn told(&self) -> bool {
        matches!(self.state(), Some(LunState::Reported | LunState::Mapped))
    }

    /// A copy of this record with the tag in another state. Nothing changes for an original.
    pub fn in_state(&self, state: LunState) -> Self {
        let mut next = self.clone();
        if let Some(copy) = &mut next.copy {
            copy.state = state;
        }
        next
    }

    /// Original or copy, in the contract's terms.
    pub fn role(&self) -> LunRole {
        match &self.copy {
            None => LunRole::Original,
            Some(copy) => LunRole::Copy(copy.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use array_api::{LunId, Oui};

    #[test]
    fn record_survives_a_round_trip() {
        let identity = LunIdentity::new(LunId(7), Oui::LOCAL, *b"0001");
        let mut record = Record::new("data".to_owned(), identity, 5, None);
        record.map.insert("a".to_owned(), 254);
        assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    }

    #[test]
    fn record_of_another_version_is_refused_by_number() {
        let error = Record::decode(br#"{"format": 9}"#).unwrap_err();
        assert!(matches!(error, RecordError::Version(9)));
    }
}
