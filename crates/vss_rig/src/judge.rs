// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for every call of every scenario: codes inside the specification's matrix 8.2 (T-232), an event with a remedy for each
//! VETO (T-233), none while writes are frozen (T-104).
//!
//! The matrix is written down here a second time, so that a mistake in the provider's own does not hide itself.

use crate::host::LoggedEvent;
use uuid::Uuid;
use vss_provider::Hresult;

/// Watches one provider's calls and events.
#[derive(Default)]
pub(crate) struct Judge {
    /// The set whose EndPrepareSnapshots succeeded last: PreCommitSnapshots freezes it.
    prepared: Option<Uuid>,
    is_frozen: bool,
    /// Calls that ended a freeze, so far.
    thaws: u64,
    vetoes: usize,
    failures: usize,
    /// Events of severity Error.
    errors: usize,
    findings: Vec<String>,
}

/// One call under way.
pub(crate) struct Watched {
    method: &'static str,
    set: Option<Uuid>,
    thaws_before: u64,
}

impl Judge {
    /// A call is about to be made; `earlier` are events that came since the last look.
    pub(crate) fn begins(
        &mut self,
        method: &'static str,
        set: Option<Uuid>,
        earlier: &[LoggedEvent],
    ) -> Watched {
        self.look_at(method, earlier, self.is_frozen);
        if ends_a_freeze(method) {
            self.is_frozen = false;
            self.prepared = None;
            self.thaws += 1;
        }
        let freezes = method == "PreCommitSnapshots" && set.is_some() && set == self.prepared;
        if freezes {
            self.is_frozen = true;
        }
        Watched {
            method,
            set,
            thaws_before: self.thaws,
        }
    }

    /// The call has come back; `events` came meanwhile.
    pub(crate) fn ended(&mut self, call: &Watched, code: Hresult, events: &[LoggedEvent]) {
        // A call that another one overtook may be written about at once: that one has ended the freeze.
        let was_frozen = self.is_frozen && call.thaws_before == self.thaws;
        self.look_at(call.method, events, was_frozen);
        if code.is_success() {
            if call.method == "EndPrepareSnapshots" {
                self.prepared = call.set;
            }
        } else {
            self.failures += 1;
            self.vetoes += usize::from(code == Hresult::VSS_E_PROVIDER_VETO);
        }
        if !permitted(call.method).contains(&code) {
            let method = call.method;
            self.find(format!("{method} gave {code}, outside the matrix (ERR-1)"));
        }
    }

    /// Events came between two calls.
    pub(crate) fn came(&mut self, events: &[LoggedEvent]) {
        self.look_at("between calls", events, self.is_frozen);
    }

    /// What was found, once all calls have come back; `last` are the events since the last look.
    pub(crate) fn verdict(&mut self, last: &[LoggedEvent]) -> Vec<String> {
        self.came(last);
        if !(self.vetoes..=self.failures).contains(&self.errors) {
            let (vetoes, failures, errors) = (self.vetoes, self.failures, self.errors);
            self.find(format!(
                "{errors} error events for {vetoes} vetoes among {failures} failed calls (ERR-3, LOG-4)"
            ));
        }
        std::mem::take(&mut self.findings)
    }

    fn look_at(&mut self, method: &str, events: &[LoggedEvent], is_frozen: bool) {
        for event in events {
            self.errors += usize::from(event.is_error);
            if is_frozen {
                self.find(format!(
                    "{method}: logged while frozen (ERR-6): {}",
                    event.text
                ));
            }
            if event.is_error && event.remedy.is_empty() {
                self.find(format!(
                    "{method}: an error without a remedy (ERR-3): {}",
                    event.text
                ));
            }
        }
    }

    fn find(&mut self, what: String) {
        self.findings.push(what);
    }
}

/// Whether VSS makes this call only when writes flow (again).
fn ends_a_freeze(method: &str) -> bool {
    matches!(
        method,
        "PostCommitSnapshots"
            | "AbortSnapshots"
            | "BeginPrepareSnapshot"
            | "EndPrepareSnapshots"
            | "GetTargetLuns"
            | "PreFinalCommitSnapshots"
            | "PostFinalCommitSnapshots"
            | "OnUnload"
    )
}

