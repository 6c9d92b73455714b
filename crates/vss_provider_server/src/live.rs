// SPDX-License-Identifier: MIT OR Apache-2.0
//! The providers of this process, for what happens without a call: time that passes, and the end of the server. One thread
//! serves them all, so that loading often costs nothing (LOAD-1, T-023).

use crate::guard::{caught, guarded, internal_error};
use crate::site::EnrolledArray;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use vss_provider::{Hresult, Method, Provider};

/// How often [`Provider::tick`] is called.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// A loaded provider, and the array that follows its host's enrolment.
struct Loaded {
    provider: Weak<Provider>,
    /// The provider's own: its connections go with the provider.
    enrolled: Option<Weak<EnrolledArray>>,
}

/// The providers that are loaded. They belong to their COM objects; here they are only known.
#[derive(Default)]
pub struct Live {
    known: Mutex<Vec<Loaded>>,
    /// There was an event about a panic of [`Self::tick`]. One is enough: it would come every second.
    panic_is_told: AtomicBool,
}

impl Live {
    /// Makes a provider known.
    pub fn add(&self, provider: &Arc<Provider>, enrolled: Option<&Arc<EnrolledArray>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|loaded| loaded.provider.strong_count() > 0);
        let provider = Arc::downgrade(provider);
        let enrolled = enrolled.map(Arc::downgrade);
        known.push(Loaded { provider, enrolled });
    }

    /// Starts the thread that ticks; it ends with the process.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start_ticking(self: &Arc<Self>) -> std::io::Result<()> {
        let live = Arc::clone(self);
        let ticker = std::thread::Builder::new().name("tick".to_owned());
        ticker.spawn(move || {
            loop {
                std::thread::sleep(TICK_EVERY);
                live.tick();
            }
        })?;
        Ok(())
    }

    /// Lets time pass for every provider; one that is at rest follows a changed enrolment. While volumes are frozen for a set of one
    /// of them the others wait: this process opens no file and logs nothing then (COM-8, T-099).
    pub fn tick(&self) {
        let mut loaded = self.loaded();
        if loaded.iter().any(|(provider, _)| provider.is_frozen()) {
            // A freeze that nobody ends is ended by its own provider.
            loaded.retain(|(provider, _)| provider.is_frozen());
        }
        for (provider, enrolled) in loaded {
            let ticked = caught(|| {
                provider.tick();
                if let Some(enrolled) = enrolled {
                    follow(&provider, &enrolled);
                }
            });
            if let Err(cause) = ticked
                && !self.panic_is_told.swap(true, Ordering::Relaxed)
            {
                let event = internal_error(Method::AbortSnapshots, cause, Hresult::S_OK);
                let _ = caught(|| provider.post(event));
            }
        }
    }

    /// Forced unload of whatever is still loaded, all at once, so that it takes no longer than one.
    pub fn unload(&self) {
        std::thread::scope(|scope| {
            for (provider, _) in self.loaded() {
                scope.spawn(move || {
                    // The server ends; the array gives up by itself what could not be given up here (SEQ-40).
                    let post = |event| provider.post(event);
                    guarded(Method::OnUnload, post, || provider.on_unload(true));
                });
            }
        });
    }

    fn loaded(&self) -> Vec<(Arc<Provider>, Option<Arc<EnrolledArray>>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let upgraded = |loaded: &Loaded| {
            let enrolled = loaded.enrolled.as_ref().and_then(Weak::upgrade);
            Some((loaded.provider.upgrade()?, enrolled))
        };
        known.iter().filter_map(upgraded).collect()
    }
}

