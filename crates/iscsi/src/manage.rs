// SPDX-License-Identifier: MIT OR Apache-2.0
//! Task management across the sessions of a target (RFC 7143 11.5, SAM-5 7). A function is answered when every task
//! that it affects has ended, in whatever session it was: what the initiator then writes cannot be overtaken by what it
//! gave up.

use crate::core::{Effects, Function, Management, response};
use crate::latch::Latch;
use crate::registry::Registry;
use crate::session::Session;
use scsi::{LogicalUnit, UnitAttention};
use std::sync::Arc;

/// Carries out a request of `session`; the answer follows from here or from the last task's end.
pub(crate) fn carry_out(session: &Arc<Session>, management: Management) {
    tracing::debug!(
        initiator = session.initiator(),
        ?management,
        "task management"
    );
    let itt = management.itt;
    let unit = management.lun.and_then(|lun| session.unit_at(lun));
    let refused = match (management.function, &unit) {
        (Function::NotSupported, _) => Some(response::NOT_SUPPORTED),
        (Function::ReassignNotSupported, _) => Some(response::REASSIGN_NOT_SUPPORTED),
        (Function::AbortTaskSet | Function::ClearTaskSet | Function::LunReset, None) => {
            Some(response::NO_SUCH_LUN)
        }
        _ => None,
    };
    if let Some(response) = refused {
        return answer(session, itt, response);
    }
    let latch = answer_later(session, &management);
    match (management.function, unit) {
        (Function::AbortTask, _) => {
            let referenced = management.referenced_itt;
            if session.abort(|task| task.itt == referenced, &latch) == 0 {
                latch.disarm();
                abort_unseen(session, management);
            }
        }
        (Function::AbortTaskSet, Some(unit)) => {
            session.abort(|task| Arc::ptr_eq(&task.unit, &unit), &latch);
        }
        (Function::ClearTaskSet, Some(unit)) => clear_task_set(session, &unit, &latch),
        (Function::LunReset, Some(unit)) => reset(session.registry(), &unit, &latch),
        (Function::WarmReset | Function::ColdReset, _) => {
            for unit in session.units() {
                reset(session.registry(), &unit, &latch);
            }
        }
        _ => {}
    }
}

fn answer(session: &Arc<Session>, itt: u32, response: u8) {
    session.step(|core| core.managed(itt, response));
    session.flush();
}

/// Sends the answer when the last holder lets go.
fn answer_later(session: &Arc<Session>, management: &Management) -> Arc<Latch> {
    let session = Arc::clone(session);
    let Management { itt, function, .. } = *management;
    Arc::new(Latch::new(move || {
        answer(&session, itt, response::COMPLETE);
        if function == Function::ColdReset {
            // A cold reset ends the sessions, of this host: others do not share its target (LUN masking).
            for other in session.registry().all() {
                if Arc::ptr_eq(&other, &session) {
                    session.out().close_after();
                } else if other.shares_view(&session) {
                    other.close();
                }
            }
        }
    }))
}

/// ABORT TASK of a task that is not there: finished, never sent, or not yet received.
fn abort_unseen(session: &Arc<Session>, management: Management) {
    session.step(|core| {
        let mut effects = Effects::default();
        let response = match core.abort_unseen(&management, &mut effects) {
            true => response::COMPLETE,
            false => response::NO_SUCH_TASK,
        };
        let answer = core.managed(management.itt, response);
        effects.send.extend(answer.send);
        effects
    });
    session.flush();
}

fn clear_task_set(session: &Arc<Session>, unit: &Arc<LogicalUnit>, latch: &Arc<Latch>) {
    for other in session.registry().all() {
        let cleared = other.abort(|task| Arc::ptr_eq(&task.unit, unit), latch);
        if cleared > 0 && !Arc::ptr_eq(&other, session) {
            for lun in other.luns_of(unit) {
                other.establish(lun, UnitAttention::CommandsCleared);
            }
        }
    }
}

/// Logical unit reset (SAM-5 6.3.3): the tasks of all sessions at this unit, and a unit attention for each of them.
fn reset(registry: &Registry, unit: &Arc<LogicalUnit>, latch: &Arc<Latch>) {
    for session in registry.all() {
        session.abort(|task| Arc::ptr_eq(&task.unit, unit), latch);
        for lun in session.luns_of(unit) {
            session.establish(lun, UnitAttention::Reset);
        }
    }
}
