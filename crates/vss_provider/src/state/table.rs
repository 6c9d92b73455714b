// SPDX-License-Identifier: MIT OR Apache-2.0

/// State of the set in progress (specification 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// No set.
    Idle,
    /// BeginPrepareSnapshot was called; targets are being prepared.
    Preparing,
    /// EndPrepareSnapshots waits for the targets.
    Ending,
    /// All targets are ready.
    Prepared,
    /// The array is armed.
    Precommitted,
    /// CommitSnapshots is under way.
    Committing,
    /// All targets are captured.
    Committed,
    /// Captured, and writes flow again; VSS was not told of the targets yet.
    Postcommitted,
    /// GetTargetLuns told VSS of targets.
    Reported,
    /// LocateLuns mapped them.
    Surfaced,
    /// PreFinalCommitSnapshots was called.
    Prefinal,
    /// Finished; the source-to-target map is remembered.
    Created,
    /// Given up.
    Aborted,
}

impl State {
    /// Every state, in the order of the table's rows.
    pub const ALL: [Self; 13] = [
        Self::Idle,
        Self::Preparing,
        Self::Ending,
        Self::Prepared,
        Self::Precommitted,
        Self::Committing,
        Self::Committed,
        Self::Postcommitted,
        Self::Reported,
        Self::Surfaced,
        Self::Prefinal,
        Self::Created,
        Self::Aborted,
    ];

    /// Whether a set is under way, so that an unforced unload has to wait (LOAD-5).
    pub fn is_pending(self) -> bool {
        !matches!(self, Self::Idle | Self::Created | Self::Aborted)
    }
}

/// What VSS can do to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// BeginPrepareSnapshot with the id of the set in progress.
    BeginSame,
    /// BeginPrepareSnapshot with another set id.
    BeginNew,
    /// EndPrepareSnapshots.
    EndPrepare,
    /// PreCommitSnapshots.
    PreCommit,
    /// CommitSnapshots.
    Commit,
    /// PostCommitSnapshots.
    PostCommit,
    /// GetTargetLuns.
    GetTargetLuns,
    /// LocateLuns for copies of the set in progress.
    LocateLuns,
    /// PreFinalCommitSnapshots.
    PreFinal,
    /// PostFinalCommitSnapshots.
    PostFinal,
    /// AbortSnapshots.
    Abort,
}

impl Event {
    /// Every event, in the order of the table's columns.
    pub const ALL: [Self; 11] = [
        Self::BeginSame,
        Self::BeginNew,
        Self::EndPrepare,
        Self::PreCommit,
        Self::Commit,
        Self::PostCommit,
        Self::GetTargetLuns,
        Self::LocateLuns,
        Self::PreFinal,
        Self::PostFinal,
        Self::Abort,
    ];
}

/// What becomes of a set's targets when the set goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposal {
    /// There are none, or they are finished copies.
    Nothing,
    /// `rel`: release the reservations.
    Release,
    /// `disc`: discard what was captured. VSS was told of none, so also what the array holds for reported: such a mark
    /// is the trace of a GetTargetLuns whose answer was lost.
    Discard,
    /// `keep`: keep the reported targets, discard those of volumes not yet reported (SEQ-34).
    Keep,
    /// SEQ-33: VSS gives up a set that it was told of.
    GiveUp,
}

/// One cell of the transition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// Cannot occur.
    Never,
    /// Drop the set in progress and begin the new one.
    Begin(Disposal),
    /// Add a volume to the set.
    Add,
    /// Do the call's work; its success leads to this state.
    Go(State),
    /// Do the call's work; the state stays.
    Stay,
    /// LocateLuns without regard to the set.
    Import,
    /// VETO; the state stays.
    Veto,
    /// VETO; the set is given up: ABORTED.
    Kill(Disposal),
    /// VSS_E_OBJECT_NOT_FOUND; the state stays.
    NotFound,
    /// As `NotFound`, but S_OK for a set that was aborted a short while ago.
    Forgotten,
    /// S_OK; the set is given up: ABORTED.
    Abort(Disposal),
    /// S_OK; it was given up before.
    Again,
}

