// SPDX-License-Identifier: MIT OR Apache-2.0
//! `enroll`: checks a line, asks the array, stores.

use crate::data_folder::DataFolder;
use crate::enrolment::{self, Enrolled, Removed, SecretBox};
use array_api::{ArrayError, ArrayErrorKind, ArrayInfo, Enrolment};
use std::io::{BufRead, Read as _};

/// An enrolment line is shorter.
const LINE_BYTES_MAX: u64 = 4096;

/// Asks the array of an enrolment who it is.
type Ask = fn(&Enrolment) -> Result<ArrayInfo, ArrayError>;

/// The line itself, or with `-` the first line of the input.
pub(super) fn line(argument: &str, input: &mut dyn BufRead) -> Result<String, String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut line = String::new();
    input
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .map_err(|error| format!("The enrolment line cannot be read: {error}."))?;
    // Windows PowerShell begins what it pipes with a mark.
    Ok(line.trim_start_matches('\u{feff}').trim().to_owned())
}

/// Stores an enrolment that the array confirms (or that `ask` is `None` for), or whose array cannot be reached at the moment.
pub(super) fn enroll(
    folder: &dyn DataFolder,
    secrets: &dyn SecretBox,
    line: &str,
    ask: Option<Ask>,
) -> Result<String, String> {
    let enrolment: Enrolment = line
        .parse()
        .map_err(|error| format!("This host was not enrolled: {error}."))?;
    let answer = ask.map(|ask| ask(&enrolment));
    let name = match &answer {
        Some(Ok(info)) => Some(info.name.clone()),
        _ => None,
    };
    let told = match answer {
        None => format!("; the array at {} was not asked", enrolment.address()),
        Some(Ok(info)) => format!("; the array {} knows it as {}", info.name, info.host),
        Some(Err(error)) if may_be_right(error.kind) => format!(
            ", but the array could not confirm it: {}.\nWhat to do: {}; then run 'shadowlun-provider status'",
            error.message, error.remedy
        ),
        Some(Err(error)) => {
            return Err(format!(
                "This host was not enrolled: {}.\nWhat to do: {}; or enroll without asking the array, with --no-check.",
                error.message, error.remedy
            ));
        }
    };
    let enrolled = Enrolled { name, enrolment };
    enrolment::add(folder, secrets, &enrolled).map_err(|error| {
        format!(
            "This host was not enrolled: {} cannot be written: {error}.\nWhat to do: run the command as administrator.",
            folder.path(enrolment::FILE).display()
        )
    })?;
    Ok(format!("This host is enrolled{told}.\n"))
}

/// Takes an array out of the enrolment.
pub(super) fn unenroll(folder: &dyn DataFolder, array: Option<&str>) -> Result<String, String> {
    match enrolment::remove(folder, array) {
        Ok(Removed::One { array, left }) => Ok(format!(
            "This host is no longer enrolled with {array}; {left} arrays are left. To end its rights there, run 'shadowlun host \
             remove' on the array.\n"
        )),
        Ok(Removed::None) => match array {
            None => Ok("This host was not enrolled.\n".to_owned()),
            Some(array) => Err(format!(
                "This host is not enrolled with an array {array}. 'shadowlun-provider status' lists those it is enrolled with."
            )),
        },
        Ok(Removed::Which(addresses)) => Err(format!(
            "This host is enrolled with several arrays; nothing was changed. Name one of: {}",
            addresses.join(", ")
        )),
        Err(error) => Err(format!(
            "The enrolment {} cannot be changed: {error}. Run the command as administrator.",
            folder.path(enrolment::FILE).display()
        )),
    }
}

