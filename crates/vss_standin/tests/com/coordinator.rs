// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stand-in coordinator as an installer meets it: through CoCreateInstance and IVssAdmin, in another process.

// UNSAFETY: calls COM.
#![expect(unsafe_code)]

use crate::standin::{self, Agent};
use std::sync::{Mutex, MutexGuard};
use vss_standin::providers::{NEXT_REGISTER_ERROR, PROVIDER_IN_USE, PROVIDERS_KEY};
use vss_standin::wire::Order;
use windows::Win32::Foundation::{S_FALSE, S_OK};
use windows::Win32::Storage::Vss::{IVssAdmin, IVssEnumObject, VSS_OBJECT_PROP, VSS_PROV_HARDWARE};
use windows::Win32::System::Com::{
    CLSCTX_LOCAL_SERVER, COINIT_MULTITHREADED, CoCreateInstance, CoInitializeEx,
};
use windows_core::{GUID, HRESULT, Interface, Result, w};
use windows_registry::LOCAL_MACHINE;

const COORDINATOR: GUID = GUID::from_u128(0xe579ab5f_1cc4_44b4_bed9_de0991ff0623);
const FIRST: GUID = GUID::from_u128(0x11111111_2222_3333_4444_555555555555);
const SECOND: GUID = GUID::from_u128(0x99999999_2222_3333_4444_555555555555);
const CLASS: GUID = GUID::from_u128(0xaaaaaaaa_bbbb_cccc_dddd_eeeeeeeeeeee);
const VERSION: GUID = GUID::from_u128(0x12345678_9abc_def0_1234_56789abcdef0);

/// The coordinator with an empty table, for one test at a time: there is one registry.
struct Admin {
    admin: IVssAdmin,
    _alone: MutexGuard<'static, ()>,
}

impl Admin {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        standin::register();
        LOCAL_MACHINE
            .remove_tree(PROVIDERS_KEY)
            .and_then(|()| LOCAL_MACHINE.create(PROVIDERS_KEY))
            .unwrap();
        // SAFETY: the thread stays in the apartment to its end.
        let admin = unsafe {
            CoInitializeEx(None, COINIT_MULTITHREADED).unwrap();
            CoCreateInstance(&COORDINATOR, None, CLSCTX_LOCAL_SERVER).unwrap()
        };
        Self {
            admin,
            _alone: alone,
        }
    }

    fn register(&self, id: GUID) -> Result<()> {
        let (name, version) = (w!("A provider"), w!("1.2.3"));
        // SAFETY: live strings.
        unsafe {
            self.admin.RegisterProvider(
                id,
                CLASS,
                name.as_ptr(),
                VSS_PROV_HARDWARE,
                version.as_ptr(),
                VERSION,
            )
        }
    }

    fn unregister(&self, id: GUID) -> Result<()> {
        // SAFETY: a live interface.
        unsafe { self.admin.UnregisterProvider(id) }
    }

    fn providers(&self) -> IVssEnumObject {
        // SAFETY: a live interface.
        unsafe { self.admin.QueryProviders() }.unwrap()
    }
}

fn code(result: Result<()>) -> u32 {
    let code = result.map_or_else(|error| error.code(), |()| S_OK);
    code.0.cast_unsigned()
}

/// The ids that Next gives, and its code; the strings of this test's elements are left to the end of the process.
fn next(list: &IVssEnumObject, wanted: usize) -> (Vec<GUID>, HRESULT) {
    let (mut elements, mut fetched) = (vec![VSS_OBJECT_PROP::default(); wanted], 0);
    let asked = u32::try_from(wanted).unwrap();
    // SAFETY: room for as many elements as are asked for.
    let code =
        unsafe { (list.vtable().Next)(list.as_raw(), asked, elements.as_mut_ptr(), &mut fetched) };
    elements.truncate(fetched as usize);
    // SAFETY: the coordinator has providers only.
    let id = |element: &VSS_OBJECT_PROP| unsafe { element.Obj.Prov.m_ProviderId };
    (elements.iter().map(id).collect(), code)
}

#[test]
fn reg_23_a_registered_provider_is_listed_with_all_it_said() {
    let admin = Admin::new();
    admin.register(FIRST).unwrap();
    let mut agent = Agent::start();
    assert_eq!(
        agent.obey(Order::Providers).texts,
        [
            "{11111111-2222-3333-4444-555555555555} | A provider | 3 | 1.2.3 | {12345678-9abc-def0-1234-56789abcdef0} | {aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee}"
        ]
    );
    assert_eq!(agent.obey(Order::CheckHeap).value, Some(1));
    admin.unregister(FIRST).unwrap();
    assert!(agent.obey(Order::Providers).texts.is_empty());
}

