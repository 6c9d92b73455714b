// SPDX-License-Identifier: MIT OR Apache-2.0
use super::table::{Cell, Disposal, Event, State, cell};
use super::{Decision, Finish, Release, Step, Ticket};
use crate::LunDescription;
use array_api::{CommitReport, CopyNeeds, LunId, SetId, SnapshotId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Volumes of one set (LIM-1, LIM-6).
const VOLUMES_MAX: usize = 64;
/// How many ended sets are remembered (ABT-5, BPS-10). VSS never reuses an id, so a few are plenty.
const BURIED_MAX: usize = 64;

/// The set in progress and the ids of those that ended before.
#[derive(Debug, Default)]
pub struct SnapshotSets {
    current: Option<Current>,
    /// Counts sets that began and sets that were aborted: an id may come back after a failed begin or an unload.
    generation: u64,
    buried: VecDeque<(SetId, Fate)>,
}

#[derive(Debug)]
struct Current {
    id: SetId,
    state: State,
    needs: CopyNeeds,
    volumes: BTreeMap<SnapshotId, Vec<LunId>>,
    /// What GetTargetLuns told, by source (GTL-7, PFF-3).
    told: BTreeMap<LunId, (LunId, LunDescription)>,
    captured: Option<Captured>,
    /// A `prepare` had no known outcome: the array may hold targets of a volume that is not in the set.
    uncertain: bool,
    touched: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Aborted,
    Ended,
}

/// Figures of a commit, for the event after thaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// What the array said.
    pub report: CommitReport,
    /// How long the whole call took here.
    pub elapsed: Duration,
}

/// What a BeginPrepareSnapshot means to its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeCheck {
    /// The volume is the set's first.
    First,
    /// The volume is new in its set.
    New,
    /// The same call had succeeded before (BPS-8).
    Repeated,
}

/// Why a volume cannot join the set; the volumes before it stay (BPS-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeRefusal {
    /// BPS-8.
    #[error("the shadow copy was begun with other LUNs before")]
    OtherLuns,
    /// BPS-7.
    #[error("the set was begun in another context")]
    OtherContext,
    /// LIM-6.
    #[error("the set has its 64 volumes already")]
    TooMany,
    /// The set was given up by another call meanwhile.
    #[error("the set was given up meanwhile")]
    Stale,
}

impl SnapshotSets {
    /// No set.
    pub fn new() -> Self {
        Self::default()
    }

    /// State of the set in progress.
    pub fn state(&self) -> State {
        self.current.as_ref().map_or(State::Idle, |c| c.state)
    }

    /// Id of the set in progress.
    pub fn id(&self) -> Option<SetId> {
        self.current.as_ref().map(|c| c.id)
    }

    /// BeginPrepareSnapshot's first step: may the set take a volume? Drops an earlier set, whether the volume is accepted
    /// later or not (BPS-2: a new id means that the earlier set is dead).
    pub fn begin(&mut self, now: Duration, set: SetId) -> Decision {
        let known = self.id() == Some(set);
        if !known && self.buried.iter().any(|(id, _)| *id == set) {
            // BPS-10: an ended set does not come back. The set in progress has nothing to do with it.
            return veto(self.state(), false, None);
        }
        let event = if known {
            Event::BeginSame
        } else {
            Event::BeginNew
        };
        match cell(self.state(), event) {
            Cell::Begin(disposal) => {
                let release = self.release(disposal);
                self.bury();
                self.current = Some(Current {
                    id: set,
                    state: State::Preparing,
                    needs: CopyNeeds::default(),
                    volumes: BTreeMap::new(),
                    told: BTreeMap::new(),
                    captured: None,
                    uncertain: false,
                    touched: now,
                });
                self.generation += 1;
                Decision {
                    step: self.run(event, State::Preparing),
                    release,
                }
            }
            Cell::Add => {
                self.touch(now);
                Decision {
                    step: self.run(event, State::Preparing),
                    release: None,
                }
            }
            other => self.refuse(other),
        }
    }

    /// BeginPrepareSnapshot's second step, once LUNs and context are understood.
    pub fn check_volume(
        &self,
        ticket: Ticket,
        snapshot: SnapshotId,
        needs: CopyNeeds,
        luns: &[LunId],
    ) -> Result<VolumeCheck, VolumeRefusal> {
        let Some(current) = self.current(ticket) else {
            return Err(VolumeRefusal::Stale);
        };
        if !current.volumes.is_empty() && current.needs != needs {
            return Err(VolumeRefusal::OtherContext);
        }
        match current.volumes.get(&snapshot) {
            Some(known) if known == luns => Ok(VolumeCheck::Repeated),
            Some(_) => Err(VolumeRefusal::OtherLuns),
            None if current.volumes.len() >= VOLUMES_MAX => Err(VolumeRefusal::TooMany),
            None if current.volumes.is_empty() => Ok(VolumeCheck::First),
            None => Ok(VolumeCheck::New),
        }
    }

