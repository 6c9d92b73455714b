// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an installation touches on Windows: files, registry, service control manager, VSS.
//!
//! What Wine cannot show: who is refused for want of rights; that SCM restarts a service that failed; what VSS on another edition
//! of Windows answers. The service's type of SID and its list of privileges are the system's defaults.

use super::{SystemFolder, exposure, messages, vss, win32_code};
use crate::com::security;
use crate::exposure::Exposed;
use crate::ids;
use crate::registration::{Files, Registered, ServiceState, System, SystemError, Value};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use windows::Win32::Foundation::{
    E_ACCESSDENIED, E_FAIL, ERROR_FILE_NOT_FOUND, ERROR_SERVICE_CANNOT_ACCEPT_CTRL,
    ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_NOT_ACTIVE, ERROR_SERVICE_REQUEST_TIMEOUT,
    WIN32_ERROR,
};
use windows_registry::{LOCAL_MACHINE, Type};
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType,
    ServiceState as State, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

/// Longer than an ending service waits for its users.
const STOP_MAX: Duration = Duration::from_secs(40);
const STOP_POLL: Duration = Duration::from_millis(100);

/// This Windows.
pub struct Windows;

impl System for Windows {
    fn files(&self) -> Result<Files, SystemError> {
        let executable = std::env::current_exe().map_err(|error| of_io(&error))?;
        let messages = executable.with_file_name(ids::names().message_dll);
        if !messages.is_file() {
            return Err(SystemError {
                code: ERROR_FILE_NOT_FOUND.to_hresult().0.cast_unsigned(),
                text: format!("{} is not there", messages.display()),
            });
        }
        Ok(Files {
            executable: utf8(&executable)?,
            messages: utf8(&messages)?,
        })
    }

    fn exposed(&self, files: &Files) -> Result<Vec<Exposed>, SystemError> {
        exposure::look(files).map_err(|error| of_io(&error))
    }

    fn secure_data_folder(&self) -> Result<(), SystemError> {
        SystemFolder::new().secure().map_err(|error| of_io(&error))
    }

    fn remove_empty_data_folder(&self) -> Result<(), SystemError> {
        let removed = SystemFolder::new().remove_if_empty();
        removed.map_err(|error| of_io(&error))
    }

    fn permission(&self) -> Result<Vec<u8>, SystemError> {
        let descriptor = security::Descriptor::new(security::SDDL).map_err(of_com)?;
        Ok(descriptor.bytes().to_vec())
    }

    fn set_value(&self, key: &str, name: &str, value: &Value) -> Result<(), SystemError> {
        let key = LOCAL_MACHINE.create(key).map_err(of_com)?;
        match value {
            Value::Text(text) => key.set_string(name, text),
            Value::ExpandText(text) => key.set_expand_string(name, text),
            Value::Number(number) => key.set_u32(name, *number),
            Value::Bytes(bytes) => key.set_bytes(name, Type::Bytes, bytes),
        }
        .map_err(of_com)
    }

    fn text(&self, key: &str, name: &str) -> Result<Option<String>, SystemError> {
        let text = LOCAL_MACHINE.open(key).and_then(|key| key.get_string(name));
        absent_as_none(text.map_err(of_com), ERROR_FILE_NOT_FOUND)
    }

    fn remove_key(&self, key: &str) -> Result<(), SystemError> {
        let removed = LOCAL_MACHINE.remove_tree(key).map_err(of_com);
        absent_as_none(removed, ERROR_FILE_NOT_FOUND).map(|_| ())
    }

    fn set_service(&self, executable: &str) -> Result<(), SystemError> {
        let info = ServiceInfo {
            name: ids::names().service_name.into(),
            display_name: ids::names().provider_name.into(),
            service_type: ServiceType::OWN_PROCESS,
            // COM starts it, on VSS's behalf.
            start_type: ServiceStartType::OnDemand,
            error_control: ServiceErrorControl::Normal,
            executable_path: executable.into(),
            launch_arguments: vec![OsString::from("service")],
            dependencies: Vec::new(),
            // Local System, as VSS.
            account_name: None,
            account_password: None,
        };
        let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
        let service = match open(access | ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)? {
            Some(service) => {
                stop(&service)?;
                service.change_config(&info).map_err(of_service)?;
                service
            }
            None => ServiceManager::local_computer(
                None::<&str>,
                ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE,
            )
            .and_then(|manager| manager.create_service(&info, access))
            .map_err(of_service)?,
        };
        service
            .set_description(
                "Lets the Volume Shadow Copy service make shadow copies on the Shadowlun storage array. Started on demand.",
            )
            .and_then(|()| service.update_failure_actions(recovery()))
            // At a shutdown Windows gives a service 10 s by default, too few to give up a set that is in progress.
            .and_then(|()| service.set_preshutdown_timeout(STOP_MAX))
            .map_err(of_service)
    }

