// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one host knows of its array and how it wants its provider: the input of every [`vss_provider::Provider`] that the
//! COM server makes.
//!
//! A site always opens. What is wrong with the enrolment or the settings becomes an array that refuses every call with the
//! reason and the remedy, so that it stands in the event of the call that failed and VSS never hangs or loses the
//! provider (ERR-3, LOAD-11). Broken settings are not replaced by defaults: nobody would notice that a limit is not in force. They
//! also make AreLunsSupported answer VETO for LUNs of ours, since the broken file may have asked for that.

use crate::enrolment::LoadError;
use crate::settings::{FileError, FileSettings};
use crate::vendor::vendor;
#[cfg(windows)]
use crate::{data_folder::DataFolder as _, vendor::Arrays};
use array_api::{
    AbortOutcome, Armed, Array, ArrayError, ArrayErrorKind, ArrayInfo, CheckAnswer, CheckRequest,
    CommitReport, CopyReport, DeleteOutcome, Enrolment, HttpsArray, LunId, LunInfo, Orphan,
    PrepareOutcome, PrepareRequest, Readiness, ResyncId, ResyncPair, ResyncStatus, SetId,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use vss_provider::{EventSink, Settings};

/// What a provider object is made from.
pub struct Site {
    /// The enrolled array; one that refuses every call where there is none.
    pub array: Arc<dyn Array>,
    /// The Application log, and the event file where one is set.
    pub events: Arc<dyn EventSink>,
    /// From `provider.toml`, or the defaults where there is no such file.
    pub settings: Settings,
}

impl Site {
    /// Reads this host's files. Never fails and connects to nothing (LOAD-11).
    #[cfg(windows)]
    pub fn open() -> Self {
        use crate::sys::{Dpapi, SystemFolder, SystemLog};
        let folder = SystemFolder::new();
        let settings = crate::settings::load(&folder);
        let events = |event_file| -> Arc<dyn EventSink> {
            Arc::new(crate::event_log::Events::new(SystemLog::open(), event_file))
        };
        match vendor().arrays {
            Arrays::Enrolled => {
                Self::assemble(settings, crate::enrolment::load(&folder, &Dpapi), events)
            }
            Arrays::Own { open, .. } => Self::with_array(settings, open(&folder.path("")), events),
        }
    }

    /// `events` gets the event file, if one is set.
    pub fn assemble(
        settings: Result<FileSettings, FileError>,
        enrolment: Result<Enrolment, LoadError>,
        events: impl FnOnce(Option<PathBuf>) -> Arc<dyn EventSink>,
    ) -> Self {
        let array = match enrolment {
            Ok(enrolment) => Ok(Arc::new(HttpsArray::new(&enrolment)) as Arc<dyn Array>),
            Err(error) => Err(refusal(&error, error.remedy())),
        };
        Self::with_array(settings, array, events)
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
        let array: Arc<dyn Array> = match (broken, array) {
            (Some(refusal), _) | (None, Err(refusal)) => Arc::new(ClosedArray(refusal)),
            (None, Ok(array)) => array,
        };
        settings.provider.lun_of = vendor().lun_of;
        Self {
            array,
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

/// In place of an array that this host cannot call.
struct ClosedArray(ArrayError);

impl ClosedArray {
    fn refuse<T>(&self) -> Result<T, ArrayError> {
        Err(self.0.clone())
    }
}

impl Array for ClosedArray {
    fn info(&self, _: Duration) -> Result<ArrayInfo, ArrayError> {
        self.refuse()
    }

    fn query(&self, _: Duration, _: &[LunId]) -> Result<Vec<Option<LunInfo>>, ArrayError> {
        self.refuse()
    }

    fn check(&self, _: Duration, _: &CheckRequest) -> Result<CheckAnswer, ArrayError> {
        self.refuse()
    }

    fn prepare(
        &self,
        _: Duration,
        _: SetId,
        _: &PrepareRequest,
    ) -> Result<PrepareOutcome, ArrayError> {
        self.refuse()
    }

    fn ready(&self, _: Duration, _: SetId) -> Result<Readiness, ArrayError> {
        self.refuse()
    }

    fn arm(&self, _: Duration, _: SetId) -> Result<Armed, ArrayError> {
        self.refuse()
    }

    fn commit(&self, _: Duration, _: SetId) -> Result<CommitReport, ArrayError> {
        self.refuse()
    }

    fn report(&self, _: Duration, _: SetId, _: &[LunId]) -> Result<Vec<CopyReport>, ArrayError> {
        self.refuse()
    }

    fn abort(&self, _: Duration, _: SetId, _: bool) -> Result<AbortOutcome, ArrayError> {
        self.refuse()
    }

    fn map(&self, _: Duration, _: &[LunId]) -> Result<(), ArrayError> {
        self.refuse()
    }

    fn unmap(&self, _: Duration, _: &[LunId]) -> Result<(), ArrayError> {
        self.refuse()
    }

    fn delete(&self, _: Duration, _: LunId) -> Result<DeleteOutcome, ArrayError> {
        self.refuse()
    }

    fn break_copies(&self, _: Duration, _: &[LunId]) -> Result<(), ArrayError> {
        self.refuse()
    }

    fn resync(
        &self,
        _: Duration,
        _: ResyncId,
        _: &[ResyncPair],
    ) -> Result<ResyncStatus, ArrayError> {
        self.refuse()
    }

    fn resync_status(
        &self,
        _: Duration,
        _: ResyncId,
        _: Duration,
    ) -> Result<ResyncStatus, ArrayError> {
        self.refuse()
    }

    fn cancel_resync(&self, _: Duration, _: ResyncId) -> Result<ResyncStatus, ArrayError> {
        self.refuse()
    }

    fn orphans(&self, _: Duration) -> Result<Vec<Orphan>, ArrayError> {
        self.refuse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vss_provider::Event;

    struct Nowhere;

    impl EventSink for Nowhere {
        fn report(&self, _: &Event) {}
    }

    fn site(
        settings: Result<FileSettings, FileError>,
        enrolment: Result<Enrolment, LoadError>,
    ) -> Site {
        Site::assemble(settings, enrolment, |_| Arc::new(Nowhere))
    }

    fn refusal_of(site: &Site) -> ArrayError {
        site.array.info(Duration::from_secs(1)).unwrap_err()
    }

    /// ERR-3.
    #[test]
    fn site_without_enrolment_refuses_with_cause_and_remedy() {
        let site = site(Ok(FileSettings::default()), Err(LoadError::Missing));

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
        let enrolment = format!("shadowlun://127.0.0.1:1/1/{:064}/{:064}", 0, 0);
        let broken = crate::settings::parse("provider.toml".into(), "idle_sets_max_s = 5");

        let site = site(broken, Ok(enrolment.parse().unwrap()));

        let error = refusal_of(&site);
        assert!(error.message.contains("idle_sets_max_s"), "{error}");
        assert!(error.remedy.contains("print-settings"), "{error}");
        assert!(site.settings.veto_when_unreachable);
    }
}
