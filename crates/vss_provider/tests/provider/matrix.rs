// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every fault of the array at every method (specification 10.11), as a page for readers: `docs/fault-matrix.md`.

use crate::faults::POINTS;
use crate::support::{HOST, OK, Rig, VETO, set};
use array_api::ArrayErrorKind as Kind;
use array_api::simulated::Fault;
use std::fmt::Write as _;
use std::time::Duration;
use vss_provider::state::State;
use vss_provider::{LunDescription, Method, budget, errors};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/fault-matrix.md");
const SLOW: Duration = Duration::from_secs(3);

fn faults() -> [(&'static str, Fault); 7] {
    [
        ("OK", Fault::Ok),
        ("ERR", Fault::Err(Kind::Internal)),
        ("DOWN", Fault::Down),
        ("HANG", Fault::Hang),
        ("LOST", Fault::Lost),
        ("PART", Fault::Part(1)),
        ("SLOW", Fault::Slow(SLOW)),
    ]
}

/// T-250, T-251, T-253, T-254, T-232, T-233, TIME-9, ERR-1, ERR-3: every fault at every method: the code is in the matrix, the
/// call is over in its time, a VETO has exactly one event, nothing is left after recovery; and the page tells it as it is.
#[test]
fn t250_t251_every_fault_at_every_method_as_the_page_says() {
    let page = page();
    let checked_in = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        page == checked_in,
        "docs/fault-matrix.md is not what happens; make it anew with:\n\
         cargo test -p vss_provider --all-features --test provider -- --ignored write_the_fault_matrix"
    );
}

#[test]
#[ignore = "writes docs/fault-matrix.md"]
fn write_the_fault_matrix() {
    std::fs::write(PAGE, page()).expect("the page can be written");
}

fn page() -> String {
    let mut page = format!(
        "# What each method does under each fault of the array\n\n\
         Made by running every method against the simulated array in virtual time; do not edit it (the test that compares it \
         says how to make it anew). A cell tells the answer, the set's state afterwards (where it differs from the state \
         before), and the time that the call took. Two LUNs; every array call of the method meets the fault:\n\n\
         - OK: none\n\
         - ERR: a definite refusal (an error of the array's own); nothing was done\n\
         - DOWN: no connection\n\
         - HANG: no answer\n\
         - LOST: carried out, but the answer is lost\n\
         - PART: a broken array that did it for the first LUN and then failed, where a call can be half done\n\
         - SLOW: carried out after {} s, if the caller waits so long\n\n\
         In every cell a VETO goes with exactly one event, and after recovery the next set finds nothing left over. \
         AreLunsSupported and FillInLunInfo answer TRUE or FALSE. HANG and LOST cost EndPrepareSnapshots the silence that it \
         tolerates ({} s), then the discard.\n\n| Method (state before) |",
        SLOW.as_secs(),
        budget::END_PREPARE_SILENCE.as_secs(),
    );
    for (name, _) in faults() {
        let _ = write!(page, " {name} |");
    }
    page += &format!("\n|---|{}\n", "---|".repeat(faults().len()));
    for (method, before, limit, _) in POINTS {
        let _ = write!(page, "| {method} ({}) |", name(before));
        for (fault_name, fault) in faults() {
            let at = format!("{method} {fault_name}");
            let _ = write!(page, " {} |", cell(method, before, limit, &fault, &at));
        }
        page.push('\n');
    }
    page
}

fn cell(method: Method, before: State, limit: Duration, fault: &Fault, at: &str) -> String {
    let rig = Rig::new(2);
    rig.array.set_resync_right(HOST, true);
    rig.reach(before, set(1));
    let originals = rig.volume();
    let copies = rig.devices(&rig.copies_or_told(set(1)));
    rig.forget_events();
    rig.array.fault_all(fault);
    let started = rig.clock.now();
    let (code, answer) = fire(&rig, method, &copies, &originals);
    let took = rig.clock.now() - started;
    assert!(took <= limit, "{at}: {took:?}");
    assert!(errors::permitted(method).contains(&code), "{at}: {code:?}");
    rig.array.heal();
    let after = rig.state();
    let mut text = answer;
    if after != before {
        let _ = write!(text, ", {}", name(after));
    }
    let _ = write!(text, ", {} s", took.as_secs_f64());
    let told = matches!(
        after,
        State::Reported | State::Surfaced | State::Prefinal | State::Created
    );
    let kept = if told {
        rig.copies_or_told(set(1)).len()
    } else {
        0
    };
    rig.clock.advance(budget::FREEZE_MAX);
    rig.provider.tick();
    let vetoes = rig.events().iter().filter(|e| e.code == VETO).count();
    assert_eq!(
        vetoes,
        usize::from(code == VETO),
        "{at}: {:?}",
        rig.events()
    );
    rig.assert_next_set_works(kept);
    text
}

fn fire(
    rig: &Rig,
    method: Method,
    copies: &[LunDescription],
    originals: &[LunDescription],
) -> (vss_provider::Hresult, String) {
    let p = &rig.provider;
    let truth = match method {
        Method::AreLunsSupported => p.are_luns_supported(0, originals),
        Method::FillInLunInfo => Ok(p.fill_in_lun_info(&copies[0]).is_some()),
        _ => {
            let code = rig.fire_with(method, set(1), copies, originals);
            return (code, code.to_string());
        }
    };
    match truth {
        Ok(truth) => (OK, format!("S_OK {}", if truth { "TRUE" } else { "FALSE" })),
        Err(code) => (code, code.to_string()),
    }
}

fn name(state: State) -> String {
    format!("{state:?}").to_uppercase()
}
