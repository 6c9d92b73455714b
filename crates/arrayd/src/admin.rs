// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the admin command line and the daemon say to each other over the unix socket: one request, one answer, JSON.
//! The values of the answers are what `shadowlun --json` prints.

use array_api::{CopyInfo, LunId, LunIdentity, Orphan, SetId, SnapshotId, SpaceLevel};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The only path on the socket.
pub const PATH: &str = "/admin/v1";

/// What an administrator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AdminRequest {
    /// Creates a thin LUN, mapped to `hosts`. Answer: [`LunView`].
    LunCreate {
        /// Unique name.
        name: String,
        /// Capacity in bytes.
        size_bytes: u64,
        /// Hosts to map it to.
        hosts: Vec<String>,
    },
    /// All LUNs. Answer: list of [`LunView`].
    LunList,
    /// One LUN, by name or id. Answer: [`LunView`].
    LunShow {
        /// Name or id.
        lun: String,
    },
    /// Deletes a LUN that no host has mapped and no set in progress uses. Answer: [`LunView`] as it was.
    LunDelete {
        /// Name or id.
        lun: String,
    },
    /// Maps a LUN to a host. Answer: [`LunView`].
    LunMap {
        /// Name or id.
        lun: String,
        /// The host.
        host: String,
    },
    /// Unmaps a LUN from a host. Answer: [`LunView`].
    LunUnmap {
        /// Name or id.
        lun: String,
        /// The host.
        host: String,
    },
    /// Adds a host. Answer: [`HostAdded`].
    HostAdd {
        /// Unique name.
        name: String,
        /// Its iSCSI initiator names.
        iqns: BTreeSet<String>,
        /// May resync.
        allow_resync: bool,
        /// `HOST:PORT` for the enrolment line, instead of the daemon's own idea.
        address: Option<String>,
    },
    /// All hosts. Answer: list of [`HostView`].
    HostList,
    /// Removes a host that has no LUN mapped; its token ends. Answer: [`HostView`] as it was.
    HostRemove {
        /// The host.
        name: String,
    },
    /// Creates an empty host group. Answer: [`GroupView`].
    GroupCreate {
        /// Unique name.
        name: String,
    },
    /// Adds a host to a group. Answer: [`GroupView`].
    GroupAdd {
        /// The group.
        group: String,
        /// The host.
        host: String,
    },
    /// Removes a host from a group, or the whole group. Answer: [`GroupView`] as it is or was.
    GroupRemove {
        /// The group.
        group: String,
        /// The host; `None` for the group itself.
        host: Option<String>,
    },
    /// All groups. Answer: list of [`GroupView`].
    GroupList,
    /// All sets that the array remembers. Answer: list of [`SetView`].
    SetList,
    /// One set. Answer: [`SetView`].
    SetShow {
        /// The set.
        set: SetId,
    },
    /// Copies that no host ever mapped, of sets in progress or left behind, of all hosts. Answer: list of
    /// [`array_api::Orphan`].
    Orphans,
    /// The daemon. Answer: [`Status`].
    Status,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminAnswer {
    /// One LUN.
    Lun(Box<LunView>),
    /// LUNs.
    Luns(Vec<LunView>),
    /// A new host, with its secret: told once.
    HostAdded(HostAdded),
    /// One host.
    Host(HostView),
    /// Hosts.
    Hosts(Vec<HostView>),
    /// One group.
    Group(GroupView),
    /// Groups.
    Groups(Vec<GroupView>),
    /// One set.
    Set(SetView),
    /// Sets.
    Sets(Vec<SetView>),
    /// Orphans.
    Orphans(Vec<Orphan>),
    /// The daemon.
    Status(Box<Status>),
}

/// A LUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunView {
    /// Its id.
    pub id: LunId,
    /// Its name.
    pub name: String,
    /// Capacity in bytes.
    pub size_bytes: u64,
    /// Upper bound of the space that it does not share with its source, in bytes.
    pub own_bytes_max: u64,
    /// Creation, seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
    /// The tag, while this is a shadow copy.
    pub copy: Option<CopyInfo>,
    /// Was a shadow copy once.
    pub broken: bool,
    /// LUN number per host.
    pub map: BTreeMap<String, u8>,
    /// What its pages show.
    pub identity: LunIdentity,
}

/// A new host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAdded {
    /// The host.
    pub host: HostView,
    /// The enrolment line. The daemon keeps only a hash of the token in it.
    pub enrolment: String,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: String,
    /// Its iSCSI initiator names.
    pub iqns: BTreeSet<String>,
    /// May resync.
    pub allow_resync: bool,
    /// Groups that it belongs to.
    pub groups: BTreeSet<String>,
    /// LUN id per LUN number.
    pub luns: BTreeMap<u8, LunId>,
    /// Creation, seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
}

/// A host group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its members.
    pub hosts: BTreeSet<String>,
}

/// A shadow copy set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetView {
    /// Its id.
    pub set: SetId,
    /// The host that prepared it.
    pub host: String,
    /// preparing, armed, committing or captured.
    pub phase: String,
    /// The source LUNs of each shadow copy.
    pub snapshots: BTreeMap<SnapshotId, Vec<LunId>>,
    /// Its copies.
    pub copies: Vec<LunView>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the array.
    pub name: String,
    /// Software version.
    pub software: String,
    /// Process id.
    pub pid: u32,
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// Where the management interface listens.
    pub api_address: SocketAddr,
    /// Pin of its key, in hexadecimal.
    pub key_pin: String,
    /// Where the iSCSI target listens.
    pub iscsi_addresses: Vec<SocketAddr>,
    /// Name of the iSCSI target.
    pub target_iqn: String,
    /// Space for data in bytes.
    pub capacity_bytes: u64,
    /// Space free for new data in bytes.
    pub free_bytes: u64,
    /// What that means.
    pub space: SpaceLevel,
    /// Hosts are warned with less free space, in bytes.
    pub warn_free_bytes: u64,
    /// No copy is made with less free space, in bytes.
    pub free_floor_bytes: u64,
    /// Number of LUNs, copies included.
    pub luns: usize,
    /// Number of copies.
    pub copies: usize,
    /// Number of hosts.
    pub hosts: usize,
    /// Number of sets remembered.
    pub sets: usize,
    /// iSCSI sessions.
    pub sessions: Vec<SessionView>,
    /// Why the store refuses writes, if it does.
    pub refuses_writes: Option<String>,
}

/// An iSCSI session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The initiator.
    pub initiator: String,
    /// The host that it belongs to.
    pub host: Option<String>,
    /// Where it comes from.
    pub peer: String,
}
