// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one host knows of its array and how it wants its provider: the input of every [`vss_provider::Provider`] that the
//! COM server makes.
//!
//! A site always opens. What is wrong with the enrolment or the settings becomes an array that refuses every call with the
//! reason and the remedy, so that it stands in the event of the call that failed and VSS never hangs or loses the
//! provider (ERR-3, LOAD-11). Broken settings are not replaced by defaults: nobody would notice that a limit is not in force. They
//! also make AreLunsSupported answer VETO for LUNs of ours, since the broken file may have asked for that.

use crate::enrolment::{Enrolled, LoadError};
use crate::settings::{FileError, FileSettings};
use crate::vendor::vendor;
use array_api::{
    AbortOutcome, Armed, Array, ArrayError, ArrayErrorKind, ArrayGroup, ArrayInfo, CheckAnswer,
    CheckRequest, CommitReport, CopyReport, DeleteOutcome, HttpsArray, LunId, LunInfo, Orphan,
    PrepareOutcome, PrepareRequest, Readiness, ResyncId, ResyncPair, ResyncStatus, SetId,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use vss_provider::{EventSink, Settings};

/// What a provider object is made from.
pub struct Site {
    /// The enrolled array; one that refuses every call where there is none.
    pub array: Arc<dyn Array>,
    /// The same, for whoever looks whether the enrolment has changed; `None` for an array that comes from elsewhere.
    pub enrolled: Option<Arc<EnrolledArray>>,
    /// The Application log, and the event file where one is set.
    pub events: Arc<dyn EventSink>,
    /// From `provider.toml`, or the defaults where there is no such file.
    pub settings: Settings,
}

impl Site {
    /// Reads this host's files. Never fails and connects to nothing (LOAD-11).
    #[cfg(windows)]
    pub fn open() -> Self {
        use crate::data_folder::DataFolder as _;
        use crate::sys::{Dpapi, Etw, SystemFolder, SystemLog};
        use crate::vendor::Arrays;
        let folder = SystemFolder::new();
        let settings = crate::settings::load(&folder);
        let events = |event_file| -> Arc<dyn EventSink> {
            let (log, trace) = (SystemLog::open(), Etw::open());
            Arc::new(crate::event_log::Events::new(log, trace, event_file))
        };
        match vendor().arrays {
            Arrays::Enrolled => {
                let file = folder.path(crate::enrolment::FILE);
                let changed = move || std::fs::metadata(&file)?.modified();
                let enrolments = Enrolments {
                    stamp: Box::new(move || changed().ok()),
                    load: Box::new(move || crate::enrolment::load(&folder, &Dpapi)),
                };
                Self::assemble(settings, enrolments, events)
            }
            Arrays::Own { open, .. } => Self::with_array(settings, open(&folder.path("")), events),
        }
    }

    /// `events` gets the event file, if one is set.
    pub fn assemble(
        settings: Result<FileSettings, FileError>,
        enrolments: Enrolments,
        events: impl FnOnce(Option<PathBuf>) -> Arc<dyn EventSink>,
    ) -> Self {
        let enrolled = Arc::new(EnrolledArray::new(enrolments));
        let array = Arc::clone(&enrolled) as Arc<dyn Array>;
        Self {
            enrolled: Some(enrolled),
            ..Self::with_array(settings, Ok(array), events)
        }
    }

    /// The same with an array that was opened, or the reason why none was.
    pub fn with_array(
        settings: Result<FileSettings, FileError>,
        array: Result<Arc<dyn Array>, ArrayError>,
        events: impl FnOnce(Option<PathBuf>) -> Arc<dyn EventSink>,
    ) -> Self {
        let (mut settings, broken) = match settings {
            Ok(settings) => (settings, None),
            Err(error) => {
                let mut settings = FileSettings::default();
                settings.provider.veto_when_unreachable = true;
                (settings, Some(refusal(&error, error.remedy())))
            }
        };
        let array = match (broken, array) {
            (Some(refusal), _) | (None, Err(refusal)) => Arc::new(EnrolledArray::closed(refusal)),
            (None, Ok(array)) => array,
        };
        settings.provider.lun_of = vendor().lun_of;
        Self {
            array,
            enrolled: None,
            events: events(settings.event_file),
            settings: settings.provider,
        }
    }
}

/// As unreachable: no call can have had an effect, and a site that wants VETO in place of FALSE gets it.
fn refusal(cause: &impl ToString, remedy: &str) -> ArrayError {
    let told = |text: &str| crate::ids::in_own_words(text);
    ArrayError::new(
        ArrayErrorKind::Unreachable,
        told(&cause.to_string()),
        told(remedy),
    )
}

/// Where a host's enrolments come from.
pub struct Enrolments {
    /// Changes when they do.
    pub stamp: Box<dyn Fn() -> Option<SystemTime> + Send + Sync>,
    /// Reads them.
    pub load: Box<dyn Fn() -> Result<Vec<Enrolled>, LoadError> + Send + Sync>,
}

/// The arrays of this host's enrolment as one, as of the last look; refuses every call, with cause and remedy, where there is none.
pub struct EnrolledArray {
    /// `None` where nothing is to be looked at.
    enrolments: Option<Enrolments>,
    current: Mutex<Followed>,
}

/// The arrays of an enrolment as one, or why there are none.
pub struct Followed {
    stamp: Option<SystemTime>,
    array: Result<Arc<dyn Array>, ArrayError>,
}

impl EnrolledArray {
    fn new(enrolments: Enrolments) -> Self {
        let current = Mutex::new(Followed::of(&enrolments));
        Self {
            enrolments: Some(enrolments),
            current,
        }
    }

    /// In place of an array that this host cannot call.
    fn closed(refusal: ArrayError) -> Self {
        let current = Mutex::new(Followed {
            stamp: None,
            array: Err(refusal),
        });
        Self {
            enrolments: None,
            current,
        }
    }

    /// The arrays of an enrolment that has changed since it was followed last; reads files.
    pub fn changed(&self) -> Option<Followed> {
        let enrolments = self.enrolments.as_ref()?;
        let known = self.current().stamp;
        (known != (enrolments.stamp)()).then(|| Followed::of(enrolments))
    }

    /// Calls these arrays from now on; the ones before are the caller's to drop, which may close connections. Not to be called
    /// while a set is in progress: its calls have to reach the arrays on which it was begun.
    pub fn follow(&self, arrays: Followed) -> Followed {
        std::mem::replace(&mut *self.current(), arrays)
    }

    fn current(&self) -> MutexGuard<'_, Followed> {
        // Replaced in one assignment.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn array(&self) -> Result<Arc<dyn Array>, ArrayError> {
        self.current().array.clone()
    }
}