    /// BeginPrepareSnapshot's last step after success.
    pub fn added(
        &mut self,
        ticket: Ticket,
        snapshot: SnapshotId,
        needs: CopyNeeds,
        luns: Vec<LunId>,
    ) -> Finish {
        if self.current(ticket).is_none() {
            return stale(ticket);
        }
        let current = self.current.as_mut().expect("checked above");
        if current.state != State::Preparing {
            return Finish::Overtaken;
        }
        current.needs = needs;
        current.volumes.insert(snapshot, luns);
        Finish::Taken(None)
    }

    /// BeginPrepareSnapshot's last step after failure: a set without volumes is none. `uncertain`: the array may have
    /// carried the call out all the same.
    pub fn not_added(&mut self, ticket: Ticket, uncertain: bool) -> Finish {
        let Some(current) = self.current(ticket) else {
            return stale(ticket);
        };
        let empty = current.volumes.is_empty();
        if empty {
            self.current = None;
        } else if let Some(current) = &mut self.current {
            current.uncertain |= uncertain;
        }
        Finish::Taken((empty && uncertain).then_some(Release {
            set: ticket.set,
            reported_too: true,
        }))
    }

    /// A call that names its set: everything but BeginPrepareSnapshot, GetTargetLuns and LocateLuns.
    pub fn named(&mut self, now: Duration, set: SetId, event: Event) -> Decision {
        if self.id() == Some(set) {
            return self.apply(now, event);
        }
        // SEQ-10: another set's call does nothing to the set in progress.
        let aborted = self.buried.contains(&(set, Fate::Aborted));
        match (cell(State::Idle, event), aborted) {
            (Cell::Forgotten, true) => done(false, true, None),
            (Cell::Forgotten, false) => self.refuse(Cell::NotFound),
            (other, _) => self.refuse(other),
        }
    }

    /// GetTargetLuns, which names no set: it means the one in progress.
    pub fn get_target_luns(&mut self, now: Duration) -> Decision {
        self.apply(now, Event::GetTargetLuns)
    }

    /// LocateLuns for copies of the set with this id.
    pub fn locate(&mut self, now: Duration, set: SetId) -> Decision {
        if self.id() == Some(set) {
            return self.apply(now, Event::LocateLuns);
        }
        Decision {
            step: Step::Import,
            release: None,
        }
    }

    /// The result of a call that ran.
    pub fn finish(&mut self, ticket: Ticket, succeeded: bool) -> Finish {
        if self.current(ticket).is_none() {
            return stale(ticket);
        }
        let current = self.current.as_mut().expect("checked above");
        // GetTargetLuns and LocateLuns may run for several volumes at once, and the order after PostCommit is loose.
        let loose = matches!(ticket.event, Event::GetTargetLuns | Event::LocateLuns);
        if current.state != ticket.during {
            return if loose {
                Finish::Taken(None)
            } else {
                Finish::Overtaken
            };
        }
        if succeeded {
            current.state = ticket.then;
            return Finish::Taken(None);
        }
        let disposal = match ticket.event {
            Event::EndPrepare | Event::PreCommit => Disposal::Release,
            Event::Commit => Disposal::Discard,
            _ => return Finish::Taken(None),
        };
        let release = self.release(disposal);
        self.set_aborted();
        Finish::Taken(release)
    }

    /// Whether the set was given up since the ticket was handed out.
    pub fn is_stale(&self, ticket: Ticket) -> bool {
        self.current(ticket).is_none()
    }

    /// Remembers a commit's figures until [`Self::take_captured`].
    pub fn captured(&mut self, captured: Captured) {
        if let Some(current) = &mut self.current {
            current.captured = Some(captured);
        }
    }

    /// The commit's figures, once.
    pub fn take_captured(&mut self) -> Option<Captured> {
        self.current.as_mut()?.captured.take()
    }

    /// The distinct sources of the set in progress.
    pub fn sources(&self) -> BTreeSet<LunId> {
        let volumes = self.current.iter().flat_map(|c| c.volumes.values());
        volumes.flatten().copied().collect()
    }

    /// What GetTargetLuns told about a source before.
    pub fn told(&self, source: LunId) -> Option<LunDescription> {
        let current = self.current.as_ref()?;
        current.told.get(&source).map(|(_, d)| d.clone())
    }

    /// Remembers what GetTargetLuns tells, unless the set was given up meanwhile.
    pub fn tell(&mut self, ticket: Ticket, told: Vec<(LunId, LunId, LunDescription)>) {
        if self.current(ticket).is_some() {
            let current = self.current.as_mut().expect("checked above");
            for (source, copy, description) in told {
                current.told.entry(source).or_insert((copy, description));
            }
        }
    }

