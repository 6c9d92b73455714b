// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the doctor looks at: disks, services, a setting of the partition manager.
//!
//! What Wine cannot show: disks, since it has none by itself.

// UNSAFETY: opens devices and calls their drivers; declares one function, whose module of the windows crate is large.
#![expect(unsafe_code)]

use super::io_error;
use crate::doctor::Machine;
use crate::doctor::disk::{self, Disk};
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::AsRawHandle as _;
use windows::Win32::Foundation::ERROR_FILE_NOT_FOUND;
use windows::core::Error;
use windows_registry::LOCAL_MACHINE;
use windows_service::service::{ServiceAccess, ServiceState};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

windows_core::link!("kernel32.dll" "system" fn DeviceIoControl(device: *mut c_void, code: u32, input: *const c_void, input_bytes: u32, output: *mut c_void, output_bytes: u32, returned: *mut u32, overlapped: *mut c_void) -> i32);

const IOCTL_STORAGE_QUERY_PROPERTY: u32 = 0x002D_1400;
/// StorageDeviceProperty and StorageDeviceIdProperty.
const DEVICE: u32 = 0;
const DEVICE_ID: u32 = 2;
/// Page 83 has at most 65,535 bytes; descriptors are not much longer.
const ANSWER_BYTES_MAX: usize = 80 << 10;
/// Numbers of disks are looked through up to here: they are not consecutive.
const DISKS_MAX: u32 = 512;
/// ERROR_SERVICE_DOES_NOT_EXIST.
const SERVICE_DOES_NOT_EXIST: i32 = 1060;
const PARTMGR: &str = r"SYSTEM\CurrentControlSet\Services\partmgr\Parameters";

/// This computer.
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn disks(&self) -> io::Result<Vec<Disk>> {
        let mut disks = Vec::new();
        for number in 0..DISKS_MAX {
            let name = format!(r"\\.\PhysicalDrive{number}");
            // Without rights to its content, which the questions need none of.
            match OpenOptions::new().access_mode(0).open(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => disks.push(Disk {
                    name,
                    product: "unknown".to_owned(),
                    identifiers: Err(error.to_string()),
                }),
                Ok(device) => disks.push(Disk {
                    name,
                    product: property(&device, DEVICE)
                        .map_or_else(|_| "unknown".to_owned(), |told| disk::product(&told)),
                    identifiers: property(&device, DEVICE_ID)
                        .map_err(|error| error.to_string())
                        .and_then(|told| {
                            let garbled = || "its driver's answer is garbled".to_owned();
                            disk::identifiers(&told).ok_or_else(garbled)
                        }),
                }),
            }
        }
        Ok(disks)
    }

    fn san_policy(&self) -> io::Result<Option<u32>> {
        let value = LOCAL_MACHINE
            .open(PARTMGR)
            .and_then(|key| key.get_u32("SanPolicy"));
        match value {
            Err(error) if error.code() == ERROR_FILE_NOT_FOUND.to_hresult() => Ok(None),
            value => value.map(Some).map_err(io_error),
        }
    }

    fn service_state(&self, name: &str) -> io::Result<Option<bool>> {
        let of_service = |error| match error {
            windows_service::Error::Winapi(error) => error,
            other => io::Error::other(other.to_string()),
        };
        let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
            .map_err(of_service)?;
        let state = manager
            .open_service(name, ServiceAccess::QUERY_STATUS)
            .and_then(|service| service.query_status())
            .map_err(of_service);
        match state {
            Err(error) if error.raw_os_error() == Some(SERVICE_DOES_NOT_EXIST) => Ok(None),
            state => state.map(|status| Some(status.current_state == ServiceState::Running)),
        }
    }
}

/// One question to a disk's driver.
fn property(device: &File, property: u32) -> io::Result<Vec<u8>> {
    // STORAGE_PROPERTY_QUERY: which property, the standard query, no parameters.
    let query = [property, 0, 0];
    let mut answer = vec![0_u8; ANSWER_BYTES_MAX];
    let mut returned = 0_u32;
    // SAFETY: the handle is open; both buffers have the sizes that are named and outlive the call, which waits for its end.
    let done = unsafe {
        DeviceIoControl(
            device.as_raw_handle(),
            IOCTL_STORAGE_QUERY_PROPERTY,
            query.as_ptr().cast(),
            size_of_val(&query) as u32,
            answer.as_mut_ptr().cast(),
            ANSWER_BYTES_MAX as u32,
            &raw mut returned,
            std::ptr::null_mut(),
        )
    };
    if done == 0 {
        return Err(io_error(Error::from_thread()));
    }
    answer.truncate(usize::try_from(returned).unwrap_or(0));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_service_is_none_and_a_running_one_is_told() {
        assert_eq!(ThisMachine.service_state("NoSuchService").unwrap(), None);
        assert_eq!(ThisMachine.service_state("RpcSs").unwrap(), Some(true));
    }

    #[test]
    fn policy_that_is_not_set_and_disks_that_are_not_there_are_no_errors() {
        assert_eq!(ThisMachine.san_policy().unwrap(), None);
        ThisMachine.disks().unwrap();
    }
}
