// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls to the echo object in another process: what the proxies carry.

use crate::standin::Agent;
use uuid::Uuid;
use vss_provider::{Interconnect, LunDescription, StorageIdentifier};
use vss_standin::echo;
use vss_standin::wire::{AsyncMethod, Method, Order, Server};

const SET: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
const SNAPSHOT: Uuid = Uuid::from_u128(0xfffe_fdfc_fbfa_f9f8_f7f6_f5f4_f3f2_f1f0);

/// Every field has another value than every other, and than in another LUN.
fn lun(number: u8) -> LunDescription {
    let text = |name: &str| Some(format!("{name} {number}").into_bytes());
    LunDescription {
        version: 0x0100 + u32::from(number),
        device_type: number,
        device_type_modifier: number ^ 0x55,
        command_queueing: number.is_multiple_of(2),
        bus_type: 0x0200 + u32::from(number),
        vendor: text("vendor"),
        product: text("product, longer"),
        revision: text("r"),
        serial: text("serial"),
        disk_signature: Uuid::from_u128(u128::MAX - u128::from(number)),
        device_id_version: 0x0300 + u32::from(number),
        identifiers: (0..number % 4)
            .map(|index| StorageIdentifier {
                code_set: u32::from(index) + 10,
                kind: u32::from(index) + 20,
                bytes: vec![number; usize::from(index) * 100],
            })
            .collect(),
        interconnects: vec![
            Interconnect {
                address_type: u32::from(number),
                port: b"a port".to_vec(),
                address: vec![number; 3],
            },
            Interconnect::default(),
        ],
    }
}

/// A full LUN, one that is all NULL, another full one, and empty strings.
fn luns() -> Vec<LunDescription> {
    let empty = LunDescription {
        vendor: Some(Vec::new()),
        serial: Some(Vec::new()),
        ..LunDescription::default()
    };
    vec![lun(3), LunDescription::default(), lun(6), empty]
}

fn echo_object() -> (Agent, u64) {
    echo_object_of(echo::CLASS)
}

fn echo_object_of(class: Uuid) -> (Agent, u64) {
    let mut agent = Agent::start();
    let activated = agent.obey(Order::Activate {
        class,
        server: Server::Local,
    });
    assert_eq!(activated.code, 0);
    (agent, activated.object.unwrap())
}

/// The six methods that are in two interfaces, with full arrays and NULL.
fn shared_methods() -> Vec<Method> {
    vec![
        Method::AreLunsSupported {
            context: -2,
            luns: luns(),
        },
        Method::AreLunsSupported {
            context: i32::MAX,
            luns: Vec::new(),
        },
        Method::FillInLunInfo { lun: lun(7) },
        Method::BeginPrepareSnapshot {
            set: SET,
            snapshot: SNAPSHOT,
            context: i32::MIN,
            luns: luns(),
        },
        Method::GetTargetLuns {
            sources: Some(luns()),
            count: 4,
        },
        Method::GetTargetLuns {
            sources: None,
            count: 2,
        },
        Method::LocateLuns {
            luns: Some(luns()),
            count: 4,
        },
        Method::LocateLuns {
            luns: None,
            count: -7,
        },
        Method::OnLunEmpty { lun: Some(lun(9)) },
        Method::OnLunEmpty { lun: None },
    ]
}

fn other_methods() -> Vec<Method> {
    let two_arrays = |copies: Option<Vec<LunDescription>>, originals| {
        let count = 4;
        [
            Method::OnLunStateChange {
                copies: copies.clone(),
                originals: Option::clone(&originals),
                count,
                flags: 0x8000_0f00,
            },
            Method::OnReuseLuns {
                copies,
                originals,
                count,
            },
        ]
    };
    let mut methods = vec![
        Method::EndPrepareSnapshots { set: SET },
        Method::PreCommitSnapshots { set: SET },
        Method::CommitSnapshots { set: SET },
        Method::PostCommitSnapshots {
            set: SET,
            count: -5,
        },
        Method::PreFinalCommitSnapshots { set: SET },
        Method::PostFinalCommitSnapshots { set: SET },
        Method::AbortSnapshots { set: SET },
        Method::OnLoad {
            with_callback: false,
        },
        Method::OnLoad {
            with_callback: true,
        },
        Method::OnUnload { force: false },
        Method::OnUnload { force: true },
    ];
    methods.extend(two_arrays(Some(luns()), None));
    methods.extend(two_arrays(None, Some(luns())));
    methods
}

/// What the [in,out] array of a method is after the echo object had it.
fn expected_luns(method: &Method) -> Vec<LunDescription> {
    match method {
        Method::AreLunsSupported { luns, .. } | Method::BeginPrepareSnapshot { luns, .. } => {
            luns.iter().map(echo::changed).collect()
        }
        Method::FillInLunInfo { lun } => vec![echo::changed(lun)],
        Method::GetTargetLuns { count, .. } => {
            vec![echo::changed(&LunDescription::default()); usize::try_from(*count).unwrap()]
        }
        _ => Vec::new(),
    }
}

fn expected_supported(method: &Method) -> Option<bool> {
    match method {
        Method::AreLunsSupported { luns, .. } => Some(echo::supported(luns)),
        Method::FillInLunInfo { lun } => Some(echo::supported(std::slice::from_ref(lun))),
        _ => None,
    }
}

