// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one translation of array errors into the codes that each method may return (specification 8.2, ERR-4).

use crate::Hresult;
use array_api::ArrayErrorKind;
use std::fmt;

/// The methods of the four provider interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the COM method of the same name")]
pub enum Method {
    AreLunsSupported,
    FillInLunInfo,
    BeginPrepareSnapshot,
    GetTargetLuns,
    LocateLuns,
    OnLunEmpty,
    GetProviderCapabilities,
    OnLunStateChange,
    ResyncLuns,
    OnReuseLuns,
    EndPrepareSnapshots,
    PreCommitSnapshots,
    CommitSnapshots,
    PostCommitSnapshots,
    PreFinalCommitSnapshots,
    PostFinalCommitSnapshots,
    AbortSnapshots,
    OnLoad,
    OnUnload,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The codes that a method may return: the matrix 8.2.
pub fn permitted(method: Method) -> &'static [Hresult] {
    const ORDINARY: [Hresult; 4] = [
        Hresult::S_OK,
        Hresult::E_OUTOFMEMORY,
        Hresult::E_INVALIDARG,
        Hresult::VSS_E_PROVIDER_VETO,
    ];
    const PHASE: [Hresult; 5] = [
        Hresult::S_OK,
        Hresult::E_OUTOFMEMORY,
        Hresult::E_INVALIDARG,
        Hresult::VSS_E_PROVIDER_VETO,
        Hresult::VSS_E_OBJECT_NOT_FOUND,
    ];
    match method {
        Method::BeginPrepareSnapshot => &[
            Hresult::S_OK,
            Hresult::E_OUTOFMEMORY,
            Hresult::E_INVALIDARG,
            Hresult::VSS_E_PROVIDER_VETO,
            Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
            Hresult::VSS_E_NESTED_VOLUME_LIMIT,
            Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
            Hresult::VSS_E_UNSUPPORTED_CONTEXT,
        ],
        Method::EndPrepareSnapshots => &[
            Hresult::S_OK,
            Hresult::E_OUTOFMEMORY,
            Hresult::E_INVALIDARG,
            Hresult::VSS_E_PROVIDER_VETO,
            Hresult::VSS_E_OBJECT_NOT_FOUND,
            Hresult::VSS_E_INSUFFICIENT_STORAGE,
        ],
        Method::PreCommitSnapshots
        | Method::CommitSnapshots
        | Method::PostCommitSnapshots
        | Method::AbortSnapshots => &PHASE,
        // E_INVALIDARG (RSY-5) and E_NOTIMPL (RSY-16) are decisions beyond the method's page.
        Method::ResyncLuns => &[
            Hresult::S_OK,
            Hresult::E_OUTOFMEMORY,
            Hresult::E_INVALIDARG,
            Hresult::VSS_E_PROVIDER_VETO,
            Hresult::VSS_E_INSUFFICIENT_STORAGE,
            Hresult::E_NOTIMPL,
        ],
        Method::GetProviderCapabilities | Method::OnReuseLuns => &[Hresult::E_NOTIMPL],
        Method::OnUnload => &[Hresult::S_OK, Hresult::S_FALSE],
        _ => &ORDINARY,
    }
}

/// What a method answers when the array answered so. Everything without a better code is VETO, and every code but
/// E_NOTIMPL goes with an event (ERR-3, ERR-5).
pub fn translate(method: Method, kind: ArrayErrorKind) -> Hresult {
    use ArrayErrorKind as Kind;
    match (method, kind) {
        (Method::EndPrepareSnapshots | Method::ResyncLuns, Kind::NoSpace) => {
            Hresult::VSS_E_INSUFFICIENT_STORAGE
        }
        (Method::BeginPrepareSnapshot, Kind::LimitReached) => {
            Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED
        }
        (Method::BeginPrepareSnapshot, Kind::UnknownLun | Kind::Forbidden | Kind::NotACopy) => {
            Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER
        }
        (Method::BeginPrepareSnapshot, Kind::NotSupported) => Hresult::VSS_E_UNSUPPORTED_CONTEXT,
        (Method::ResyncLuns, Kind::NotSupported) => Hresult::E_NOTIMPL,
        _ => Hresult::VSS_E_PROVIDER_VETO,
    }
}