impl Followed {
    fn of(enrolments: &Enrolments) -> Self {
        // Looked at before it is read: a change in between is met by the next look.
        let stamp = (enrolments.stamp)();
        let loaded = (enrolments.load)();
        Self {
            // What the system refused now it may give at the next look: another program may have had the file open.
            stamp: match loaded {
                Err(LoadError::Unreadable { .. } | LoadError::Sealed { .. }) => None,
                _ => stamp,
            },
            array: match loaded {
                Ok(enrolled) => Ok(one_of(&enrolled)),
                Err(error) => Err(refusal(&error, error.remedy())),
            },
        }
    }
}

fn one_of(enrolled: &[Enrolled]) -> Arc<dyn Array> {
    let https = |one: &Enrolled| Arc::new(HttpsArray::new(&one.enrolment)) as Arc<dyn Array>;
    match enrolled {
        [one] => https(one),
        several => Arc::new(ArrayGroup::new(several.iter().map(https).collect())),
    }
}

impl Array for EnrolledArray {
    fn info(&self, within: Duration) -> Result<ArrayInfo, ArrayError> {
        self.array()?.info(within)
    }

    fn query(&self, within: Duration, luns: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        self.array()?.query(within, luns)
    }

    fn check(&self, within: Duration, request: &CheckRequest) -> Result<CheckAnswer, ArrayError> {
        self.array()?.check(within, request)
    }

