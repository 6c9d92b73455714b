// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person does about a failed step.

pub(super) const TAKING_OUT: &str = "Taking the provider out of VSS";
pub(super) const TAKING_EARLIER_OUT: &str = "Taking an earlier installation out of VSS";
pub(super) const REGISTERING: &str = "Registering the provider with VSS";

pub(super) const LOOKING: &str = "Looking who may change the files";
/// TRUST_E_FAIL: the files cannot be trusted.
pub(super) const EXPOSED: u32 = 0x800B_010B;

const E_ACCESSDENIED: u32 = 0x8007_0005;
const E_INVALIDARG: u32 = 0x8007_0057;
const ERROR_FILE_NOT_FOUND: u32 = 0x8007_0002;
const ERROR_SERVICE_DISABLED: u32 = 0x8007_0422;
const ERROR_SERVICE_REQUEST_TIMEOUT: u32 = 0x8007_041D;
const ERROR_SERVICE_MARKED_FOR_DELETE: u32 = 0x8007_0430;
const ERROR_INVALID_OWNER: u32 = 0x8007_051B;
const REGDB_E_CLASSNOTREG: u32 = 0x8004_0154;
const VSS_E_UNEXPECTED: u32 = 0x8004_2302;
const VSS_E_PROVIDER_ALREADY_REGISTERED: u32 = 0x8004_2303;
const VSS_E_PROVIDER_IN_USE: u32 = 0x8004_2307;

/// One sentence without a full stop. `what` is the step's name, as [`super::Failure`] shows it.
pub(super) fn of(what: &str, code: u32) -> &'static str {
    match code {
        E_ACCESSDENIED | ERROR_INVALID_OWNER => {
            "run the command as administrator, in an elevated command prompt"
        }
        E_INVALIDARG if [REGISTERING, TAKING_EARLIER_OUT].contains(&what) => {
            "install on Windows Server: other editions accept no hardware provider"
        }
        REGDB_E_CLASSNOTREG => {
            "install on Windows Server: this system has no Volume Shadow Copy service"
        }
        ERROR_SERVICE_DISABLED => {
            "set the start type of the service 'Volume Shadow Copy' to manual, then repeat the command"
        }
        ERROR_SERVICE_REQUEST_TIMEOUT => {
            "wait until the service ShadowlunProvider has stopped, or end shadowlun-provider.exe, then repeat the command"
        }
        ERROR_SERVICE_MARKED_FOR_DELETE => {
            "close programs that show services, such as services.msc, or restart Windows, then repeat the command"
        }
        ERROR_FILE_NOT_FOUND => {
            "keep shadowlun-provider.exe and shadowlun-messages.dll of one version in one folder"
        }
        EXPOSED => {
            "put the files into a folder that only administrators may write to, such as C:\\Program Files\\Shadowlun: Local System runs them"
        }
        VSS_E_PROVIDER_IN_USE => {
            "a shadow copy set is in progress: wait until the backup has ended, or restart the service 'Volume Shadow Copy', then repeat the command"
        }
        VSS_E_PROVIDER_ALREADY_REGISTERED => {
            "somebody else registers this provider at the same moment: repeat the command"
        }
        VSS_E_UNEXPECTED => {
            "see the events of source VSS in the Application log, then repeat the command"
        }
        _ => {
            "remove the cause and repeat the command; the Application and System logs of the same time may say more"
        }
    }
}