#[test]
fn reg_17_reg_20_a_second_registration_and_a_second_removal_are_refused() {
    let admin = Admin::new();
    admin.register(FIRST).unwrap();
    assert_eq!(code(admin.register(FIRST)), 0x8004_2303);
    admin.unregister(FIRST).unwrap();
    assert_eq!(code(admin.unregister(FIRST)), 0x8004_2304);
}

#[test]
fn reg_18_a_registration_without_id_is_invalid() {
    let admin = Admin::new();
    assert_eq!(code(admin.register(GUID::zeroed())), 0x8007_0057);
}

#[test]
fn the_rig_decides_on_failures_of_the_next_registration_and_on_a_set_in_progress() {
    let admin = Admin::new();
    let mut agent = Agent::start();
    let mut set = |name: &str, value| {
        let name = name.to_owned();
        agent.obey(Order::SetRig { name, value });
    };
    set(NEXT_REGISTER_ERROR, 0x8007_0005);
    assert_eq!(code(admin.register(FIRST)), 0x8007_0005);
    assert_eq!(code(admin.register(FIRST)), 0);
    set(PROVIDER_IN_USE, 1);
    assert_eq!(code(admin.unregister(FIRST)), 0x8004_2307);
    set(PROVIDER_IN_USE, 0);
    assert_eq!(code(admin.unregister(FIRST)), 0);
}

#[test]
fn t010_each_slot_of_the_enumerator() {
    let admin = Admin::new();
    admin.register(FIRST).unwrap();
    admin.register(SECOND).unwrap();
    let list = admin.providers();
    assert_eq!(next(&list, 1), (vec![FIRST], S_OK));
    let mut copy = None;
    // SAFETY: a live interface and a variable for the copy.
    unsafe { list.Clone(&mut copy) }.unwrap();
    assert_eq!(next(&list, 2), (vec![SECOND], S_FALSE));
    assert_eq!(next(&copy.unwrap(), 1), (vec![SECOND], S_OK));
    // SAFETY: a live interface, here and below.
    unsafe { list.Reset() }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { (list.vtable().Skip)(list.as_raw(), 1) }, S_OK);
    assert_eq!(next(&list, 1), (vec![SECOND], S_OK));
    // SAFETY: as above.
    assert_eq!(unsafe { (list.vtable().Skip)(list.as_raw(), 1) }, S_FALSE);
}

#[test]
fn t010_abort_all_is_reached_and_reserved() {
    let admin = Admin::new();
    // SAFETY: a live interface.
    let aborted = unsafe { admin.admin.AbortAllSnapshotsInProgress() };
    assert_eq!(code(aborted), 0x8000_4001);
}

#[test]
fn reg_21_the_registry_shows_a_registration_and_nothing_once_it_is_gone() {
    let admin = Admin::new();
    let mut agent = Agent::start();
    let before = agent.obey(Order::Registry).texts;
    admin.register(FIRST).unwrap();
    let with_provider = agent.obey(Order::Registry).texts;
    let added: Vec<&str> = with_provider
        .iter()
        .filter(|line| before.binary_search(line).is_err())
        .filter_map(|line| {
            line.strip_prefix(r"HKLM\System\CurrentControlSet\Services\VSS\Providers\")
        })
        .collect();
    assert_eq!(
        added,
        [
            "{11111111-2222-3333-4444-555555555555}",
            "{11111111-2222-3333-4444-555555555555} |  | REG_SZ | A provider",
            "{11111111-2222-3333-4444-555555555555} | Type | REG_DWORD | 03000000",
            "{11111111-2222-3333-4444-555555555555} | Version | REG_SZ | 1.2.3",
            "{11111111-2222-3333-4444-555555555555} | VersionId | REG_SZ | {12345678-9abc-def0-1234-56789abcdef0}",
            r"{11111111-2222-3333-4444-555555555555}\CLSID",
            r"{11111111-2222-3333-4444-555555555555}\CLSID |  | REG_SZ | {aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee}",
        ]
    );
    assert_eq!(with_provider.len(), before.len() + added.len());
    admin.unregister(FIRST).unwrap();
    assert_eq!(agent.obey(Order::Registry).texts, before);
}