/// The cell of a state and an event.
pub fn cell(state: State, event: Event) -> Cell {
    TABLE[state as usize][event as usize]
}

use Cell::{Add, Again, Forgotten, Import, Never, NotFound, Stay, Veto};
use State::{
    Committed, Created, Postcommitted, Precommitted, Prefinal, Prepared, Reported, Surfaced,
};

const NEW: Cell = Cell::Begin(Disposal::Nothing);
const NEW_REL: Cell = Cell::Begin(Disposal::Release);
const NEW_DISC: Cell = Cell::Begin(Disposal::Discard);
const NEW_KEEP: Cell = Cell::Begin(Disposal::Keep);
const KILL_REL: Cell = Cell::Kill(Disposal::Release);
const KILL_DISC: Cell = Cell::Kill(Disposal::Discard);
const AB_REL: Cell = Cell::Abort(Disposal::Release);
const AB_DISC: Cell = Cell::Abort(Disposal::Discard);
const AB_GIVE_UP: Cell = Cell::Abort(Disposal::GiveUp);
const fn go(state: State) -> Cell {
    Cell::Go(state)
}

/// Specification 4.3, row for row; a test compares it with the specification's own text.
#[rustfmt::skip]
const TABLE: [[Cell; 11]; 13] = [
    //             same set   new set   EndPrepare    PreCommit         Commit         PostCommit         GetTargets    LocateLuns    PreFinal      PostFinal    Abort
    /* IDLE     */ [Never,    NEW,      NotFound,     NotFound,         NotFound,      NotFound,          Veto,         Import,       Veto,         Veto,        Forgotten],
    /* PREPARING*/ [Add,      NEW_REL,  go(Prepared), KILL_REL,         KILL_REL,      KILL_REL,          Veto,         Veto,         KILL_REL,     KILL_REL,    AB_REL],
    /* ENDING   */ [Veto,     NEW_REL,  Veto,         Veto,             Veto,          Veto,              Veto,         Veto,         Veto,         Veto,        AB_REL],
    /* PREPARED */ [KILL_REL, NEW_REL,  KILL_REL,     go(Precommitted), KILL_REL,      KILL_REL,          Veto,         Veto,         KILL_REL,     KILL_REL,    AB_REL],
    /* PRECOMM. */ [KILL_REL, NEW_REL,  KILL_REL,     KILL_REL,         go(Committed), KILL_REL,          Veto,         Veto,         KILL_REL,     KILL_REL,    AB_REL],
    /* COMMITT. */ [Veto,     NEW_DISC, Veto,         Veto,             Veto,          Veto,              Veto,         Veto,         Veto,         Veto,        AB_DISC],
    /* COMMITTED*/ [KILL_DISC,NEW_DISC, KILL_DISC,    KILL_DISC,        KILL_DISC,     go(Postcommitted), Veto,         Veto,         KILL_DISC,    KILL_DISC,   AB_DISC],
    /* POSTCOMM.*/ [KILL_DISC,NEW_DISC, KILL_DISC,    KILL_DISC,        KILL_DISC,     KILL_DISC,         go(Reported), Veto,         go(Prefinal), Veto,        AB_DISC],
    /* REPORTED */ [Veto,     NEW_KEEP, Veto,         Veto,             Veto,          Veto,              Stay,         go(Surfaced), go(Prefinal), go(Created), AB_GIVE_UP],
    /* SURFACED */ [Veto,     NEW_KEEP, Veto,         Veto,             Veto,          Veto,              Stay,         Stay,         go(Prefinal), go(Created), AB_GIVE_UP],
    /* PREFINAL */ [Veto,     NEW_KEEP, Veto,         Veto,             Veto,          Veto,              Stay,         Stay,         Veto,         go(Created), AB_GIVE_UP],
    /* CREATED  */ [Veto,     NEW,      Veto,         Veto,             Veto,          Veto,              Stay,         Import,       Veto,         Veto,        NotFound],
    /* ABORTED  */ [Veto,     NEW,      NotFound,     NotFound,         NotFound,      NotFound,          Veto,         Veto,         Veto,         Veto,        Again],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The table's rows as they stand in the project's list of requirements.
    fn specification() -> Vec<&'static str> {
        const REQUIREMENTS: &str = include_str!("../../../../docs/requirements.md");
        let (_, rest) = REQUIREMENTS
            .split_once("\n## Transition table\n")
            .expect("the list has the table");
        let section = rest.split("\n## ").next().unwrap_or(rest);
        let rows = section.lines().filter(|line| line.starts_with("| "));
        // The first one names the columns.
        rows.skip(1).collect()
    }

    fn meaning(text: &str) -> Cell {
        match text {
            "n/a" => Cell::Never,
            "add volume" => Cell::Add,
            "PREPARING" | "PREPARING(new)" => Cell::Begin(Disposal::Nothing),
            "rel, PREPARING(new)" | "cancel the wait, rel, PREPARING(new)" => {
                Cell::Begin(Disposal::Release)
            }
            "disc, PREPARING(new)" | "stop, disc, PREPARING(new)" => Cell::Begin(Disposal::Discard),
            "keep, PREPARING(new)" | "keep reported (SEQ-34), PREPARING(new)" => {
                Cell::Begin(Disposal::Keep)
            }
            "VETO -" | "VETO, -" | "VETO, - (other thread)" => Cell::Veto,
            "VETO, rel, ABORTED" | "VETO, rel, ABORTED (set is closed)" => {
                Cell::Kill(Disposal::Release)
            }
            "VETO, disc, ABORTED" => Cell::Kill(Disposal::Discard),
            "NOT_FOUND -" | "VSS_E_OBJECT_NOT_FOUND, -" => Cell::NotFound,
            "NOT_FOUND - (S_OK if id is the last aborted one)" => Cell::Forgotten,
            "ENDING -> PREPARED / ABORTED" => Cell::Go(State::Prepared),
            "PRECOMMITTED / ABORTED" => Cell::Go(State::Precommitted),
            "COMMITTED / ABORTED" => Cell::Go(State::Committed),
            "POSTCOMMITTED" => Cell::Go(State::Postcommitted),
            "REPORTED" => Cell::Go(State::Reported),
            "SURFACED" => Cell::Go(State::Surfaced),
            "PREFINAL" => Cell::Go(State::Prefinal),
            "CREATED" => Cell::Go(State::Created),
            "same data again, -"
            | "same data, -"
            | "data"
            | "data while remembered, -"
            | "S_OK, -"
            | "S_OK" => Cell::Stay,
            "import path, -" => Cell::Import,
            "rel, ABORTED" | "cancel the wait, rel, ABORTED; EndPrepare returns VETO" => {
                Cell::Abort(Disposal::Release)
            }
            "disc, ABORTED" | "stop, disc, ABORTED; Commit returns VETO" => {
                Cell::Abort(Disposal::Discard)
            }
            "SEQ-33" => Cell::Abort(Disposal::GiveUp),
            "S_OK -" => Cell::Again,
            other => panic!("the test does not know the cell {other:?}"),
        }
    }

    /// T-184, SEQ-11: the code's table is the specification's.
    #[test]
    fn t184_table_equals_the_specifications_text() {
        let rows = specification();
        assert_eq!(rows.len(), State::ALL.len());
        for (line, state) in rows.into_iter().zip(State::ALL) {
            let mut fields = line.trim_matches('|').split('|').map(str::trim);
            let name = fields.next().expect("a row has a name");
            assert_eq!(name, format!("{state:?}").to_uppercase());
            let mut before = "";
            for event in Event::ALL {
                let field = fields.next().expect("a row has eleven cells");
                let field = if field == "same" { before } else { field };
                assert_eq!(cell(state, event), meaning(field), "{state:?} {event:?}");
                before = field;
            }
            assert_eq!(fields.next(), None);
        }
    }
}
