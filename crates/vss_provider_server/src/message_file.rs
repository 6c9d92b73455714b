// SPDX-License-Identifier: MIT OR Apache-2.0
//! The texts of the Application log's events, drawn from the one catalogue ([`EventKind::ALL`], LOG-1), in the form that the
//! message compiler reads. `examples/message_file.rs` prints it and says how the DLL is made.

use crate::ids::{Names, in_own_words, in_words_of};
use vss_provider::{Event, EventKind, Severity};

/// Longest insert in UTF-16 units. ReportEvent takes 31,839 a string, and about 30,000 in all three together.
pub const INSERT_UNITS_MAX: usize = 8_192;

/// The id that ReportEvent needs: the catalogue's, with the severity in bits 31-30 as the message compiler puts it there;
/// neither facility nor customer bit.
pub fn message_id(kind: EventKind) -> u32 {
    let severity = match kind.severity() {
        Severity::Information => 1,
        Severity::Warning => 2,
        Severity::Error => 3,
    };
    severity << 30 | kind.id()
}

/// An event's text in the message file of a provider with these names: `%1` is the cause, `%2` the context, `%3` the array's advice
/// or nothing.
pub fn text(names: &Names, kind: EventKind) -> String {
    format!(
        "{}%n%nCause: %1.%n%2%n%nWhat to do: {}%3",
        escaped(kind.title()),
        escaped(&in_words_of(names, kind.remedy()))
    )
}

/// The strings for `%1` to `%3` (LOG-4).
pub fn inserts(event: &Event) -> [String; 3] {
    let advice = match &event.advice {
        Some(advice) => format!(" In this case: {}.", in_own_words(advice)),
        None => String::new(),
    };
    [
        insert(&event.cause),
        insert(&event.context()),
        insert(&advice),
    ]
}

/// The source text for the message compiler, of a provider with these names. Pure ASCII if they are, so that no code page matters.
pub fn source(names: &Names) -> String {
    let mut text = String::from(
        "; // Made by the example message_file from the provider's event catalogue. Do not edit.\n\
         MessageIdTypedef=DWORD\n\
         SeverityNames=(Information=0x1 Warning=0x2 Error=0x3)\n\
         FacilityNames=(None=0x0)\n\
         LanguageNames=(English=0x409:MSG00409)\n",
    );
    for kind in EventKind::ALL {
        text += &format!(
            "\nMessageId={}\nSeverity={:?}\nFacility=None\nSymbolicName={kind:?}\nLanguage=English\n{}\n.\n",
            kind.id(),
            kind.severity(),
            self::text(names, *kind)
        );
    }
    text
}

/// A catalogue text, safe from FormatMessage: `%` begins an escape there, and `!` a format where it follows one.
fn escaped(text: &str) -> String {
    text.replace('%', "%%").replace('!', "%!")
}

/// An insert as ReportEvent and the viewers bear it: without NUL, bounded, and with a blank between a `%` and a digit, which the viewers
/// would take for another insert.
fn insert(text: &str) -> String {
    let mut out = String::new();
    let mut units = 0;
    for c in text.chars() {
        let c = if c == '\0' { '\u{FFFD}' } else { c };
        let gap = c.is_ascii_digit() && out.ends_with('%');
        units += c.len_utf16() + usize::from(gap);
        if units > INSERT_UNITS_MAX {
            break;
        }
        if gap {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SHADOWLUN;
    use array_api::LunId;
    use uuid::Uuid;
    use vss_provider::{Hresult, Method};

    fn event(cause: &str, advice: Option<&str>) -> Event {
        Event {
            kind: EventKind::NoSpace,
            method: Method::EndPrepareSnapshots,
            set: None,
            snapshot: None,
            luns: Vec::new(),
            cause: cause.to_owned(),
            advice: advice.map(str::to_owned),
            code: Hresult::VSS_E_INSUFFICIENT_STORAGE,
        }
    }

    /// LOG-5.
    #[test]
    fn message_id_carries_the_severity_in_its_upper_bits() {
        assert_eq!(message_id(EventKind::SetCaptured), 0x4000_0064);
        assert_eq!(message_id(EventKind::LeftoverPending), 0x8000_00C8);
        assert_eq!(message_id(EventKind::NoSpace), 0xC000_0130);
    }

    /// T-235, LOG-1: one text per id.
    #[test]
    fn t235_source_has_every_message_once_in_ascii_and_whole() {
        let source = source(&SHADOWLUN);

        assert!(source.is_ascii());
        for kind in EventKind::ALL {
            let head = format!("MessageId={}\nSeverity={:?}\n", kind.id(), kind.severity());
            assert_eq!(source.matches(&head).count(), 1, "{kind:?}");
            let body = text(&SHADOWLUN, *kind);
            assert!(!body.contains('\n'), "a line of '.' would end a message");
            assert!(source.contains(&body));
        }
    }

    #[test]
    fn catalogue_texts_are_escaped() {
        assert_eq!(escaped("100 % of %1!"), "100 %% of %%1%!");
    }

    /// LOG-4.
    #[test]
    fn inserts_carry_cause_context_and_advice() {
        let [cause, context, advice] = inserts(&event("3 bytes are free", Some("free 4")));

        assert_eq!(cause, "3 bytes are free");
        assert!(context.contains("EndPrepareSnapshots"), "{context}");
        assert!(context.contains("0x8004231F"), "{context}");
        assert_eq!(advice, " In this case: free 4.");
        assert_eq!(inserts(&event("x", None))[2], "");
    }

    /// LOG-4: the code is told however many LUNs there are.
    #[test]
    fn inserts_of_a_call_with_thousands_of_luns_carry_the_code() {
        let vast = Event {
            set: Some(Uuid::from_u128(1)),
            luns: vec![LunId(2); 4_096],
            ..event("3 bytes are free", None)
        };

        let [_, context, _] = inserts(&vast);

        assert!(context.contains("0x8004231F"), "{context}");
        assert!(context.contains(&Uuid::from_u128(1).to_string()));
    }

    /// Known trap: the viewers expand `%` and digits in inserts too (an IPv6 zone, for example).
    #[test]
    fn inserts_with_percent_and_digit_are_parted() {
        let [cause, ..] = inserts(&event("fe80::1%3 and %%4096, 5 %", None));

        assert_eq!(cause, "fe80::1% 3 and %% 4096, 5 %");
    }

    #[test]
    fn inserts_are_bounded_in_utf16_units_and_free_of_nul() {
        let [cause, ..] = inserts(&event(&"\u{1F600}".repeat(20_000), None));
        assert_eq!(cause.encode_utf16().count(), INSERT_UNITS_MAX);

        let [cause, ..] = inserts(&event(&"%1".repeat(20_000), None));
        assert_eq!(cause.encode_utf16().count(), INSERT_UNITS_MAX - 1);

        let [cause, ..] = inserts(&event("a\0b", None));
        assert_eq!(cause, "a\u{FFFD}b");
    }
}