    fn remove_service(&self) -> Result<(), SystemError> {
        let access = ServiceAccess::STOP | ServiceAccess::DELETE | ServiceAccess::QUERY_STATUS;
        match open(access)? {
            None => Ok(()),
            Some(service) => {
                stop(&service)?;
                service.delete().map_err(of_service)
            }
        }
    }

    fn service(&self) -> Result<Option<ServiceState>, SystemError> {
        let access = ServiceAccess::QUERY_STATUS | ServiceAccess::QUERY_CONFIG;
        let Some(service) = open(access)? else {
            return Ok(None);
        };
        let status = service.query_status().map_err(of_service)?;
        let config = service.query_config().map_err(of_service)?;
        Ok(Some(ServiceState {
            state: match status.current_state {
                State::Stopped => "stopped",
                State::StartPending => "starting",
                State::StopPending => "stopping",
                State::Running => "running",
                State::ContinuePending | State::PausePending | State::Paused => "paused",
            },
            command: config.executable_path.to_string_lossy().into_owned(),
        }))
    }

    fn register(&self) -> Result<(), SystemError> {
        vss::register().map_err(of_com)
    }

    fn unregister(&self) -> Result<bool, SystemError> {
        vss::unregister().map_err(of_com)
    }

    fn registered(&self) -> Result<Option<Registered>, SystemError> {
        vss::registered().map_err(of_com)
    }

    fn check_messages(&self, messages: &str) -> Result<(), SystemError> {
        messages::check(Path::new(messages)).map_err(|error| of_io(&error))
    }
}

/// After a crash VSS starts it again by itself; these starts let it tidy up before the next backup, with growing delay.
fn recovery() -> ServiceFailureActions {
    let restart_after = |seconds| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(seconds),
    };
    let nothing = ServiceAction {
        action_type: ServiceActionType::None,
        delay: Duration::ZERO,
    };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(Duration::from_secs(24 * 60 * 60)),
        reboot_msg: None,
        command: None,
        actions: Some(vec![restart_after(5), restart_after(60), nothing]),
    }
}

fn open(access: ServiceAccess) -> Result<Option<Service>, SystemError> {
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .map_err(of_service)?;
    let service = manager.open_service(ids::names().service_name, access);
    absent_as_none(service.map_err(of_service), ERROR_SERVICE_DOES_NOT_EXIST)
}

fn stop(service: &Service) -> Result<(), SystemError> {
    let until = Instant::now() + STOP_MAX;
    loop {
        let state = service.query_status().map_err(of_service)?.current_state;
        if state == State::Stopped {
            return Ok(());
        }
        if state != State::StopPending {
            match service.stop().map_err(of_service) {
                // It has just ended, or is still starting and takes no orders yet: the next round tells.
                Err(error)
                    if [ERROR_SERVICE_NOT_ACTIVE, ERROR_SERVICE_CANNOT_ACCEPT_CTRL]
                        .iter()
                        .any(|code| is(&error, *code)) => {}
                asked => {
                    asked?;
                }
            }
        }
        if Instant::now() >= until {
            return Err(SystemError {
                code: ERROR_SERVICE_REQUEST_TIMEOUT.to_hresult().0.cast_unsigned(),
                text: format!("the service did not stop within {} s", STOP_MAX.as_secs()),
            });
        }
        std::thread::sleep(STOP_POLL);
    }
}

/// An error that means "it is not there" as `None`.
fn absent_as_none<T>(
    result: Result<T, SystemError>,
    absent: WIN32_ERROR,
) -> Result<Option<T>, SystemError> {
    match result {
        Err(error) if is(&error, absent) => Ok(None),
        other => other.map(Some),
    }
}

fn is(error: &SystemError, code: WIN32_ERROR) -> bool {
    error.code == code.to_hresult().0.cast_unsigned()
}

fn utf8(path: &Path) -> Result<String, SystemError> {
    path.to_str().map(str::to_owned).ok_or_else(|| SystemError {
        code: E_FAIL.0.cast_unsigned(),
        text: format!("{} is no valid text; move the files", path.display()),
    })
}