/// Whether an array that answered so, or not at all, may still be the right one.
fn may_be_right(kind: ArrayErrorKind) -> bool {
    !matches!(
        kind,
        ArrayErrorKind::Protocol | ArrayErrorKind::Unauthenticated | ArrayErrorKind::Forbidden
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_folder::MemoryFolder;
    use crate::enrolment::FILE;
    use crate::enrolment::tests::Machine;
    use array_api::simulated::{SimulatedArray, VirtualClock};
    use std::time::Duration;

    fn good_line() -> String {
        format!(
            "shadowlun://127.0.0.1:8443/1/{}/{}",
            "ab".repeat(32),
            "cd".repeat(32)
        )
    }

    fn refuses(kind: ArrayErrorKind) -> Result<ArrayInfo, ArrayError> {
        Err(ArrayError::new(kind, "the reason", "the remedy"))
    }

    fn is_enrolled(folder: &MemoryFolder) -> bool {
        folder.read(FILE).is_ok()
    }

    #[test]
    fn line_comes_from_the_input_for_a_dash() {
        let input = |text: &'static str| line("-", &mut text.as_bytes()).unwrap();

        assert_eq!(input("shadowlun://x\r\nmore\n"), "shadowlun://x");
        assert_eq!(input("\u{feff}shadowlun://x"), "shadowlun://x");
        assert_eq!(line("given", &mut "not read".as_bytes()).unwrap(), "given");
    }

    #[test]
    fn confirmed_enrolment_is_stored_and_says_who_the_array_is() {
        let folder = MemoryFolder::default();
        let ask: Ask = |_| {
            SimulatedArray::new(VirtualClock::new())
                .host("winhost")
                .info(Duration::from_secs(1))
        };

        let text = enroll(&folder, &Machine(1), &good_line(), Some(ask)).unwrap();

        assert!(text.contains("knows it as winhost"), "{text}");
        assert!(is_enrolled(&folder));
    }

    #[test]
    fn unreachable_array_is_a_warning_and_the_enrolment_is_stored() {
        let folder = MemoryFolder::default();
        let ask: Ask = |_| refuses(ArrayErrorKind::Unreachable);

        let text = enroll(&folder, &Machine(1), &good_line(), Some(ask)).unwrap();

        assert!(text.contains("the reason") && text.contains("the remedy"));
        assert!(is_enrolled(&folder));
    }

    #[test]
    fn wrong_key_or_refused_token_is_not_stored_unless_unchecked() {
        let folder = MemoryFolder::default();
        for ask in [
            (|_: &Enrolment| refuses(ArrayErrorKind::Protocol)) as Ask,
            |_| refuses(ArrayErrorKind::Unauthenticated),
            |_| refuses(ArrayErrorKind::Forbidden),
        ] {
            let text = enroll(&folder, &Machine(1), &good_line(), Some(ask)).unwrap_err();

            assert!(text.contains("the reason") && text.contains("--no-check"));
            assert!(!is_enrolled(&folder));
        }

        enroll(&folder, &Machine(1), &good_line(), None).unwrap();

        assert!(is_enrolled(&folder));
    }

    #[test]
    fn unenroll_names_what_it_removed_and_asks_where_there_are_several() {
        let folder = MemoryFolder::default();
        assert!(
            unenroll(&folder, None)
                .unwrap()
                .contains("was not enrolled")
        );
        enroll(&folder, &Machine(1), &good_line(), None).unwrap();
        let second = good_line()
            .replace("127.0.0.1", "other")
            .replace("abab", "0101");
        enroll(&folder, &Machine(1), &second, None).unwrap();

        let which = unenroll(&folder, None).unwrap_err();
        assert!(which.contains("127.0.0.1:8443, other:8443"), "{which}");
        assert!(
            unenroll(&folder, Some("third:1"))
                .unwrap_err()
                .contains("status")
        );
        let text = unenroll(&folder, Some("other:8443")).unwrap();
        assert!(text.contains("other:8443; 1 arrays are left"), "{text}");
        unenroll(&folder, None).unwrap();
        assert!(!is_enrolled(&folder));
    }

    /// T-304, SEC-10.
    #[test]
    fn t304_wrong_line_is_refused_without_repeating_it() {
        let folder = MemoryFolder::default();
        let line = good_line().replace(":8443", "");

        let text = enroll(&folder, &Machine(1), &line, None).unwrap_err();

        assert!(
            text.contains("HOST:PORT") && !text.contains("cdcd"),
            "{text}"
        );
        assert!(!is_enrolled(&folder));
    }
}