    /// After PostFinalCommitSnapshots: targets that a `prepare` of unknown outcome may have left, once all others were
    /// told (those told are kept).
    pub fn stray_targets(&mut self) -> Option<Release> {
        let sources = self.sources();
        let current = self.current.as_mut()?;
        let all_told = sources.iter().all(|s| current.told.contains_key(s));
        (std::mem::take(&mut current.uncertain) && all_told).then_some(Release {
            set: current.id,
            reported_too: false,
        })
    }

    /// SEQ-7: gives up a set that nobody has called for since `idle_max`. Finished copies are none of its business.
    pub fn expire(&mut self, now: Duration, idle_max: Duration) -> Option<Release> {
        let current = self.current.as_ref()?;
        let idle = now.saturating_sub(current.touched) >= idle_max;
        let waiting = matches!(
            current.state,
            State::Preparing
                | State::Prepared
                | State::Precommitted
                | State::Committed
                | State::Postcommitted
        );
        if !idle || !waiting {
            return None;
        }
        let release = self.release(Disposal::Discard);
        self.bury();
        release
    }

    /// LOAD-7: forgets everything; what VSS was not told of is released.
    pub fn unload(&mut self) -> Option<Release> {
        let disposal = match self.state() {
            State::Idle | State::Created | State::Aborted => Disposal::Nothing,
            State::Reported | State::Surfaced | State::Prefinal => Disposal::Keep,
            _ => Disposal::Discard,
        };
        let release = self.release(disposal);
        self.current = None;
        self.buried.clear();
        release
    }

    fn apply(&mut self, now: Duration, event: Event) -> Decision {
        self.touch(now);
        let state = self.state();
        match cell(state, event) {
            Cell::Go(then) => {
                let during = match event {
                    Event::EndPrepare => State::Ending,
                    Event::Commit => State::Committing,
                    _ => state,
                };
                self.current.as_mut().expect("IDLE goes nowhere").state = during;
                Decision {
                    step: self.run(event, then),
                    release: None,
                }
            }
            Cell::Stay => Decision {
                step: self.run(event, state),
                release: None,
            },
            Cell::Import => Decision {
                step: Step::Import,
                release: None,
            },
            Cell::Abort(disposal) => {
                let release = self.release(disposal);
                self.set_aborted();
                let cancelled = matches!(state, State::Ending | State::Committing);
                done(cancelled, false, release)
            }
            Cell::Again => done(false, true, None),
            other => self.refuse(other),
        }
    }

    fn refuse(&mut self, cell: Cell) -> Decision {
        let state = self.state();
        match cell {
            Cell::Veto => veto(state, false, None),
            Cell::Kill(disposal) => {
                let release = self.release(disposal);
                self.set_aborted();
                veto(state, true, release)
            }
            Cell::NotFound | Cell::Forgotten => Decision {
                step: Step::NotFound,
                release: None,
            },
            other => unreachable!("{other:?} in {state:?} is no refusal"),
        }
    }

    fn run(&self, event: Event, then: State) -> Step {
        Step::Run(Ticket {
            set: self.id().expect("a call runs for a set"),
            event,
            generation: self.generation,
            during: self.state(),
            then,
        })
    }

    fn current(&self, ticket: Ticket) -> Option<&Current> {
        let current = self.current.as_ref()?;
        (self.generation == ticket.generation && current.id == ticket.set).then_some(current)
    }

    fn touch(&mut self, now: Duration) {
        if let Some(current) = &mut self.current {
            current.touched = now;
        }
    }

    fn set_aborted(&mut self) {
        if let Some(current) = &mut self.current {
            current.state = State::Aborted;
        }
        self.generation += 1;
    }

    fn bury(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        if self.buried.len() == BURIED_MAX {
            self.buried.pop_front();
        }
        let fate = match current.state {
            State::Aborted => Fate::Aborted,
            _ => Fate::Ended,
        };
        self.buried.push_back((current.id, fate));
    }

    fn release(&self, disposal: Disposal) -> Option<Release> {
        let reported_too = match disposal {
            Disposal::Nothing => return None,
            Disposal::Release | Disposal::Discard | Disposal::GiveUp => true,
            Disposal::Keep => false,
        };
        self.id().map(|set| Release { set, reported_too })
    }
}

fn stale(ticket: Ticket) -> Finish {
    Finish::Stale(Release {
        set: ticket.set,
        // A GetTargetLuns may have been overtaken by the next set's begin, which keeps what VSS was told before.
        reported_too: ticket.event != Event::GetTargetLuns,
    })
}

fn veto(state: State, killed: bool, release: Option<Release>) -> Decision {
    Decision {
        step: Step::Veto { state, killed },
        release,
    }
}

fn done(cancelled: bool, repeated: bool, release: Option<Release>) -> Decision {
    Decision {
        step: Step::Done {
            cancelled,
            repeated,
        },
        release,
    }
}