fn of_com(error: windows::core::Error) -> SystemError {
    let text = error.message();
    SystemError {
        code: error.code().0.cast_unsigned(),
        text: match text.trim_end_matches(['.', ' ', '\r', '\n']) {
            "" => vss::words(error.code()).to_owned(),
            text => text.to_owned(),
        },
    }
}

fn of_io(error: &io::Error) -> SystemError {
    let code = match (error.raw_os_error(), error.kind()) {
        (Some(raw), _) => win32_code(raw),
        (None, io::ErrorKind::PermissionDenied) => E_ACCESSDENIED.0.cast_unsigned(),
        (None, _) => E_FAIL.0.cast_unsigned(),
    };
    let text = error.to_string();
    // The number that std appends is shown as an HRESULT anyway.
    let text = text.split(" (os error ").next().unwrap_or_default();
    SystemError {
        code,
        text: text.trim_end_matches('.').to_owned(),
    }
}

fn of_service(error: windows_service::Error) -> SystemError {
    match error {
        windows_service::Error::Winapi(error) => of_io(&error),
        other => SystemError {
            code: E_FAIL.0.cast_unsigned(),
            text: other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below a key of its own, which goes with it.
    struct Scratch(String);

    impl Scratch {
        fn new(name: &str) -> Self {
            Self(format!(
                r"Software\ShadowlunTest-{}-{name}",
                std::process::id()
            ))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = LOCAL_MACHINE.remove_tree(&self.0);
        }
    }

    #[test]
    fn values_below_a_new_key_are_read_back() {
        let Scratch(key) = &Scratch::new("values");
        let below = format!(r"{key}\one\two");

        for (name, value) in [
            ("", Value::Text("default".to_owned())),
            ("expand", Value::ExpandText(r"%x%\y".to_owned())),
            ("number", Value::Number(7)),
            ("bytes", Value::Bytes(vec![0, 1, 255])),
        ] {
            Windows.set_value(&below, name, &value).unwrap();
        }

        assert_eq!(Windows.text(&below, "").unwrap().unwrap(), "default");
        assert_eq!(Windows.text(&below, "expand").unwrap().unwrap(), r"%x%\y");
        let opened = LOCAL_MACHINE.open(&below).unwrap();
        assert_eq!(opened.get_u32("number").unwrap(), 7);
        let bytes = opened.get_value("bytes").unwrap();
        assert_eq!((bytes.ty(), &bytes[..]), (Type::Bytes, &[0, 1, 255][..]));
    }

    /// REG-21.
    #[test]
    fn removed_key_is_gone_with_all_below_and_removing_again_is_a_success() {
        let Scratch(key) = &Scratch::new("remove");
        let below = format!(r"{key}\one");
        Windows.set_value(&below, "x", &Value::Number(1)).unwrap();

        Windows.remove_key(key).unwrap();
        Windows.remove_key(key).unwrap();

        assert_eq!(Windows.text(&below, "x").unwrap(), None);
        assert!(LOCAL_MACHINE.open(key).is_err());
    }

    /// LOAD-7, LOAD-8: a shutdown waits as long as a stop may take.
    #[test]
    fn service_has_its_time_at_a_shutdown() {
        Windows.set_service(r"C:\nowhere\x.exe").unwrap();
        let key = format!(
            r"SYSTEM\CurrentControlSet\Services\{}",
            ids::names().service_name
        );
        let limit = LOCAL_MACHINE
            .open(key)
            .unwrap()
            .get_u32("PreshutdownTimeout");
        Windows.remove_service().unwrap();
        assert_eq!(limit.unwrap(), 40_000);
    }

    #[test]
    fn refusals_carry_an_hresult_and_words() {
        let error = of_io(&io::Error::from_raw_os_error(5));
        assert_eq!(error.code, 0x8007_0005);
        assert!(!error.text.contains("os error"), "{error}");
        let error = of_io(&io::Error::new(io::ErrorKind::PermissionDenied, "words"));
        assert_eq!(error.code, 0x8007_0005);
        let error = of_com(windows::core::Error::from(windows::core::HRESULT(
            0x8004_2307_u32.cast_signed(),
        )));
        assert_eq!(error.code, 0x8004_2307);
        assert!(!error.text.is_empty());
    }

    /// SEC-7.
    #[test]
    fn permission_is_a_self_relative_descriptor() {
        let bytes = Windows.permission().unwrap();

        // Revision 1; in the control word SE_SELF_RELATIVE, SE_DACL_PROTECTED and SE_DACL_PRESENT.
        assert_eq!(bytes[0], 1);
        assert_eq!(u16::from_le_bytes([bytes[2], bytes[3]]) & 0x9004, 0x9004);
    }
}
