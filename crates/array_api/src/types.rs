// SPDX-License-Identifier: MIT OR Apache-2.0
use crate::{ErrorBody, LunId, LunIdentity};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of this contract. Raise it with every change of a type or path here; provider and array interoperate
/// with [`OLDEST_CONTRACT_VERSION`] and up.
pub const CONTRACT_VERSION: u32 = 3;
/// The oldest version that this code still speaks.
pub const OLDEST_CONTRACT_VERSION: u32 = 3;

/// VSS's id of a shadow copy set.
pub type SetId = Uuid;
/// VSS's id of a shadow copy (one volume of a set).
pub type SnapshotId = Uuid;
/// The provider's id of a resync, so that a repetition is recognised as one.
pub type ResyncId = Uuid;

/// Who the array is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArrayInfo {
    /// Name that an administrator gave the array.
    pub name: String,
    /// Software version, for people.
    pub software: String,
    /// Newest contract version that the array speaks.
    pub contract_version: u32,
    /// Oldest contract version that the array speaks.
    pub oldest_contract_version: u32,
    /// The calling host's name in the array's catalogue.
    pub host: String,
    /// What copies can be.
    pub capabilities: Capabilities,
    /// Space of the store in bytes.
    pub capacity_bytes: u64,
    /// Space that is free for new data, in bytes.
    pub free_bytes: u64,
    /// What that means to hosts.
    pub space: SpaceLevel,
    /// The array's clock, milliseconds since 1970-01-01 UTC: hosts compare theirs, nothing depends on it.
    pub time_unix_ms: u64,
}

/// How near the array is to refusing writes for want of space (ERR-5, CTX-13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SpaceLevel {
    /// Nothing to say.
    Ample,
    /// Under the administrator's threshold.
    Low,
    /// New data is refused: writes to originals and to copies fail, what was captured stays.
    Exhausted,
}

/// The array's abilities in the terms of the specification's table 6.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capabilities {
    /// D: copy-on-write or redirect-on-write copies.
    pub differential: bool,
    /// P: full copies.
    pub plex: bool,
    /// T: copies can be mapped to other hosts.
    pub transportable: bool,
    /// R: copies survive restarts.
    pub persistent: bool,
    /// A copy can be written back over a LUN.
    pub resync: bool,
    /// Most distinct source LUNs in one set.
    pub luns_per_set_max: u32,
}

/// What the array knows of a LUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LunInfo {
    /// The LUN.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: LunId,
    /// Name in the array's catalogue, for people.
    pub name: String,
    /// Capacity in bytes.
    pub size_bytes: u64,
    /// What its pages show.
    pub identity: LunIdentity,
    /// Whether the calling host has it mapped.
    pub mapped_here: bool,
    /// Whether another host has it mapped.
    pub mapped_elsewhere: bool,
    /// Original or copy.
    pub role: LunRole,
}

/// Original or copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LunRole {
    /// An ordinary LUN; a broken copy is one too.
    Original,
    /// A shadow copy of this provider, with the tag of SEQ-39.
    Copy(CopyInfo),
}

/// The tag of a copy (SEQ-39).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CopyInfo {
    /// The set.
    #[cfg_attr(feature = "openapi", schema(value_type = Uuid))]
    pub set: SetId,
    /// The shadow copies on this LUN (several volumes may share it, SEQ-20).
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Uuid>))]
    pub snapshots: Vec<SnapshotId>,
    /// The LUN that it is a copy of.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub source: LunId,
    /// The host that had it made.
    pub creator_host: String,
    /// The host that mapped it last, if any did (IMP-9).
    pub importing_host: Option<String>,
    /// Life-cycle state.
    pub state: LunState,
    /// Creation of the reservation, seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
}

/// Life-cycle of a copy, kept on the array (specification 4.2). BROKEN copies become originals and RECLAIMED ones are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LunState {
    /// Reserved for a set in progress; holds no data.
    Reserved,
    /// Holds the instant; nobody was told yet.
    Captured,
    /// Told to VSS; only VSS or an administrator gives it up (GTL-12).
    Reported,
    /// Was mapped to a host at least once. Which hosts map it now, the map says.
    Mapped,
}