    fn prepare(
        &self,
        within: Duration,
        set: SetId,
        request: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        self.array()?.prepare(within, set, request)
    }

    fn ready(&self, within: Duration, set: SetId) -> Result<Readiness, ArrayError> {
        self.array()?.ready(within, set)
    }

    fn arm(&self, within: Duration, set: SetId) -> Result<Armed, ArrayError> {
        self.array()?.arm(within, set)
    }

    fn commit(&self, within: Duration, set: SetId) -> Result<CommitReport, ArrayError> {
        self.array()?.commit(within, set)
    }

    fn report(
        &self,
        within: Duration,
        set: SetId,
        luns: &[LunId],
    ) -> Result<Vec<CopyReport>, ArrayError> {
        self.array()?.report(within, set, luns)
    }

    fn abort(
        &self,
        within: Duration,
        set: SetId,
        reported_too: bool,
    ) -> Result<AbortOutcome, ArrayError> {
        self.array()?.abort(within, set, reported_too)
    }

    fn map(&self, within: Duration, luns: &[LunId]) -> Result<(), ArrayError> {
        self.array()?.map(within, luns)
    }

    fn unmap(&self, within: Duration, luns: &[LunId]) -> Result<(), ArrayError> {
        self.array()?.unmap(within, luns)
    }

    fn delete(&self, within: Duration, copy: LunId) -> Result<DeleteOutcome, ArrayError> {
        self.array()?.delete(within, copy)
    }

    fn break_copies(
        &self,
        within: Duration,
        luns: &[LunId],
        unmap_too: bool,
    ) -> Result<(), ArrayError> {
        self.array()?.break_copies(within, luns, unmap_too)
    }

    fn resync(
        &self,
        within: Duration,
        id: ResyncId,
        pairs: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        self.array()?.resync(within, id, pairs)
    }

    fn resync_status(
        &self,
        within: Duration,
        id: ResyncId,
        wait: Duration,
    ) -> Result<ResyncStatus, ArrayError> {
        self.array()?.resync_status(within, id, wait)
    }

    fn cancel_resync(&self, within: Duration, id: ResyncId) -> Result<ResyncStatus, ArrayError> {
        self.array()?.cancel_resync(within, id)
    }

