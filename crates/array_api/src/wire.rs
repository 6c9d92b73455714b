// SPDX-License-Identifier: MIT OR Apache-2.0
//! The wire form of the contract: paths, headers and bodies that client and daemon share, so that neither can drift.
//!
//! Every request and every answer is JSON; each call is one request. Errors are [`crate::ErrorBody`] with the status of
//! [`crate::ArrayErrorKind::http_status`].

use crate::{
    CONTRACT_VERSION, CopyReport, DeleteOutcome, LunId, LunInfo, OLDEST_CONTRACT_VERSION, Orphan,
    PrepareOutcome, Readiness, ResyncId, ResyncPair, ResyncStatus, SetId,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Header in which both sides state the contract versions they speak, as `OLDEST-NEWEST`.
pub const CONTRACT_HEADER: &str = "shadowlun-contract";
/// The largest request body that the daemon reads, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The largest answer that the client reads, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// `GET`: [`crate::ArrayInfo`].
pub const INFO: &str = "/v1/info";
/// `GET`: [`OrphanList`].
pub const ORPHANS: &str = "/v1/orphans";
/// `GET`, without a token: the OpenAPI document.
pub const OPENAPI: &str = "/v1/openapi.json";
/// `POST` [`LunList`]: [`LunInfoList`].
pub const QUERY: &str = "/v1/luns/query";
/// `POST` [`crate::CheckRequest`]: [`crate::CheckAnswer`].
pub const CHECK: &str = "/v1/luns/check";
/// `POST` [`LunList`]: [`Done`].
pub const MAP: &str = "/v1/luns/map";
/// `POST` [`LunList`]: [`Done`].
pub const UNMAP: &str = "/v1/luns/unmap";
/// `POST` [`BreakRequest`]: [`Done`].
pub const BREAK: &str = "/v1/luns/break";
/// `POST` [`DeleteRequest`]: [`DeleteAnswer`].
pub const DELETE: &str = "/v1/luns/delete";
/// `POST` [`ResyncRequest`]: [`ResyncAnswer`].
pub const RESYNC: &str = "/v1/luns/resync";
/// `POST` [`ResyncStatusRequest`]: [`ResyncAnswer`].
pub const RESYNC_STATUS: &str = "/v1/luns/resync/status";
/// `POST` [`CancelResyncRequest`]: [`ResyncAnswer`].
pub const CANCEL_RESYNC: &str = "/v1/luns/resync/cancel";

/// A call on one set: `POST /v1/sets/{set}/{step}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetStep {
    /// [`crate::PrepareRequest`]: [`PrepareAnswer`].
    Prepare,
    /// [`ReadyRequest`]: [`ReadyAnswer`].
    Ready,
    /// [`Nothing`]: [`crate::Armed`].
    Arm,
    /// [`Nothing`]: [`crate::CommitReport`].
    Commit,
    /// [`ReportRequest`]: [`ReportAnswer`].
    Report,
    /// [`AbortRequest`]: [`crate::AbortOutcome`].
    Abort,
}

impl SetStep {
    /// The last path element.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Ready => "ready",
            Self::Arm => "arm",
            Self::Commit => "commit",
            Self::Report => "report",
            Self::Abort => "abort",
        }
    }

    /// The whole path for `set`.
    pub fn path(self, set: SetId) -> String {
        format!("/v1/sets/{set}/{}", self.name())
    }
}

/// The contract versions that one side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContractRange {
    /// Oldest version.
    pub oldest: u32,
    /// Newest version.
    pub newest: u32,
}

impl ContractRange {
    /// What this code speaks.
    pub const OURS: Self = Self {
        oldest: OLDEST_CONTRACT_VERSION,
        newest: CONTRACT_VERSION,
    };

    /// Whether some version is spoken by both.
    pub fn meets(self, other: Self) -> bool {
        self.oldest <= other.newest && other.oldest <= self.newest
    }
}