/// Whether the array may have carried the call out although it failed (SEQ-38). `Internal` counts: an array that failed
/// half-way is not trusted to have undone its half.
pub fn outcome_unknown(kind: ArrayErrorKind) -> bool {
    matches!(
        kind,
        ArrayErrorKind::TimedOut
            | ArrayErrorKind::Unreachable
            | ArrayErrorKind::Protocol
            | ArrayErrorKind::Internal
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, Severity};

    const KINDS: [ArrayErrorKind; 18] = [
        ArrayErrorKind::InvalidRequest,
        ArrayErrorKind::Unauthenticated,
        ArrayErrorKind::Forbidden,
        ArrayErrorKind::UnknownSet,
        ArrayErrorKind::UnknownLun,
        ArrayErrorKind::UnknownResync,
        ArrayErrorKind::AlreadyExists,
        ArrayErrorKind::WrongState,
        ArrayErrorKind::NotACopy,
        ArrayErrorKind::NoSpace,
        ArrayErrorKind::LimitReached,
        ArrayErrorKind::NotSupported,
        ArrayErrorKind::DeadlinePassed,
        ArrayErrorKind::FenceTimeout,
        ArrayErrorKind::Internal,
        ArrayErrorKind::Unreachable,
        ArrayErrorKind::TimedOut,
        ArrayErrorKind::Protocol,
    ];

    /// T-232, ERR-1: no error of the array leaves the matrix, and none becomes a success.
    #[test]
    fn t232_every_translation_is_in_the_matrix() {
        use Method::*;
        let methods = [
            AreLunsSupported,
            BeginPrepareSnapshot,
            GetTargetLuns,
            LocateLuns,
            OnLunEmpty,
            OnLunStateChange,
            ResyncLuns,
            EndPrepareSnapshots,
            PreCommitSnapshots,
            CommitSnapshots,
            AbortSnapshots,
        ];
        for method in methods {
            for kind in KINDS {
                let code = translate(method, kind);
                assert!(permitted(method).contains(&code), "{method} {kind:?}");
                assert!(!code.is_success(), "{method} {kind:?}");
            }
        }
    }

    /// T-232, ERR-1: what has a code of its own; everything else is VETO.
    #[test]
    fn t232_translations_with_a_code_of_their_own() {
        use ArrayErrorKind::{
            Forbidden, LimitReached, NoSpace, NotACopy, NotSupported, UnknownLun,
        };
        use Method::{BeginPrepareSnapshot as Begin, EndPrepareSnapshots as End, ResyncLuns};
        let not_ours = Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER;
        let too_many = Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED;
        let own = [
            (Begin, LimitReached, too_many),
            (Begin, UnknownLun, not_ours),
            (Begin, Forbidden, not_ours),
            (Begin, NotACopy, not_ours),
            (Begin, NotSupported, Hresult::VSS_E_UNSUPPORTED_CONTEXT),
            (End, NoSpace, Hresult::VSS_E_INSUFFICIENT_STORAGE),
            (ResyncLuns, NoSpace, Hresult::VSS_E_INSUFFICIENT_STORAGE),
            (ResyncLuns, NotSupported, Hresult::E_NOTIMPL),
        ];
        for method in [Begin, End, ResyncLuns, Method::CommitSnapshots] {
            for kind in KINDS {
                let row = own.iter().find(|row| row.0 == method && row.1 == kind);
                let expected = row.map_or(Hresult::VSS_E_PROVIDER_VETO, |row| row.2);
                assert_eq!(translate(method, kind), expected, "{method} {kind:?}");
            }
        }
    }

    /// CAP-2, REU-2, LOAD-5: the methods that have codes which no other has.
    #[test]
    fn permitted_reserved_methods_and_unload_have_their_own_codes() {
        for method in [Method::GetProviderCapabilities, Method::OnReuseLuns] {
            assert_eq!(permitted(method), [Hresult::E_NOTIMPL]);
        }
        let unload = permitted(Method::OnUnload);
        assert_eq!(unload, [Hresult::S_OK, Hresult::S_FALSE]);
    }

    /// SEQ-38: an array that refused has done nothing; one that did not answer, or broke, may have.
    #[test]
    fn outcome_unknown_only_without_a_clear_answer() {
        let unknown = [
            ArrayErrorKind::TimedOut,
            ArrayErrorKind::Unreachable,
            ArrayErrorKind::Protocol,
            ArrayErrorKind::Internal,
        ];
        for kind in KINDS {
            assert_eq!(outcome_unknown(kind), unknown.contains(&kind), "{kind:?}");
        }
    }

    /// LOG-5: whatever the array answers, the event of the call that fails by it is an Error.
    #[test]
    fn every_kind_of_array_error_is_told_as_an_error() {
        for kind in KINDS {
            let told = EventKind::of(kind);
            assert_eq!(told.severity(), Severity::Error, "{kind:?}");
        }
    }

    /// ERR-9.
    #[test]
    fn permitted_never_holds_codes_that_vss_calls_unexpected() {
        for code in [0x8000_4005, 0x8000_FFFF, 0x8000_4004, 0x8000_4003] {
            for method in [Method::AbortSnapshots, Method::OnLoad, Method::ResyncLuns] {
                assert!(!permitted(method).contains(&Hresult(code)));
            }
        }
    }
}
