// SPDX-License-Identifier: MIT OR Apache-2.0
//! The provider's names in the system (REG-14, REG-16): this project's, and those of whoever builds a provider of this crate.

use std::sync::OnceLock;
use uuid::Uuid;
use vss_provider::EventKind;

/// By what Windows and people know a provider. Two providers on one computer share none of it.
pub struct Names {
    /// The COM class that VSS activates.
    pub class_id: Uuid,
    /// Groups the class's launch settings.
    pub app_id: Uuid,
    /// The provider in VSS; never changes (REG-16).
    pub provider_id: Uuid,
    /// This version of the provider in VSS; a new one with every released revision (REG-16).
    pub version_id: Uuid,
    /// Display name in VSS (`vssadmin list providers`).
    pub provider_name: &'static str,
    /// Version in VSS.
    pub provider_version: &'static str,
    /// The Windows service, and the right to be the one process that serves.
    pub service_name: &'static str,
    /// Its source in the Application event log, and its ETW provider.
    pub event_source: &'static str,
    /// This program, as people type it.
    pub command: &'static str,
    /// This program's file.
    pub executable: &'static str,
    /// The DLL with the event texts, beside the executable.
    pub message_dll: &'static str,
    /// Folder below %ProgramData% with `provider.toml` (settings) and what is known of the array.
    pub data_folder: &'static str,
    /// How the remedies of events name the array's own means.
    pub array: ArrayMeans,
}

/// What an administrator of the array has at hand. Each stands in the middle of a sentence, a command in quotation marks.
pub struct ArrayMeans {
    /// What has to run for the array to be reached: "Check that ... runs".
    pub service: &'static str,
    /// Where copies are found that nobody accounts for: "look at ... on the array".
    pub orphans: &'static str,
    /// What deletes a LUN: "Delete it with ...".
    pub delete: &'static str,
    /// What tells of hosts, their groups and rights: "Check ... with ...".
    pub hosts: &'static str,
    /// What lists the LUNs: "Check with ...".
    pub luns: &'static str,
}

/// What the version ids of all our versions share; drawn at random.
const VERSION_IDS: Uuid = Uuid::from_u128(0xc1ffb810_b881_4240_9f0b_4e8236e4ba10);

/// The version id of a version: the shared one, with the version's FNV-1a hash in its last 48 bits, so that no release can
/// keep the id of the one before (REG-16).
const fn version_id(shared: Uuid, version: &str) -> Uuid {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = version.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    Uuid::from_u128(shared.as_u128() ^ (hash as u128 & 0xFFFF_FFFF_FFFF))
}

/// This project's names. All ids were drawn at random for it.
pub const SHADOWLUN: Names = Names {
    class_id: Uuid::from_u128(0x2c7f1ed9_9c5e_439a_8d23_55efdae102c3),
    app_id: Uuid::from_u128(0x5825446a_6af0_4fdd_84b6_11b2d2254718),
    provider_id: Uuid::from_u128(0x28ea8399_c98f_4f97_b0d1_6b3d187c8045),
    version_id: version_id(VERSION_IDS, env!("CARGO_PKG_VERSION")),
    provider_name: "Shadowlun VSS Hardware Provider",
    provider_version: env!("CARGO_PKG_VERSION"),
    service_name: "ShadowlunProvider",
    event_source: "Shadowlun",
    command: "shadowlun-provider",
    executable: "shadowlun-provider.exe",
    message_dll: "shadowlun-messages.dll",
    data_folder: "Shadowlun",
    array: ArrayMeans {
        service: "shadowlund",
        orphans: "'shadowlun orphans'",
        delete: "'shadowlun lun delete'",
        hosts: "'shadowlun host list'",
        luns: "'shadowlun lun list'",
    },
};

static NAMES: OnceLock<&'static Names> = OnceLock::new();

/// The names of this process's provider: [`SHADOWLUN`] unless [`crate::vendor::run`] was given others.
pub fn names() -> &'static Names {
    NAMES.get().copied().unwrap_or(&SHADOWLUN)
}

/// Whose provider this process is; the first call counts.
pub(crate) fn use_names(names: &'static Names) {
    NAMES.get_or_init(|| names);
}

/// A text of this crate or of the event catalogue, in which the program, its DLL, its folders and the array's means have this
/// project's names, with those of `names`.
pub(crate) fn in_words_of(names: &Names, text: &str) -> String {
    let (ours, theirs) = (&SHADOWLUN.array, &names.array);
    text.replace(SHADOWLUN.command, names.command)
        .replace(SHADOWLUN.message_dll, names.message_dll)
        .replace(SHADOWLUN.data_folder, names.data_folder)
        .replace(ours.service, theirs.service)
        .replace(ours.orphans, theirs.orphans)
        .replace(ours.delete, theirs.delete)
        .replace(ours.hosts, theirs.hosts)
        .replace(ours.luns, theirs.luns)
}

/// What to do about an event, in the words of this process's provider.
pub(crate) fn remedy(kind: EventKind) -> String {
    in_own_words(kind.remedy())
}

/// The same with the names of this process's provider.
pub(crate) fn in_own_words(text: &str) -> String {
    in_words_of(names(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REG-16: each version has an id of its own, and the installed one is that of the package.
    #[test]
    fn version_id_follows_the_version_of_the_package() {
        let of = |version| version_id(VERSION_IDS, version);
        let versions = ["0.1.0", "0.1.1", "0.2.0", "1.0.0", "1.0.0-rc.1"];
        for (at, version) in versions.iter().enumerate() {
            assert!(versions[..at].iter().all(|one| of(one) != of(version)));
        }
        assert_eq!(SHADOWLUN.version_id, of(SHADOWLUN.provider_version));
    }

    #[test]
    fn texts_name_the_vendors_program_dll_and_folder() {
        let names = Names {
            command: "acme-provider",
            message_dll: "acme-messages.dll",
            data_folder: "Acme",
            ..SHADOWLUN
        };
        let text = r"put shadowlun-messages.dll into C:\Program Files\Shadowlun, run 'shadowlun-provider install'";

        let own = in_words_of(&names, text);

        assert_eq!(
            own,
            r"put acme-messages.dll into C:\Program Files\Acme, run 'acme-provider install'"
        );
    }

    /// A phrase that no remedy uses would let a remedy keep this project's words.
    #[test]
    fn every_means_of_the_array_is_named_by_a_remedy() {
        let ours = SHADOWLUN.array;
        for means in [
            ours.service,
            ours.orphans,
            ours.delete,
            ours.hosts,
            ours.luns,
        ] {
            let remedies = EventKind::ALL.iter().map(|kind| kind.remedy());
            assert!(
                remedies.clone().any(|remedy| remedy.contains(means)),
                "{means}"
            );
        }
    }
}