#[test]
fn t010_each_slot_of_the_provider_carries_its_arguments() {
    let (mut agent, object) = echo_object();
    let via_ex = shared_methods().into_iter().chain(other_methods());
    let via_ex = via_ex.map(|method| {
        (
            Order::Call {
                object,
                method: method.clone(),
            },
            method,
        )
    });
    let via_base = shared_methods().into_iter().map(|method| {
        let order = Order::CallBase {
            object,
            method: method.clone(),
        };
        (order, method)
    });
    for (order, method) in via_ex.chain(via_base) {
        let answer = agent.obey(order);
        assert_eq!(answer.code, echo::code(&method), "{method:?}");
        assert_eq!(answer.luns, expected_luns(&method), "{method:?}");
        assert_eq!(answer.supported, expected_supported(&method), "{method:?}");
    }
    assert_eq!(agent.obey(Order::CheckHeap).value, Some(1));
}

#[test]
fn t010_capabilities_and_the_slots_of_ivssasync() {
    let (mut agent, object) = echo_object();
    let mask = agent.call(object, &Method::GetProviderCapabilities).value;
    assert_eq!(mask, Some(echo::CAPABILITIES));
    let resync = Method::ResyncLuns {
        copies: Some(luns()),
        targets: None,
        count: 4,
    };
    let resynced = agent.call(object, &resync);
    assert_eq!(resynced.code, 0);
    let operation = resynced.object.unwrap();
    let mut ask = |method| {
        agent.obey(Order::Async {
            object: operation,
            method,
        })
    };
    assert_eq!(ask(AsyncMethod::Cancel).code, echo::code(&resync));
    let wait = AsyncMethod::Wait {
        milliseconds: 0xffff_fffe,
    };
    assert_eq!(ask(wait).code, echo::code(&wait));
    let status = ask(AsyncMethod::QueryStatus);
    assert_eq!(status.code, echo::code(&AsyncMethod::QueryStatus));
    assert_eq!(status.value, Some(u64::from(echo::STATUS)));
}

#[test]
fn t008_t009_identity_is_seen_and_a_missing_interface_too() {
    const SET_INTERFACE: Uuid = Uuid::from_u128(0x5f894e5b_1e39_4778_8e23_9abad9f0e08c);
    const NOTIFICATIONS: Uuid = Uuid::from_u128(0xe561901f_03a5_4afe_86d0_72baeece7004);
    const SOFTWARE_PROVIDER: Uuid = Uuid::from_u128(0x609e123e_2c5a_44d3_8f01_0b1d9a47d1ff);
    const E_NOINTERFACE: u32 = 0x8000_4002;
    let (mut agent, object) = echo_object();
    let mut query = |to| {
        agent.obey(Order::QueryInterface {
            object,
            from: SET_INTERFACE,
            to,
        })
    };
    assert_eq!(query(NOTIFICATIONS).value, Some(1));
    assert_eq!(query(SOFTWARE_PROVIDER).code, E_NOINTERFACE);
}

#[test]
fn t011_no_reference_to_the_callback_is_left() {
    let (mut agent, object) = echo_object();
    let load = Method::OnLoad {
        with_callback: true,
    };
    assert_eq!(agent.call(object, &load).value, Some(0));
}

#[test]
fn gen_6_a_negative_count_of_an_in_out_array_is_refused_by_the_proxy() {
    const INVALID_BOUND: u32 = 0x8007_06c6;
    let (mut agent, object) = echo_object();
    let method = Method::GetTargetLuns {
        sources: Some(luns()),
        count: -1,
    };
    assert_eq!(agent.call(object, &method).code, INVALID_BOUND);
}

#[test]
fn reg_1_a_class_without_an_in_process_server_is_not_activated_in_process() {
    const CLASS_NOT_REGISTERED: u32 = 0x8004_0154;
    let mut agent = Agent::start();
    let activated = agent.obey(Order::Activate {
        class: echo::CLASS,
        server: Server::InProcess,
    });
    assert_eq!(
        (activated.code, activated.object),
        (CLASS_NOT_REGISTERED, None)
    );
}

#[test]
fn what_cannot_be_done_is_a_text_and_the_next_order_is_obeyed() {
    let mut agent = Agent::start();
    let nonsense = agent.say(r#"{"id":17,"order":"Dance"}"#);
    assert_eq!(nonsense.id, 17);
    assert!(nonsense.result.unwrap_err().contains("not an order"));
    assert!(agent.say("no json").result.is_err());
    let unknown = agent.say(r#"{"id":18,"order":{"Release":{"object":4}}}"#);
    assert_eq!(unknown.result.unwrap_err(), "object 4 is not held");
    assert_eq!(agent.obey(Order::CheckHeap).value, Some(1));
}

#[test]
fn the_agent_ends_with_its_connection() {
    let (agent, _) = echo_object();
    assert!(agent.hang_up().is_some_and(|status| status.success()));
}

#[test]
fn gen_2_the_callers_array_stays_whole_when_the_server_dies() {
    const CALL_FAILED: u32 = 0x8007_06be;
    let (mut agent, object) = echo_object_of(echo::MORTAL_CLASS);
    let deadly = Method::BeginPrepareSnapshot {
        set: SET,
        snapshot: SNAPSHOT,
        context: echo::DEADLY_CONTEXT,
        luns: luns(),
    };
    let answer = agent.call(object, &deadly);
    assert_eq!((answer.code, answer.luns), (CALL_FAILED, luns()));
    assert_eq!(agent.obey(Order::CheckHeap).value, Some(1));
}
