// SPDX-License-Identifier: MIT OR Apache-2.0
use serde::{Deserialize, Serialize};

/// What a caller can act on. One HTTP status each, in [`ArrayErrorKind::http_status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ArrayErrorKind {
    /// The request makes no sense: empty list, same id for source and target, malformed body.
    InvalidRequest,
    /// No token, or one that the array does not know.
    Unauthenticated,
    /// The host is known and lacks this right.
    Forbidden,
    /// The set was never prepared, or is finished, aborted or discarded.
    UnknownSet,
    /// The array has no such LUN.
    UnknownLun,
    /// The resync was never started by this host, or ended long ago.
    UnknownResync,
    /// The name or id exists already.
    AlreadyExists,
    /// The set is not in a state in which this call is possible.
    WrongState,
    /// The LUN is an original or a broken copy; this call is for shadow copies.
    NotACopy,
    /// Space is short.
    NoSpace,
    /// A documented limit of the array: LUN numbers, copies, members of a set.
    LimitReached,
    /// The array cannot do this at all.
    NotSupported,
    /// Armed too long ago; the array refused to capture.
    DeadlinePassed,
    /// Writes in flight did not come to rest within the fence's time; nothing was captured.
    FenceTimeout,
    /// The array's own fault; its log says more.
    Internal,
    /// No connection, or it broke. Made by the client; the outcome may be unknown.
    Unreachable,
    /// No answer within the caller's time. Made by the client; the outcome is unknown.
    TimedOut,
    /// The answer was not what the contract says, or comes from a peer with another key. Made by the client.
    Protocol,
}

impl ArrayErrorKind {
    /// The HTTP status that carries this kind (the last three never cross the wire).
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::UnknownSet | Self::UnknownLun | Self::UnknownResync => 404,
            Self::AlreadyExists | Self::WrongState | Self::NotACopy | Self::LimitReached => 409,
            Self::DeadlinePassed => 410,
            Self::NotSupported => 422,
            Self::FenceTimeout => 503,
            Self::NoSpace => 507,
            Self::Internal | Self::Protocol => 500,
            Self::Unreachable => 502,
            Self::TimedOut => 504,
        }
    }
}

/// A failed call: what for machines, why and what to do for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({remedy})")]
pub struct ArrayError {
    /// What a caller can act on.
    pub kind: ArrayErrorKind,
    /// What failed and why, one sentence without a full stop.
    pub message: String,
    /// What to do about it, one sentence without a full stop.
    pub remedy: String,
}

impl ArrayError {
    /// An error with its cause and remedy.
    pub fn new(
        kind: ArrayErrorKind,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// The body of every HTTP answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// What a caller can act on.
    pub error: ArrayErrorKind,
    /// What failed and why.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl From<ArrayError> for ErrorBody {
    fn from(error: ArrayError) -> Self {
        Self {
            error: error.kind,
            message: error.message,
            remedy: error.remedy,
        }
    }
}

impl From<ErrorBody> for ArrayError {
    fn from(body: ErrorBody) -> Self {
        Self {
            kind: body.error,
            message: body.message,
            remedy: body.remedy,
        }
    }
}
