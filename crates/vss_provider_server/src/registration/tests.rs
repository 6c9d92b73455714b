// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

const E_ACCESSDENIED: u32 = 0x8007_0005;
const E_INVALIDARG: u32 = 0x8007_0057;
const IN_USE: u32 = 0x8004_2307;
const OLD_EXECUTABLE: &str = r"C:\Old\shadowlun-provider.exe";

/// A Windows that keeps everything in memory, and may fail a call by its number, and calls by their name from then on.
#[derive(Default)]
pub(crate) struct FakeSystem {
    registry: RefCell<BTreeMap<String, Value>>,
    service: RefCell<Option<String>>,
    registered: RefCell<bool>,
    folder: RefCell<bool>,
    calls: RefCell<Vec<String>>,
    fail_call: Option<usize>,
    fail_always: Option<(&'static str, u32)>,
    /// Who may change the program.
    pub(crate) exposed: Vec<Exposed>,
    /// This program was started by its path in lower case.
    pub(crate) in_lower_case: bool,
}

impl FakeSystem {
    fn call(&self, name: &str) -> Result<(), SystemError> {
        self.calls.borrow_mut().push(name.to_owned());
        let number = self.calls.borrow().len();
        let code = match self.fail_always {
            Some((failing, code)) if name.starts_with(failing) => code,
            _ if self.fail_call == Some(number) => E_ACCESSDENIED,
            _ => return Ok(()),
        };
        Err(SystemError {
            code,
            text: format!("{name} was refused"),
        })
    }

    fn is_empty(&self) -> bool {
        self.registry.borrow().is_empty()
            && self.service.borrow().is_none()
            && !*self.registered.borrow()
            && !*self.folder.borrow()
    }

    fn value(&self, path: &str) -> Option<Value> {
        self.registry.borrow().get(path).cloned()
    }

    fn position(&self, name: &str) -> usize {
        let calls = self.calls.borrow();
        calls
            .iter()
            .position(|call| call.starts_with(name))
            .unwrap_or_else(|| panic!("no {name} in {calls:?}"))
    }
}

impl System for FakeSystem {
    fn files(&self) -> Result<Files, SystemError> {
        self.call("files")?;
        let spelt = |path: &str| match self.in_lower_case {
            true => path.to_lowercase(),
            false => path.to_owned(),
        };
        Ok(Files {
            executable: spelt(r"C:\Program Files\Shadowlun\shadowlun-provider.exe"),
            messages: spelt(r"C:\Program Files\Shadowlun\shadowlun-messages.dll"),
        })
    }

    fn exposed(&self, _: &Files) -> Result<Vec<Exposed>, SystemError> {
        self.call("exposed")?;
        Ok(self.exposed.clone())
    }

    fn secure_data_folder(&self) -> Result<(), SystemError> {
        self.call("secure_data_folder")?;
        self.folder.replace(true);
        Ok(())
    }

    fn remove_empty_data_folder(&self) -> Result<(), SystemError> {
        self.call("remove_empty_data_folder")?;
        self.folder.replace(false);
        Ok(())
    }

    fn permission(&self) -> Result<Vec<u8>, SystemError> {
        self.call("permission")?;
        Ok(vec![1, 2, 3])
    }

    fn set_value(&self, key: &str, name: &str, value: &Value) -> Result<(), SystemError> {
        self.call(&format!("set_value {key}"))?;
        let mut registry = self.registry.borrow_mut();
        registry.insert(format!(r"{key}\{name}"), value.clone());
        Ok(())
    }

    fn text(&self, key: &str, name: &str) -> Result<Option<String>, SystemError> {
        self.call("text")?;
        Ok(match self.value(&format!(r"{key}\{name}")) {
            Some(Value::Text(text) | Value::ExpandText(text)) => Some(text),
            _ => None,
        })
    }