    fn orphans(&self, within: Duration) -> Result<Vec<Orphan>, ArrayError> {
        self.array()?.orphans(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_folder::{DataFolder as _, MemoryFolder};
    use crate::enrolment::tests::{Machine, of_line};
    use crate::enrolment::{self, FILE};
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};
    use vss_provider::Event;

    struct Nowhere;

    impl EventSink for Nowhere {
        fn report(&self, _: &Event) {}
    }

    fn site(settings: Result<FileSettings, FileError>, folder: &Arc<MemoryFolder>) -> Site {
        let (looked, read) = (Arc::clone(folder), Arc::clone(folder));
        let enrolments = Enrolments {
            // Any time that is another one for another content.
            stamp: Box::new(move || {
                let file = looked.read(FILE).ok()?;
                let number = file.iter().map(|byte| u64::from(*byte)).sum();
                Some(SystemTime::UNIX_EPOCH + Duration::from_secs(number))
            }),
            load: Box::new(move || enrolment::load(&*read, &Machine(1))),
        };
        Site::assemble(settings, enrolments, |_| Arc::new(Nowhere))
    }

    /// Enrolled with an array where nobody listens.
    fn enroll(folder: &MemoryFolder, port: u16) {
        let line = format!("shadowlun://127.0.0.1:{port}/1/{port:064}/{:064}", 0);
        enrolment::add(folder, &Machine(1), &of_line("x", &line)).unwrap();
    }

    fn refusal_of(site: &Site) -> ArrayError {
        site.array.info(Duration::from_secs(1)).unwrap_err()
    }

    /// ERR-3.
    #[test]
    fn site_without_enrolment_refuses_with_cause_and_remedy() {
        let site = site(Ok(FileSettings::default()), &Arc::default());

        let error = refusal_of(&site);

        assert!(error.message.contains("not enrolled"), "{error}");
        assert!(
            error.remedy.contains("shadowlun-provider enroll"),
            "{error}"
        );
        assert!(!site.settings.veto_when_unreachable);
    }

    #[test]
    fn site_broken_settings_refuse_and_ask_for_veto_although_enrolled() {
        let folder = Arc::default();
        enroll(&folder, 1);
        let broken = crate::settings::parse("provider.toml".into(), "idle_sets_max_s = 5");

        let site = site(broken, &folder);

        let error = refusal_of(&site);
        assert!(error.message.contains("idle_sets_max_s"), "{error}");
        assert!(error.remedy.contains("print-settings"), "{error}");
        assert!(site.settings.veto_when_unreachable);
    }

    /// T-304, SEC-10: what becomes of an event's text, or of a debugger's, when a call fails.
    #[test]
    fn t304_failed_call_tells_no_token() {
        let folder: Arc<MemoryFolder> = Arc::default();
        let line = format!("shadowlun://127.0.0.1:1/1/{:064}/{}", 0, "cd".repeat(32));
        enrolment::add(&*folder, &Machine(1), &of_line("x", &line)).unwrap();
        for seal in [1, 2].map(Machine) {
            let read = Arc::clone(&folder);
            let enrolments = Enrolments {
                stamp: Box::new(|| None),
                load: Box::new(move || enrolment::load(&*read, &seal)),
            };
            let settings = Ok(FileSettings::default());
            let site = Site::assemble(settings, enrolments, |_| Arc::new(Nowhere));

            let error = refusal_of(&site);

            assert!(!format!("{error} {error:?}").contains("cdcdcd"), "{error}");
        }
    }

    fn follow(enrolled: &EnrolledArray) {
        let changed = enrolled.changed().expect("it has changed");
        enrolled.follow(changed);
        assert!(enrolled.changed().is_none());
    }

    /// A file that could not be read for a moment is read at the next look, although nobody writes to it again.
    #[test]
    fn enrolment_that_could_not_be_read_is_looked_at_again() {
        let readings = AtomicU32::new(0);
        let enrolments = Enrolments {
            stamp: Box::new(|| Some(SystemTime::UNIX_EPOCH)),
            load: Box::new(move || match readings.fetch_add(1, Ordering::Relaxed) {
                0 => Err(LoadError::Unreadable {
                    path: FILE.into(),
                    source: io::ErrorKind::PermissionDenied.into(),
                }),
                _ => Ok(Vec::new()),
            }),
        };
        let site = Site::assemble(Ok(FileSettings::default()), enrolments, |_| {
            Arc::new(Nowhere)
        });
        let enrolled = site.enrolled.clone().expect("it comes from an enrolment");
        assert!(refusal_of(&site).message.contains("cannot be read"));

        follow(&enrolled);

        assert!(refusal_of(&site).message.contains("no array"));
    }

    /// What `enroll` and `unenroll` write takes effect for a provider that is loaded, at its next look.
    #[test]
    fn changed_enrolment_is_followed_without_a_restart() {
        let folder = Arc::default();
        let site = site(Ok(FileSettings::default()), &folder);
        let enrolled = site.enrolled.clone().expect("it comes from an enrolment");
        assert!(refusal_of(&site).message.contains("not enrolled"));

        enroll(&folder, 1);
        assert!(refusal_of(&site).message.contains("not enrolled"));
        follow(&enrolled);
        let one = refusal_of(&site).message;
        assert!(!one.contains("not enrolled"), "{one}");

        enroll(&folder, 2);
        follow(&enrolled);
        assert_ne!(refusal_of(&site).kind, ArrayErrorKind::Protocol);

        folder.remove(FILE).unwrap();
        follow(&enrolled);
        assert!(refusal_of(&site).message.contains("not enrolled"));
    }
}