/// A question before creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckRequest {
    /// The LUNs of one volume.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub luns: Vec<LunId>,
    /// What the copy has to be.
    pub needs: CopyNeeds,
}

/// What a copy has to be, drawn by the provider from the VSS context (specification section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CopyNeeds {
    /// DIFFERENTIAL was asked for.
    pub differential: bool,
    /// PLEX was asked for.
    pub plex: bool,
    /// TRANSPORTABLE was asked for.
    pub transportable: bool,
    /// PERSISTENT was asked for.
    pub persistent: bool,
    /// Recovery writes will reach the copy.
    pub recovery: bool,
}

impl CopyNeeds {
    /// Whether an array with these abilities can make such a copy: the specification's decision table 6.4. Room for recovery
    /// writes is part of the array's own check of space.
    pub fn met_by(self, can: &Capabilities) -> bool {
        let method = match (self.differential, self.plex) {
            (false, false) => can.differential || can.plex,
            (true, false) => can.differential,
            (false, true) => can.plex,
            (true, true) => false,
        };
        method && (!self.transportable || can.transportable) && (!self.persistent || can.persistent)
    }
}

/// The answer to a [`CheckRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckAnswer {
    /// A copy could be prepared now.
    pub supported: bool,
    /// Why not, for people; `None` when supported.
    pub reason: Option<String>,
}

/// One shadow copy to prepare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PrepareRequest {
    /// The shadow copy.
    #[cfg_attr(feature = "openapi", schema(value_type = Uuid))]
    pub snapshot: SnapshotId,
    /// The LUNs of its volume, each once.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub luns: Vec<LunId>,
    /// What the copy has to be.
    pub needs: CopyNeeds,
}

/// What a `prepare` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PrepareOutcome {
    /// The snapshot was added to the set.
    Added,
    /// The same request had been carried out before.
    Identical,
}

/// Whether a set can be committed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Readiness {
    /// Every target is ready.
    Ready,
    /// Still at work; ask again.
    Preparing,
}

/// The answer to `arm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Armed {
    /// Milliseconds from now after which the array refuses to capture.
    pub commit_within_ms: u32,
}

/// The answer to `commit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitReport {
    /// How long writes were held, in microseconds.
    pub held_us: u64,
    /// How long the array worked on the whole call, in microseconds.
    pub total_us: u64,
    /// LUNs captured.
    pub luns: u32,
}

/// One copy, as told to VSS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CopyReport {
    /// The LUN that it is a copy of.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub source: LunId,
    /// The copy.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub copy: LunId,
    /// What the copy's pages will show.
    pub identity: LunIdentity,
}

/// What an `abort` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AbortOutcome {
    /// Copies discarded.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub discarded: Vec<LunId>,
    /// Copies kept: reported ones (without `reported_too`), broken ones, or mapped to another host.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub kept: Vec<LunId>,
}

/// What a `delete` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeleteOutcome {
    /// Unmapped and deleted; space comes back in the background.
    Deleted,
    /// There is no such LUN (any more).
    AlreadyGone,
    /// Another host maps it: unmapped from this host, kept (OLE-7).
    KeptMappedElsewhere,
}

/// One pair of a resync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResyncPair {
    /// The shadow copy to read.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub copy: LunId,
    /// The LUN to overwrite.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub target: LunId,
}

/// State of a resync. Arrays with instant redirect answer `Finished` at once (RSY-15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ResyncStatus {
    /// At work; the targets' contents are undefined until it has finished.
    Running,
    /// Every target reads as its copy.
    Finished,
    /// Stopped on request; the targets' contents are undefined (ASY-4).
    Cancelled,
    /// Stopped by itself; the targets' contents are undefined.
    Failed(ErrorBody),
}

/// A copy that no live set accounts for (SEQ-40).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Orphan {
    /// The copy.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub copy: LunId,
    /// Its tag.
    pub tag: CopyInfo,
}
