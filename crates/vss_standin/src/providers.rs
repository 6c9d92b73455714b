// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the stand-in coordinator decides: which registrations it takes, and how an enumerator moves (specification 2.3).

use uuid::Uuid;

/// Class of the VSS coordinator, the source of IVssAdmin.
pub const COORDINATOR_CLASS: Uuid = Uuid::from_u128(0xe579ab5f_1cc4_44b4_bed9_de0991ff0623);
/// Where VSS keeps registered providers, below HKEY_LOCAL_MACHINE; one key for each.
pub const PROVIDERS_KEY: &str = r"SYSTEM\CurrentControlSet\Services\VSS\Providers";
/// Where the rig tells the coordinator what to do, below HKEY_LOCAL_MACHINE.
pub const RIG_KEY: &str = r"Software\ShadowlunRig";
/// Value of [`RIG_KEY`]: the next RegisterProvider fails with this code, once.
pub const NEXT_REGISTER_ERROR: &str = "NextRegisterError";
/// Value of [`RIG_KEY`]: while it is not 0, a set is in progress and no provider can be unregistered.
pub const PROVIDER_IN_USE: &str = "ProviderInUse";

/// E_INVALIDARG.
pub const INVALID_ARGUMENT: u32 = 0x8007_0057;
/// VSS_E_PROVIDER_ALREADY_REGISTERED.
pub const ALREADY_REGISTERED: u32 = 0x8004_2303;
/// VSS_E_PROVIDER_NOT_REGISTERED.
pub const NOT_REGISTERED: u32 = 0x8004_2304;
/// VSS_E_PROVIDER_IN_USE.
pub const IN_USE: u32 = 0x8004_2307;

/// VSS_PROVIDER_TYPE: from system provider to file-share provider. 0 is unknown.
const KNOWN_TYPES: std::ops::RangeInclusive<i32> = 1..=4;

/// One registered provider: VSS_PROVIDER_PROP, and the arguments of RegisterProvider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// m_ProviderId.
    pub id: Uuid,
    /// m_ClassId.
    pub class: Uuid,
    /// m_pwszProviderName.
    pub name: String,
    /// m_eProviderType; 3 is a hardware provider.
    pub kind: i32,
    /// m_pwszProviderVersion.
    pub version: String,
    /// m_ProviderVersionId.
    pub version_id: Uuid,
}

/// Whether `new` can be registered beside `known`; else RegisterProvider's code (REG-17, REG-18).
pub fn may_register(known: &[Provider], new: &Provider) -> Result<(), u32> {
    let nil = new.id.is_nil() || new.class.is_nil() || new.version_id.is_nil();
    if nil || new.name.is_empty() || new.version.is_empty() || !KNOWN_TYPES.contains(&new.kind) {
        return Err(INVALID_ARGUMENT);
    }
    match known.iter().any(|provider| provider.id == new.id) {
        true => Err(ALREADY_REGISTERED),
        false => Ok(()),
    }
}

/// Whether the provider `id` can be unregistered; else UnregisterProvider's code (REG-20).
pub fn may_unregister(known: &[Provider], id: Uuid, in_use: bool) -> Result<(), u32> {
    if !known.iter().any(|provider| provider.id == id) {
        return Err(NOT_REGISTERED);
    }
    match in_use {
        true => Err(IN_USE),
        false => Ok(()),
    }
}

/// The place of an IVssEnumObject in its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    providers: Vec<Provider>,
    position: usize,
}

impl Cursor {
    /// Before the first of `providers`.
    pub fn new(providers: Vec<Provider>) -> Self {
        Self {
            providers,
            position: 0,
        }
    }

    /// At most `wanted` providers; fewer at the end.
    pub fn next(&mut self, wanted: usize) -> &[Provider] {
        let start = self.position;
        self.position = start.saturating_add(wanted).min(self.providers.len());
        &self.providers[start..self.position]
    }

    /// Passes over `count` providers, and says whether there were as many.
    pub fn skip(&mut self, count: usize) -> bool {
        self.next(count).len() == count
    }

    /// Back to the first.
    pub fn reset(&mut self) {
        self.position = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(number: u128) -> Provider {
        Provider {
            id: Uuid::from_u128(number),
            class: Uuid::from_u128(100),
            name: "name".to_owned(),
            kind: 3,
            version: "1.0".to_owned(),
            version_id: Uuid::from_u128(200),
        }
    }

    #[test]
    fn reg_17_a_known_id_is_already_registered() {
        assert_eq!(
            may_register(&[provider(1)], &provider(1)),
            Err(ALREADY_REGISTERED)
        );
        assert_eq!(may_register(&[provider(1)], &provider(2)), Ok(()));
    }

    #[test]
    fn reg_18_incomplete_registrations_are_invalid() {
        let spoilt: [fn(&mut Provider); 6] = [
            |new| new.id = Uuid::nil(),
            |new| new.class = Uuid::nil(),
            |new| new.version_id = Uuid::nil(),
            |new| new.name.clear(),
            |new| new.version.clear(),
            |new| new.kind = 5,
        ];
        for spoil in spoilt {
            let mut new = provider(1);
            spoil(&mut new);
            assert_eq!(may_register(&[], &new), Err(INVALID_ARGUMENT), "{new:?}");
        }
    }

    #[test]
    fn reg_20_only_an_idle_known_provider_is_unregistered() {
        let known = [provider(1)];
        assert_eq!(
            may_unregister(&known, Uuid::from_u128(1), true),
            Err(IN_USE)
        );
        assert_eq!(may_unregister(&known, Uuid::from_u128(1), false), Ok(()));
        assert_eq!(
            may_unregister(&known, Uuid::from_u128(2), true),
            Err(NOT_REGISTERED)
        );
    }

    #[test]
    fn cursor_gives_fewer_at_the_end_and_starts_again() {
        let mut cursor = Cursor::new(vec![provider(1), provider(2), provider(3)]);
        assert_eq!(cursor.next(2), [provider(1), provider(2)]);
        assert_eq!(cursor.next(2), [provider(3)]);
        assert_eq!(cursor.next(2), []);
        cursor.reset();
        assert!(cursor.skip(2));
        assert_eq!(cursor.next(usize::MAX), [provider(3)]);
        assert!(!cursor.skip(1));
    }
}
