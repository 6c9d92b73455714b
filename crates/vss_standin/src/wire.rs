// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the rig and the stand-in say to each other: one JSON document a line, over one TCP connection on loopback.
//!
//! The stand-in connects to the rig, sends one [`Hello`] and then answers [`Request`]s, each on a thread of its own, so that
//! answers come in any order and AbortSnapshots can overtake a blocked call. When the connection ends, the stand-in ends.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vss_provider::LunDescription;

/// The first line: proves that the caller is the one that the rig started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What the rig passed in the environment variable [`COOKIE_VARIABLE`].
    pub cookie: String,
}

/// Environment variable that carries [`Hello::cookie`].
pub const COOKIE_VARIABLE: &str = "VSS_STANDIN_COOKIE";

/// A request of the rig.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Repeated in the answer.
    pub id: u64,
    /// What to do.
    pub order: Order,
}

/// An answer to the request with the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Of the request.
    pub id: u64,
    /// `Err` when the stand-in itself could not do it; a failed COM call is an [`Answer`] with its code.
    pub result: Result<Answer, String>,
}

/// A provider object that the stand-in holds, or an asynchronous operation.
pub type ObjectId = u64;

/// What the stand-in does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// An object of the class, for IUnknown: CoCreateInstance, but out of process the class object is kept as long as its server
    /// lives. Answers `object`.
    Activate {
        /// CLSID.
        class: Uuid,
        /// Which servers COM may use.
        server: Server,
    },
    /// The last Release of everything that the stand-in holds of this object.
    Release {
        /// Which.
        object: ObjectId,
    },
    /// QueryInterface for `to`, called on the pointer of interface `from`. Answers `value` 1 when the IUnknown of what came back is the
    /// object's own (COM identity), else 0.
    QueryInterface {
        /// Which object.
        object: ObjectId,
        /// The interface that is asked.
        from: Uuid,
        /// The interface that is wanted.
        to: Uuid,
    },
    /// A method of the provider, through the newest interface that has it, as VSS has done since Server 2008 (REG-6).
    Call {
        /// Which object.
        object: ObjectId,
        /// Which method, with its arguments.
        method: Method,
    },
    /// As `Call`, with the six methods that IVssHardwareSnapshotProvider shares with its Ex called through the former.
    CallBase {
        /// Which object.
        object: ObjectId,
        /// Which method, with its arguments.
        method: Method,
    },
    /// A method of IVssAsync, on what ResyncLuns gave.
    Async {
        /// Which operation.
        object: ObjectId,
        /// Which method.
        method: AsyncMethod,
    },
    /// HeapValidate of the stand-in's process heap, where CoTaskMem blocks live, and the count of those blocks (T-131). Answers `value` 1
    /// when the heap is sound and all calls so far have left as many blocks as they found, else 0; `texts` say which it was.
    CheckHeap,
    /// Every key and value below HKEY_LOCAL_MACHINE\Software and \System, one text each. Answers `texts`.
    Registry,
    /// IVssAdmin::QueryProviders of the registered coordinator, through COM. Answers `texts`, one a provider:
    /// `{id} | name | type | version | {version id} | {class id}`.
    Providers,
    /// Sets a value that the stand-in coordinator looks at ([`crate::providers::NEXT_REGISTER_ERROR`],
    /// [`crate::providers::PROVIDER_IN_USE`]); 0 takes it back.
    SetRig {
        /// Which.
        name: String,
        /// To what.
        value: u32,
    },
}

/// CLSCTX of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Server {
    /// CLSCTX_LOCAL_SERVER, as VSS.
    Local,
    /// CLSCTX_INPROC_SERVER | CLSCTX_INPROC_HANDLER: has to fail (REG-1).
    InProcess,
}

/// `None` for an array is a NULL pointer where the interface allows one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "names and parameters are those of the interfaces"
)]
pub enum Method {
    AreLunsSupported {
        context: i32,
        luns: Vec<LunDescription>,
    },
    FillInLunInfo {
        lun: LunDescription,
    },
    BeginPrepareSnapshot {
        set: Uuid,
        snapshot: Uuid,
        context: i32,
        luns: Vec<LunDescription>,
    },
    GetTargetLuns {
        sources: Option<Vec<LunDescription>>,
        count: i32,
    },
    LocateLuns {
        luns: Option<Vec<LunDescription>>,
        count: i32,
    },
    OnLunEmpty {
        lun: Option<LunDescription>,
    },
    GetProviderCapabilities,
    OnLunStateChange {
        copies: Option<Vec<LunDescription>>,
        originals: Option<Vec<LunDescription>>,
        count: u32,
        flags: u32,
    },
    ResyncLuns {
        copies: Option<Vec<LunDescription>>,
        targets: Option<Vec<LunDescription>>,
        count: u32,
    },
    OnReuseLuns {
        copies: Option<Vec<LunDescription>>,
        originals: Option<Vec<LunDescription>>,
        count: u32,
    },
    EndPrepareSnapshots {
        set: Uuid,
    },
    PreCommitSnapshots {
        set: Uuid,
    },
    CommitSnapshots {
        set: Uuid,
    },
    PostCommitSnapshots {
        set: Uuid,
        count: i32,
    },
    PreFinalCommitSnapshots {
        set: Uuid,
    },
    PostFinalCommitSnapshots {
        set: Uuid,
    },
    AbortSnapshots {
        set: Uuid,
    },
    /// `with_callback`: pass an object in place of NULL. Answers `value`: references that the provider still holds on it (T-011).
    OnLoad {
        with_callback: bool,
    },
    OnUnload {
        force: bool,
    },
}

/// What the stand-in passes as the device name of the LUN at this place. `None` is a NULL element: a provider identifies a LUN by its
/// description and has to accept both (GEN-11).
pub fn device_name(index: usize) -> Option<String> {
    (index % 3 != 2).then(|| format!(r"\\?\PhysicalDrive{index}"))
}

/// A method of IVssAsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "names are those of the interface")]
pub enum AsyncMethod {
    Cancel,
    Wait {
        milliseconds: u32,
    },
    /// Answers `value`: *pHrResult. pReserved is NULL.
    QueryStatus,
}

/// What came back; which fields are set depends on the order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// HRESULT, as COM gave it: also a code of COM's own, like 0x800706BE when the server died.
    pub code: u32,
    /// The COM call alone, without the way between rig and stand-in.
    pub elapsed_us: u64,
    /// `[in,out]` and `[out]` LUN arrays after the call, also after a failed one.
    pub luns: Vec<LunDescription>,
    /// *pbIsSupported.
    pub supported: Option<bool>,
    /// A number; see the order.
    pub value: Option<u64>,
    /// A new object.
    pub object: Option<ObjectId>,
    /// Lines; see the order.
    pub texts: Vec<String>,
}