    fn remove_key(&self, key: &str) -> Result<(), SystemError> {
        self.call(&format!("remove_key {key}"))?;
        let below = format!(r"{key}\");
        let mut registry = self.registry.borrow_mut();
        registry.retain(|path, _| !path.starts_with(&below));
        Ok(())
    }

    fn set_service(&self, executable: &str) -> Result<(), SystemError> {
        self.call("set_service")?;
        *self.service.borrow_mut() = Some(executable.to_owned());
        Ok(())
    }

    fn remove_service(&self) -> Result<(), SystemError> {
        self.call("remove_service")?;
        *self.service.borrow_mut() = None;
        Ok(())
    }

    fn service(&self) -> Result<Option<ServiceState>, SystemError> {
        self.call("service")?;
        Ok(self
            .service
            .borrow()
            .as_ref()
            .map(|executable| ServiceState {
                state: "stopped",
                command: format!("{} service", quoted(executable)),
            }))
    }

    fn register(&self) -> Result<(), SystemError> {
        self.call("register")?;
        assert!(!self.registered.replace(true), "REG-17");
        Ok(())
    }

    fn unregister(&self) -> Result<bool, SystemError> {
        self.call("unregister")?;
        Ok(self.registered.replace(false))
    }

    fn registered(&self) -> Result<Option<Registered>, SystemError> {
        self.call("registered")?;
        Ok(self.registered.borrow().then(|| Registered {
            kind: 3,
            version: ids::names().provider_version.to_owned(),
            version_id: ids::names().version_id,
            class_id: ids::names().class_id,
        }))
    }

    fn check_messages(&self, _: &str) -> Result<(), SystemError> {
        self.call("check_messages")
    }
}

fn installed(hosting: Hosting) -> FakeSystem {
    let system = FakeSystem::default();
    install(&system, hosting).unwrap();
    system.calls.borrow_mut().clear();
    system
}

/// SEC-7: Local System would run what an ordinary user put there.
#[test]
fn install_refuses_a_folder_that_ordinary_users_may_write_to() {
    let exposed = |is_ordinary| {
        vec![Exposed {
            path: r"C:\Shadowlun".to_owned(),
            sid: "S-1-5-11".to_owned(),
            is_ordinary,
        }]
    };
    let mut system = FakeSystem {
        exposed: exposed(true),
        ..FakeSystem::default()
    };

    let refused = install(&system, Hosting::Service).unwrap_err().to_string();

    assert!(
        refused.contains(r"(S-1-5-11) may change C:\Shadowlun"),
        "{refused}"
    );
    assert!(refused.contains("Program Files") && refused.contains("Nothing was changed"));
    assert!(system.is_empty());
    // An account that may be an administrator's is the doctor's matter.
    system.exposed = exposed(false);
    install(&system, Hosting::Service).unwrap();
}

/// REG-19.
#[test]
fn install_registers_last_and_looks_for_the_files_first() {
    let system = FakeSystem::default();

    install(&system, Hosting::Service).unwrap();

    let class = system.position("set_value Software");
    let service = system.position("set_service");
    let source = system.position("set_value SYSTEM");
    let register = system.position("register");
    assert_eq!(system.position("files"), 0);
    assert!(class < service && service < source && source < register);
    assert_eq!(register + 1, system.calls.borrow().len());
}

/// REG-11, REG-12, SEC-7, LOG-1.
#[test]
fn install_writes_the_keys_of_its_hosting_only() {
    let (class, app) = (class_key(), app_key());
    let server = local_server_key() + r"\";
    let local_service = format!(r"{app}\LocalService");
    let executable = r#""C:\Program Files\Shadowlun\shadowlun-provider.exe""#;

    let service = installed(Hosting::Service);
    let local = installed(Hosting::LocalServer);

    for system in [&service, &local] {
        let app_id = Some(Value::Text(
            "{5825446A-6AF0-4FDD-84B6-11B2D2254718}".to_owned(),
        ));
        assert_eq!(system.value(&format!(r"{class}\AppID")), app_id);
        for name in ["LaunchPermission", "AccessPermission"] {
            let permission = system.value(&format!(r"{app}\{name}"));
            assert_eq!(permission, Some(Value::Bytes(vec![1, 2, 3])));
        }
        let types = system.value(&format!(r"{}\TypesSupported", event_source_key()));
        assert_eq!(types, Some(Value::Number(7)));
    }
    let name = Some(Value::Text(ids::names().service_name.to_owned()));
    assert_eq!(service.value(&local_service), name);
    assert_eq!(service.value(&server), None);
    assert!(service.service.borrow().is_some());
    assert_eq!(local.value(&local_service), None);
    assert_eq!(
        local.value(&server),
        Some(Value::Text(executable.to_owned()))
    );
    assert!(local.service.borrow().is_none());
}

/// T-002, REG-17.
#[test]
fn t002_install_again_unregisters_first_also_with_the_other_hosting() {
    for (before, after) in [
        (Hosting::Service, Hosting::Service),
        (Hosting::Service, Hosting::LocalServer),
        (Hosting::LocalServer, Hosting::Service),
    ] {
        let system = installed(before);

        install(&system, after).unwrap();

        assert!(system.position("unregister") < system.position("register"));
        let fresh = installed(after);
        assert_eq!(system.registry, fresh.registry);
        assert_eq!(system.service, fresh.service);
        assert!(*system.registered.borrow());
    }
}

/// T-003, REG-19: whichever call fails, nothing is left.
#[test]
fn t003_install_failing_at_any_call_leaves_nothing() {
    for hosting in [Hosting::Service, Hosting::LocalServer] {
        let whole = FakeSystem::default();
        install(&whole, hosting).unwrap();
        let calls = whole.calls.borrow().len();
        for number in 1..=calls {
            let system = FakeSystem {
                fail_call: Some(number),
                ..FakeSystem::default()
            };

            let failure = install(&system, hosting).unwrap_err().to_string();

            assert!(system.is_empty(), "call {number}: {:?}", system.registry);
            assert!(failure.contains("(0x80070005)"), "{failure}");
            assert!(failure.contains("as administrator"), "{failure}");
            assert!(!failure.contains("except"), "{failure}");
        }
    }
}

/// REG-19: parts are undone in reverse order.
#[test]
fn failed_registration_undoes_in_reverse_order() {
    let system = FakeSystem {
        fail_always: Some(("register", E_INVALIDARG)),
        ..FakeSystem::default()
    };

    install(&system, Hosting::Service).unwrap_err();

    let calls = system.calls.borrow();
    let undo = &calls[calls.iter().position(|c| c == "register").unwrap() + 1..];
    let kinds: Vec<_> = undo
        .iter()
        .map(|call| call.split(r"\").next().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "unregister",
            "remove_key SYSTEM",
            "remove_service",
            "remove_key Software",
            "remove_key Software",
            "remove_key Software",
            "remove_empty_data_folder"
        ]
    );
}

/// T-004, REG-2.
#[test]
fn t004_client_edition_is_named_as_the_cause() {
    let system = FakeSystem {
        fail_always: Some(("register", E_INVALIDARG)),
        ..FakeSystem::default()
    };

    let failure = install(&system, Hosting::Service).unwrap_err().to_string();

    assert!(failure.contains("Registering the provider with VSS failed"));
    assert!(failure.contains("Windows Server"), "{failure}");
    assert!(failure.contains("removed again."), "{failure}");
    assert!(system.is_empty());
}

#[test]
fn failed_update_says_that_the_earlier_installation_is_gone() {
    let mut system = installed(Hosting::Service);
    system.service.replace(Some(OLD_EXECUTABLE.to_owned()));
    system.fail_always = Some(("set_service", E_ACCESSDENIED));

    let failure = install(&system, Hosting::Service).unwrap_err().to_string();

    assert!(
        failure.contains("so was the earlier installation"),
        "{failure}"
    );
    assert!(system.is_empty());
}

#[test]
fn failed_undo_names_what_is_left() {
    let system = FakeSystem {
        fail_always: Some(("re", E_ACCESSDENIED)),
        service: RefCell::new(Some(OLD_EXECUTABLE.to_owned())),
        ..FakeSystem::default()
    };

    let failure = install(&system, Hosting::Service).unwrap_err().to_string();

    for left in [
        "except",
        "service:",
        "COM class:",
        "event source:",
        "data folder:",
        "uninstall",
    ] {
        assert!(failure.contains(left), "{left} is missing in {failure}");
    }
}

/// T-002 and T-005 together: an update does not disturb a set in progress.
#[test]
fn install_while_a_set_is_in_progress_changes_nothing() {
    let mut system = installed(Hosting::Service);
    system.fail_always = Some(("unregister", IN_USE));
    let before = system.registry.clone();

    let failure = install(&system, Hosting::LocalServer)
        .unwrap_err()
        .to_string();

    assert!(failure.contains("Nothing was changed."), "{failure}");
    assert!(failure.contains("backup"), "{failure}");
    assert_eq!(system.registry, before);
    assert!(system.service.borrow().is_some());
}

/// REG-21.
#[test]
fn uninstall_leaves_nothing() {
    for hosting in [Hosting::Service, Hosting::LocalServer] {
        let system = installed(hosting);

        assert_eq!(uninstall(&system).unwrap(), []);

        assert!(system.is_empty());
        assert_eq!(system.position("unregister"), 0);
    }
}

/// T-005, REG-20.
#[test]
fn t005_uninstall_while_in_use_removes_nothing_and_says_what_to_do() {
    let mut system = installed(Hosting::Service);
    system.fail_always = Some(("unregister", IN_USE));
    let before = system.registry.clone();

    let failure = uninstall(&system).unwrap_err().to_string();

    assert!(failure.contains("0x80042307"), "{failure}");
    assert!(
        failure.contains("wait until the backup has ended"),
        "{failure}"
    );
    assert_eq!(system.registry, before);
    assert!(*system.registered.borrow() && system.service.borrow().is_some());
}

/// T-006, REG-21.
#[test]
fn t006_uninstall_of_what_is_not_registered_removes_the_rest() {
    let system = installed(Hosting::Service);
    system.registered.replace(false);

    assert_eq!(uninstall(&system).unwrap(), []);

    assert!(system.is_empty());
}

#[test]
fn uninstall_goes_on_after_a_part_that_stays_and_names_it() {
    let mut system = installed(Hosting::Service);
    system.fail_always = Some(("remove_service", 0x8007_0430));

    let left = uninstall(&system).unwrap();

    assert!(system.registry.borrow().is_empty());
    let text = list(&left);
    assert!(
        text.contains("service: ") && text.contains("services.msc"),
        "{text}"
    );
}
