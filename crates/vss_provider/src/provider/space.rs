// SPDX-License-Identifier: MIT OR Apache-2.0
//! When the array's space runs out, copies and originals are at risk: people have to hear of it (ERR-5, CTX-13, OLS-8).

use super::support::Call;
use super::{Provider, lock, plain};
use crate::budget::{self, Budget};
use crate::{Event, EventKind, Method};
use array_api::{ArrayError, LunId, SpaceLevel};
use std::time::Duration;

/// What was last heard of the array's space.
#[derive(Default)]
pub(super) struct SpaceWatch {
    asked_at: Option<Duration>,
    level: Option<SpaceLevel>,
}

impl Provider {
    /// Asks the array once in [`budget::SPACE_EVERY`], and writes an event when its level is another than the last, or is
    /// seen for the first time (LOG-5). An array that does not answer is asked again after as long.
    pub(super) fn watch_space(&self, budget: &Budget<'_>) {
        let now = self.clock.now();
        {
            let mut watch = lock(&self.space);
            let waited = |at| now.saturating_sub(at) >= budget::SPACE_EVERY;
            if !watch.asked_at.is_none_or(waited) {
                return;
            }
            watch.asked_at = Some(now);
        }
        let Ok(info) = budget.left().and_then(|within| self.array.info(within)) else {
            return;
        };
        if lock(&self.space).level.replace(info.space) == Some(info.space) {
            return;
        }
        let kind = match info.space {
            SpaceLevel::Ample => return,
            SpaceLevel::Low => EventKind::SpaceLow,
            SpaceLevel::Exhausted => EventKind::SpaceExhausted,
        };
        self.journal.post(Event {
            cause: format!(
                "array {} has {} of {} bytes free",
                info.name, info.free_bytes, info.capacity_bytes
            ),
            ..plain(kind, Method::OnLoad, None)
        });
    }

    /// OLS-8: copies that were just broken take writes for good; tells when the array cannot promise the space for them.
    pub(super) fn tell_unless_space_suffices(&self, call: &Call<'_>, broken: &[LunId]) {
        let cause = match self.space_for(call, broken) {
            Ok(None) => return,
            Ok(Some(cause)) => cause,
            Err(error) => format!("the array's free space is not known: {}", error.message),
        };
        self.journal.post(Event {
            luns: broken.to_vec(),
            cause,
            ..plain(EventKind::SpaceNotGuaranteed, call.method, None)
        });
    }

    /// `None` when every block of these LUNs could be written anew.
    fn space_for(&self, call: &Call<'_>, luns: &[LunId]) -> Result<Option<String>, ArrayError> {
        let infos = self.query(&call.budget, luns)?;
        let sizes = infos.iter().flatten().map(|info| info.size_bytes);
        let needed = sizes.fold(0, u64::saturating_add);
        // The copies are broken already: a silent array of several must not keep the caller for the call's whole time.
        let info = self
            .array
            .info(call.budget.left()?.min(budget::SPACE_ASK))?;
        let enough = info.space == SpaceLevel::Ample && info.free_bytes >= needed;
        Ok((!enough).then(|| {
            let free = info.free_bytes;
            format!("{free} bytes are free on the array, for LUNs of {needed} bytes")
        }))
    }
}