impl fmt::Display for ContractRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.oldest, self.newest)
    }
}

/// A text is no [`ContractRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the contract versions are stated as OLDEST-NEWEST, for example 1-1")]
pub struct ContractRangeError;

impl FromStr for ContractRange {
    type Err = ContractRangeError;

    fn from_str(text: &str) -> Result<Self, ContractRangeError> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| ContractRangeError);
        let (oldest, newest) = text.split_once('-').ok_or(ContractRangeError)?;
        let range = Self {
            oldest: number(oldest)?,
            newest: number(newest)?,
        };
        if range.oldest > range.newest {
            return Err(ContractRangeError);
        }
        Ok(range)
    }
}

/// An empty request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Nothing {}

/// A success that has nothing else to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {}

/// LUNs that a call is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LunList {
    /// The LUNs, 32 hexadecimal digits each.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub luns: Vec<LunId>,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LunInfoList {
    /// In the order asked; `null` for a LUN that the array does not have.
    pub luns: Vec<Option<LunInfo>>,
}

/// The answer to `prepare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrepareAnswer {
    /// What was done.
    pub outcome: PrepareOutcome,
}

/// The body of `ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadyRequest {
    /// How long the array may wait before it answers `preparing`, in milliseconds.
    pub wait_ms: u32,
}

/// The answer to `ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadyAnswer {
    /// Whether the set can be armed and committed.
    pub readiness: Readiness,
}

/// The body of `report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportRequest {
    /// The source LUNs.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub sources: Vec<LunId>,
}

/// The answer to `report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportAnswer {
    /// The copies, in the order of the sources.
    pub copies: Vec<CopyReport>,
}

/// The body of `abort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AbortRequest {
    /// Also discard reported copies.
    pub reported_too: bool,
}

/// The body of `break`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BreakRequest {
    /// The copies.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub luns: Vec<LunId>,
    /// Also unmap them from this host.
    pub unmap_too: bool,
}

/// The body of `delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeleteRequest {
    /// The copy.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub copy: LunId,
}

/// The answer to `delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeleteAnswer {
    /// What was done.
    pub outcome: DeleteOutcome,
}

/// The body of `resync`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResyncRequest {
    /// The caller's name for it; the same id again starts nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Uuid))]
    pub id: ResyncId,
    /// What to overwrite with what.
    pub pairs: Vec<ResyncPair>,
}

/// The body of `resync/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResyncStatusRequest {
    /// The resync.
    #[cfg_attr(feature = "openapi", schema(value_type = Uuid))]
    pub id: ResyncId,
    /// How long the array may wait before it answers `running`, in milliseconds.
    pub wait_ms: u32,
}

/// The body of `resync/cancel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelResyncRequest {
    /// The resync.
    #[cfg_attr(feature = "openapi", schema(value_type = Uuid))]
    pub id: ResyncId,
}

/// The answer to the three calls on a resync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResyncAnswer {
    /// State of the resync.
    pub status: ResyncStatus,
}

/// The answer to `orphans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrphanList {
    /// Copies that no live set accounts for.
    pub orphans: Vec<Orphan>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contract_range_parses_what_it_prints() {
        let text = ContractRange::OURS.to_string();
        assert_eq!(text.parse(), Ok(ContractRange::OURS));
    }

    #[test]
    fn contract_range_malformed_is_refused() {
        for text in ["", "1", "2-1", "a-b", "-1", "1-"] {
            assert_eq!(text.parse::<ContractRange>(), Err(ContractRangeError));
        }
    }

    #[test]
    fn contract_ranges_meet_when_one_version_is_common() {
        let range = |oldest, newest| ContractRange { oldest, newest };
        assert!(range(1, 2).meets(range(2, 3)));
        assert!(range(2, 3).meets(range(1, 2)));
        assert!(!range(1, 1).meets(range(2, 3)));
    }
}