/// Has a provider that is at rest follow a changed enrolment.
fn follow(provider: &Provider, enrolled: &EnrolledArray) {
    // Nothing is read while a set is in progress (T-099), nor under a lock that a method may be waiting for. So a set may begin
    // before the arrays are exchanged.
    if provider.at_rest(|| ()).is_some()
        && let Some(changed) = enrolled.changed()
    {
        let _before = provider.at_rest(|| enrolled.follow(changed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrolment::LoadError;
    use crate::settings::FileSettings;
    use crate::site::{Enrolments, Site};
    use array_api::simulated::{SimulatedArray, VirtualClock};
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicU32;
    use std::time::SystemTime;
    use uuid::Uuid;
    use vss_provider::state::State;
    use vss_provider::{Event, EventSink, Settings, budget};

    const SET: Uuid = Uuid::from_u128(1);

    struct Nowhere;

    impl EventSink for Nowhere {
        fn report(&self, _event: &Event) {}
    }

    fn provider(clock: &VirtualClock, array: &SimulatedArray) -> Arc<Provider> {
        let now = clock.clone();
        Arc::new(Provider::new(
            array.host("here"),
            Arc::new(move || now.now()),
            Arc::new(Nowhere),
            Settings::default(),
        ))
    }

    /// A provider with a set in progress.
    fn busy(clock: &VirtualClock, array: &SimulatedArray) -> Arc<Provider> {
        let provider = provider(clock, array);
        begin(&provider, array);
        provider
    }

    fn begin(provider: &Provider, array: &SimulatedArray) {
        let lun = array.create_lun(1 << 30, &["here"]);
        let infos = array.host("here").query(budget::TICK, &[lun]);
        let info = infos
            .expect("the array is up")
            .remove(0)
            .expect("it is there");
        let described = vss_provider::identity::describe(&info.identity);
        provider
            .begin_prepare_snapshot(SET, Uuid::from_u128(2), 0, &[described])
            .expect("the array can");
        assert_eq!(provider.state().0, State::Preparing);
    }

    /// SEQ-7: the set is forgotten by the process's own thread.
    #[test]
    fn tick_reaches_every_provider() {
        let (clock, live) = (VirtualClock::new(), Live::default());
        let provider = busy(&clock, &SimulatedArray::new(clock.clone()));
        live.add(&provider, None);
        clock.advance(Settings::default().idle_set_max);
        live.tick();
        assert_eq!(provider.state().0, State::Idle);
    }

    /// T-234: a panic ends neither the thread nor anybody's patience.
    #[test]
    fn t234_panic_at_every_tick_is_told_once() {
        let (broken, told) = (Arc::new(AtomicBool::new(false)), Arc::<Count>::default());
        let clock = Arc::clone(&broken);
        let provider = Arc::new(Provider::new(
            SimulatedArray::new(VirtualClock::new()).host("here"),
            Arc::new(move || {
                assert!(!clock.load(Ordering::Relaxed), "the clock is broken");
                Duration::ZERO
            }),
            Arc::clone(&told) as Arc<dyn EventSink>,
            Settings::default(),
        ));
        let live = Live::default();
        live.add(&provider, None);
        broken.store(true, Ordering::Relaxed);
        live.tick();
        live.tick();
        broken.store(false, Ordering::Relaxed);
        assert_eq!(told.0.load(Ordering::Relaxed), 1);
    }

    #[derive(Default)]
    struct Count(AtomicU32);

    impl EventSink for Count {
        fn report(&self, _event: &Event) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// T-023: what is unloaded leaves nothing here.
    #[test]
    fn t023_a_thousand_loads_leave_one_entry() {
        let (clock, live) = (VirtualClock::new(), Live::default());
        let array = SimulatedArray::new(clock.clone());
        for _ in 0..1_000 {
            live.add(&provider(&clock, &array), None);
        }
        assert_eq!(live.known.lock().expect("not poisoned").len(), 1);
    }

    /// T-023: nor does an array stay connected, and its token in memory, for nobody.
    #[test]
    fn t023_array_goes_with_its_provider() {
        let (clock, live) = (VirtualClock::new(), Live::default());
        let enrolments = Enrolments {
            stamp: Box::new(|| None),
            load: Box::new(|| Err(LoadError::Missing)),
        };
        let settings = Ok(FileSettings::default());
        let site = Site::assemble(settings, enrolments, |_| Arc::new(Nowhere));
        let now = clock.clone();
        let clock = Arc::new(move || now.now());
        let provider = Provider::new(site.array, clock, site.events, site.settings);
        let provider = Arc::new(provider);
        let enrolled = site.enrolled.expect("it comes from an enrolment");
        live.add(&provider, Some(&enrolled));
        let left = Arc::downgrade(&enrolled);

        drop((enrolled, provider));

        assert_eq!(left.strong_count(), 0);
    }

    /// LOAD-7, at the end of the server.
    #[test]
    fn unload_gives_the_set_up_that_is_left() {
        let (clock, live) = (VirtualClock::new(), Live::default());
        let provider = busy(&clock, &SimulatedArray::new(clock.clone()));
        live.add(&provider, None);
        live.unload();
        assert_eq!(provider.state().0, State::Idle);
    }

    /// The set in progress goes on with the arrays on which it was begun; afterwards the new enrolment holds.
    #[test]
    fn changed_enrolment_waits_for_the_end_of_the_set() {
        let (clock, live) = (VirtualClock::new(), Live::default());
        let provider = busy(&clock, &SimulatedArray::new(clock.clone()));
        let looks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&looks);
        let enrolments = Enrolments {
            stamp: Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                None
            }),
            load: Box::new(|| Err(LoadError::Missing)),
        };
        let settings = Ok(FileSettings::default());
        let site = Site::assemble(settings, enrolments, |_| Arc::new(Nowhere));
        live.add(&provider, site.enrolled.as_ref());
        let before = looks.load(Ordering::Relaxed);
        live.tick();
        assert_eq!(looks.load(Ordering::Relaxed), before);

        // Given up, which is an end too.
        provider.abort_snapshots(SET).expect("the array is up");
        live.tick();

        assert!(looks.load(Ordering::Relaxed) > before);
    }

    /// T-099, COM-8: in the commit window of one provider's set no other provider of the process opens a file or logs either.
    #[test]
    fn t099_other_providers_wait_while_volumes_are_frozen() {
        let (clock, live) = (VirtualClock::new(), Live::default());
        let array = SimulatedArray::new(clock.clone());
        let (frozen, other) = (busy(&clock, &array), provider(&clock, &array));
        let looks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&looks);
        let enrolments = Enrolments {
            stamp: Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                None
            }),
            load: Box::new(|| Err(LoadError::Missing)),
        };
        let settings = Ok(FileSettings::default());
        let site = Site::assemble(settings, enrolments, |_| Arc::new(Nowhere));
        live.add(&other, site.enrolled.as_ref());
        live.add(&frozen, None);
        frozen.end_prepare_snapshots(SET).expect("ready");
        frozen.pre_commit_snapshots(SET).expect("armed");
        let before = looks.load(Ordering::Relaxed);
        live.tick();
        assert_eq!(looks.load(Ordering::Relaxed), before);

        // What nobody ends is ended, and keeps nobody waiting.
        clock.advance(budget::FREEZE_MAX);
        live.tick();
        live.tick();

        assert!(looks.load(Ordering::Relaxed) > before);
    }

    /// A set that begins while the changed enrolment is being read goes on with the arrays on which it was begun.
    #[test]
    fn changed_enrolment_waits_for_a_set_that_begins_meanwhile() {
        let (clock, live) = (VirtualClock::new(), Live::default());
        let array = SimulatedArray::new(clock.clone());
        let provider = provider(&clock, &array);
        let (version, begun) = (Arc::new(AtomicU32::new(0)), Arc::new(OnceLock::new()));
        let (seen, read, once) = (
            Arc::clone(&version),
            Arc::clone(&version),
            Arc::clone(&begun),
        );
        let beginner = Arc::clone(&provider);
        let enrolments = Enrolments {
            stamp: Box::new(move || {
                let version = Duration::from_secs(seen.load(Ordering::Relaxed).into());
                Some(SystemTime::UNIX_EPOCH + version)
            }),
            load: Box::new(move || match read.load(Ordering::Relaxed) {
                0 => Err(LoadError::Missing),
                _ => {
                    once.get_or_init(|| begin(&beginner, &array));
                    Ok(Vec::new())
                }
            }),
        };
        let settings = Ok(FileSettings::default());
        let site = Site::assemble(settings, enrolments, |_| Arc::new(Nowhere));
        let refusal = || site.array.info(budget::TICK).expect_err("no array").message;
        live.add(&provider, site.enrolled.as_ref());
        version.store(1, Ordering::Relaxed);

        live.tick();

        assert!(begun.get().is_some(), "the enrolment was read");
        assert!(refusal().contains("not enrolled"), "{}", refusal());

        provider.abort_snapshots(SET).expect("the array is up");
        live.tick();

        assert!(refusal().contains("no array"), "{}", refusal());
    }
}
