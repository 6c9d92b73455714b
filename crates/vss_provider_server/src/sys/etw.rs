// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event Tracing for Windows: self-describing events (TraceLogging), which tools read without a manifest.

// UNSAFETY: registers a provider, whose callback ETW keeps.
#![expect(unsafe_code)]

use crate::event_log::{Field, Trace};
use crate::ids;
use std::pin::Pin;
use std::sync::LazyLock;
use tracelogging_dynamic::{EventBuilder, Level, OutType, Provider};
use vss_provider::{EventKind, Severity};

/// One for all events, so that a session that asks for any keyword gets them.
const KEYWORD: u64 = 1;

/// Lives as long as the process: ETW's callback leads to it.
static PROVIDER: LazyLock<Pin<Box<Provider>>> = LazyLock::new(|| {
    let provider = Box::pin(Provider::new(
        ids::names().event_source,
        &Provider::options(),
    ));
    // What cannot be registered writes nothing; the Application log has the event in any case.
    // SAFETY: the provider is in the program itself, is never moved, and is never dropped.
    let _ = unsafe { provider.as_ref().register() };
    provider
});

/// ETW under the name of the event source; the provider's GUID is made of the name as .NET's EventSource makes it.
pub struct Etw;

impl Etw {
    /// Makes the provider known, so that sessions find it before its first event.
    pub fn open() -> Self {
        LazyLock::force(&PROVIDER);
        Self
    }
}

impl Trace for Etw {
    fn write(&self, kind: EventKind, fields: &[Field]) {
        // Nobody is told of a failure: it means that no session listens, or one whose buffers are full.
        send(kind, fields);
    }
}

/// EventWrite's answer.
fn send(kind: EventKind, fields: &[Field]) -> u32 {
    let level = match kind.severity() {
        Severity::Information => Level::Informational,
        Severity::Warning => Level::Warning,
        Severity::Error => Level::Error,
    };
    let mut event = EventBuilder::new();
    event.reset(&format!("{kind:?}"), level, KEYWORD, 0);
    event.id_version(u16::try_from(kind.id()).expect("ids have three digits"), 0);
    for (name, value) in fields {
        event.add_str8(name, value, OutType::Utf8, 0);
    }
    event.write(&PROVIDER, None, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOG-4, as far as Wine goes, whose ETW takes everything and keeps nothing.
    #[test]
    fn every_event_of_the_catalogue_is_taken() {
        let _etw = Etw::open();
        for kind in EventKind::ALL {
            let fields = [("cause", "gone".to_owned()), ("set", String::new())];
            assert_eq!(send(*kind, &fields), 0, "{kind:?}");
        }
    }

    /// The GUID by which a session is told to listen, as `docs/provider-operations.md` names it.
    #[test]
    fn guid_is_the_one_in_the_documents() {
        let page = include_str!("../../../../docs/provider-operations.md");
        let guid = PROVIDER.id().to_utf8_bytes();
        let guid = std::str::from_utf8(&guid).expect("it is ASCII");
        assert!(page.contains(guid), "{guid}");
    }
}