/// Specification 8.2, with E_INVALIDARG and E_NOTIMPL of ResyncLuns as its RSY-5 and RSY-16 want.
fn permitted(method: &str) -> Vec<Hresult> {
    let common = [
        Hresult::S_OK,
        Hresult::E_OUTOFMEMORY,
        Hresult::E_INVALIDARG,
        Hresult::VSS_E_PROVIDER_VETO,
    ];
    let more: &[Hresult] = match method {
        "OnUnload" => return vec![Hresult::S_OK, Hresult::S_FALSE],
        "GetProviderCapabilities" | "OnReuseLuns" => return vec![Hresult::E_NOTIMPL],
        "BeginPrepareSnapshot" => &[
            Hresult::VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED,
            Hresult::VSS_E_NESTED_VOLUME_LIMIT,
            Hresult::VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
            Hresult::VSS_E_UNSUPPORTED_CONTEXT,
        ],
        "EndPrepareSnapshots" => &[
            Hresult::VSS_E_OBJECT_NOT_FOUND,
            Hresult::VSS_E_INSUFFICIENT_STORAGE,
        ],
        "PreCommitSnapshots" | "CommitSnapshots" | "PostCommitSnapshots" | "AbortSnapshots" => {
            &[Hresult::VSS_E_OBJECT_NOT_FOUND]
        }
        "ResyncLuns" => &[Hresult::VSS_E_INSUFFICIENT_STORAGE, Hresult::E_NOTIMPL],
        _ => &[],
    };
    [&common, more].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S1: Uuid = Uuid::from_u128(1);
    const VETO: Hresult = Hresult::VSS_E_PROVIDER_VETO;

    fn error(remedy: &str) -> LoggedEvent {
        LoggedEvent {
            id: 300,
            is_error: true,
            text: "it failed".to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    fn call(
        judge: &mut Judge,
        method: &'static str,
        code: Hresult,
        events: &[LoggedEvent],
    ) -> Vec<String> {
        let watched = judge.begins(method, Some(S1), &[]);
        judge.ended(&watched, code, events);
        judge.verdict(&[])
    }

    /// T-232, ERR-1, ERR-4.
    #[test]
    fn t232_code_outside_the_matrix_is_found() {
        for (method, code) in [
            ("CommitSnapshots", Hresult(0x8000_4005)),
            ("LocateLuns", Hresult::VSS_E_OBJECT_NOT_FOUND),
            ("OnLunEmpty", Hresult::S_FALSE),
            ("GetProviderCapabilities", Hresult::S_OK),
        ] {
            let found = call(&mut Judge::default(), method, code, &[]);
            assert!(found[0].contains("outside the matrix"), "{method}");
        }
    }

    /// T-233, ERR-3, LOG-4: none and two are as wrong as one without a remedy.
    #[test]
    fn t233_veto_wants_exactly_one_event_with_a_remedy() {
        let of = |events: &[LoggedEvent]| call(&mut Judge::default(), "LocateLuns", VETO, events);
        assert_eq!(of(&[error("do it")]), [""; 0]);
        assert_eq!(of(&[]).len(), 1);
        assert_eq!(of(&[error("do it"), error("do it")]).len(), 1);
        assert_eq!(of(&[error("")]).len(), 1);
    }

    /// T-104, ERR-6: from PreCommitSnapshots on, until a call that comes only after thaw.
    #[test]
    fn t104_event_while_frozen_is_found() {
        let mut judge = Judge::default();
        call(&mut judge, "EndPrepareSnapshots", Hresult::S_OK, &[]);
        call(&mut judge, "PreCommitSnapshots", Hresult::S_OK, &[]);
        let frozen = call(&mut judge, "CommitSnapshots", VETO, &[error("do it")]);
        assert!(frozen[0].contains("while frozen"), "{frozen:?}");

        let mut judge = Judge::default();
        call(&mut judge, "EndPrepareSnapshots", Hresult::S_OK, &[]);
        let commit = judge.begins("CommitSnapshots", Some(S1), &[]);
        judge.ended(&commit, VETO, &[]);
        let abort = judge.begins("AbortSnapshots", Some(S1), &[]);
        judge.ended(&abort, Hresult::S_OK, &[error("do it")]);
        assert_eq!(judge.verdict(&[]), [""; 0]);
    }

    /// ABT-9: the call that an abort cut short is written about at once.
    #[test]
    fn overtaken_call_may_be_written_about() {
        let mut judge = Judge::default();
        call(&mut judge, "EndPrepareSnapshots", Hresult::S_OK, &[]);
        call(&mut judge, "PreCommitSnapshots", Hresult::S_OK, &[]);
        let commit = judge.begins("CommitSnapshots", Some(S1), &[]);
        let abort = judge.begins("AbortSnapshots", Some(S1), &[]);
        judge.ended(&abort, Hresult::S_OK, &[]);
        judge.ended(&commit, VETO, &[error("do it")]);
        assert_eq!(judge.verdict(&[]), [""; 0]);
    }
}
