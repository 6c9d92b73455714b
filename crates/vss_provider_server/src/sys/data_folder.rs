// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data folder on Windows. Folder and files are made with their access list, so that there is no moment without it.
//!
//! What Wine cannot show: that the lists keep anybody out. It stores them only as far as Unix permissions express them.

// UNSAFETY: calls Win32 functions for security descriptors and files.
#![expect(unsafe_code)]

use super::{io_error, wide};
use crate::com::security::Descriptor;
use crate::data_folder::{DataFolder, FILE_BYTES_MAX, FILE_SDDL, FOLDER_SDDL, Held};
use crate::{enrolment, ids, settings};
use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _};
use std::path::{Path, PathBuf};
use windows::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, GENERIC_WRITE, HANDLE, HLOCAL, LocalFree,
};
use windows::Win32::Security::Authorization::{GetSecurityInfo, SE_FILE_OBJECT, SetSecurityInfo};
use windows::Win32::Security::{
    DACL_SECURITY_INFORMATION, EqualSid, GetSecurityDescriptorDacl, GetSecurityDescriptorOwner,
    GetTokenInformation, IsWellKnownSid, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, SECURITY_ATTRIBUTES,
    TOKEN_USER, TokenUser, WinBuiltinAdministratorsSid, WinLocalSystemSid,
};
use windows::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, CREATE_NEW, CreateDirectoryW, CreateFileW,
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_DELETE_ON_CLOSE, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_READ_ATTRIBUTES, FILE_SHARE_NONE, GetFileInformationByHandle, MOVEFILE_REPLACE_EXISTING,
    MOVEFILE_WRITE_THROUGH, MoveFileExW, OPEN_ALWAYS, READ_CONTROL, WRITE_DAC, WRITE_OWNER,
};
use windows::Win32::System::Com::CoTaskMemFree;
use windows::core::{GUID, PCWSTR};

windows_core::link!("shell32.dll" "system" fn SHGetKnownFolderPath(id: *const GUID, flags: u32, token: *const c_void, path: *mut *mut u16) -> i32);

const PROGRAM_DATA: GUID = GUID::from_u128(0x62ab5d82_fdc1_4dc3_a9dd_070d1d495d97);
/// Says where the folder is without looking whether it is there.
const KF_FLAG_DONT_VERIFY: u32 = 0x4000;
/// The handle that stands for this process's token.
const OWN_TOKEN: HANDLE = HANDLE(-4_isize as *mut c_void);
/// More than a SID and its head.
const TOKEN_USER_WORDS: usize = 32;

/// `%ProgramData%\Shadowlun`.
pub struct SystemFolder(Option<PathBuf>);

impl Default for SystemFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemFolder {
    /// The folder of this machine, as Windows knows it: the environment is whatever the caller made it. Touches nothing.
    pub fn new() -> Self {
        Self(program_data().map(|base| base.join(ids::names().data_folder)))
    }

    fn folder(&self) -> io::Result<&Path> {
        self.0.as_deref().ok_or_else(|| {
            io::Error::other("Windows does not tell where its folder ProgramData is")
        })
    }

    /// Makes the folder, or closes an existing one. Anybody may make one below %ProgramData%, with files, links and an access
    /// list of their choice: what belongs to another than an administrator, or leads elsewhere, is refused.
    ///
    /// # Errors
    /// The system's, most often that the caller is no administrator; or what is refused, and what to do about it.
    pub fn secure(&self) -> io::Result<()> {
        let folder = self.folder()?;
        let descriptor = descriptor(FOLDER_SDDL)?;
        let name = wide(folder);
        // SAFETY: `name` ends with a NUL; `attributes` points to the descriptor, which outlives the call.
        let made =
            unsafe { CreateDirectoryW(PCWSTR(name.as_ptr()), Some(&attributes(&descriptor))) };
        match made.map_err(io_error) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
        let change = WRITE_DAC.0 | WRITE_OWNER.0;
        close(&open_own(folder, true, change)?, &descriptor)?;
        let descriptor = self::descriptor(FILE_SDDL)?;
        for file in [settings::FILE, enrolment::FILE] {
            match open_own(&folder.join(file), false, change) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => close(&opened?, &descriptor)?,
            }
        }
        Ok(())
    }

    /// Removes the folder if nothing is in it.
    ///
    /// # Errors
    /// The system's.
    pub fn remove_if_empty(&self) -> io::Result<()> {
        match std::fs::remove_dir(self.folder()?) {
            Err(error)
                if ![io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty]
                    .contains(&error.kind()) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

impl DataFolder for SystemFolder {
    fn path(&self, name: &str) -> PathBuf {
        match &self.0 {
            Some(folder) => folder.join(name),
            None => name.into(),
        }
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        // Somebody else's folder may hold somebody else's array.
        open_own(self.folder()?, true, 0)?;
        let file = File::open(self.folder()?.join(name))?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other("it is larger than 64 KiB"));
        }
        Ok(bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.secure()?;
        let path = self.folder()?.join(name);
        let beside = self.folder()?.join(format!("{name}.new"));
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let replaced = write_closed(&beside, bytes).and_then(|()| rename(&beside, &path));
        if replaced.is_err() {
            // The error says more than what becomes of this.
            let _ = std::fs::remove_file(&beside);
        }
        replaced
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder()?.join(name))
    }

    /// An open file of the closed folder: it goes when the process does, however that ends.
    fn try_hold(&self, name: &str) -> io::Result<Option<Held>> {
        self.secure()?;
        let descriptor = descriptor(FILE_SDDL)?;
        let name = wide(self.folder()?.join(name));
        // SAFETY: `name` ends with a NUL; `attributes` points to the descriptor, which outlives the call.
        let opened = unsafe {
            CreateFileW(
                PCWSTR(name.as_ptr()),
                GENERIC_WRITE.0,
                FILE_SHARE_NONE,
                Some(&attributes(&descriptor)),
                OPEN_ALWAYS,
                FILE_ATTRIBUTE_NORMAL | FILE_FLAG_DELETE_ON_CLOSE,
                None,
            )
        };
        match opened {
            // SAFETY: the handle is a file's, just opened, and nobody else has it.
            Ok(handle) => Ok(Some(Box::new(unsafe { File::from_raw_handle(handle.0) }))),
            // Access is denied, in a folder that was just closed, to a file that is on its way out.
            Err(error)
                if [ERROR_SHARING_VIOLATION, ERROR_ACCESS_DENIED]
                    .map(|code| code.to_hresult())
                    .contains(&error.code()) =>
            {
                Ok(None)
            }
            Err(error) => Err(io_error(error)),
        }
    }
}

/// Where Windows keeps the data of all users' programs.
fn program_data() -> Option<PathBuf> {
    let mut text = std::ptr::null_mut();
    // SAFETY: the id outlives the call; `text` receives a text that ends with a NUL, or NULL, for us to free, once.
    unsafe {
        let code = SHGetKnownFolderPath(
            &PROGRAM_DATA,
            KF_FLAG_DONT_VERIFY,
            std::ptr::null(),
            &raw mut text,
        );
        let path = (code >= 0).then(|| std::ffi::OsString::from_wide(PCWSTR(text).as_wide()));
        CoTaskMemFree(Some(text.cast()));
        path.map(PathBuf::from)
    }
}

/// Opens a folder or a file that is there, itself and not what it leads to, with rights beyond looking at it. An error unless it is an
/// administrator's and has no other name.
fn open_own(path: &Path, is_folder: bool, rights: u32) -> io::Result<File> {
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    let refuse = |why: &str| {
        let delete = "as administrator, look who made it and what is in it, and delete it";
        io::Error::other(format!("{} {why}; {delete}", path.display()))
    };
    let file = OpenOptions::new()
        .access_mode(FILE_READ_ATTRIBUTES.0 | READ_CONTROL.0 | rights)
        .custom_flags(flags.0)
        .open(path)
        .map_err(|error| match error.kind() {
            // Whoever made it may have closed it to administrators too.
            kind @ io::ErrorKind::PermissionDenied => io::Error::new(
                kind,
                format!(
                    "{} is closed to this account; where administrators are shut out too, take it over (takeown) and delete it",
                    path.display()
                ),
            ),
            _ => error,
        })?;
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open; the result is written to a place of ours.
    unsafe { GetFileInformationByHandle(HANDLE(file.as_raw_handle()), &raw mut found) }
        .map_err(io_error)?;
    let has = |attribute| found.dwFileAttributes & attribute != 0;
    if has(FILE_ATTRIBUTE_REPARSE_POINT.0)
        || has(FILE_ATTRIBUTE_DIRECTORY.0) != is_folder
        || found.nNumberOfLinks > 1
    {
        let what = if is_folder { "folder" } else { "file" };
        return Err(refuse(&format!("is no plain {what}")));
    }
    if !is_administrators(&file)? {
        return Err(refuse("belongs neither to Administrators nor to SYSTEM"));
    }
    Ok(file)
}

/// Whether the owner is SYSTEM, Administrators, or the account of this process, which installs, or is the service.
fn is_administrators(file: &File) -> io::Result<bool> {
    let (mut owner, mut raw) = (PSID::default(), PSECURITY_DESCRIPTOR::default());
    let mut token = [0_u64; TOKEN_USER_WORDS];
    // SAFETY: the handle is open; `owner` points into `raw`, which is ours to free, once, after the last use; `token` has the size
    // that is named and the alignment of a TOKEN_USER, which the system puts there with what it points to.
    unsafe {
        GetSecurityInfo(
            HANDLE(file.as_raw_handle()),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION,
            Some(&raw mut owner),
            None,
            None,
            None,
            Some(&raw mut raw),
        )
        .ok()
        .map_err(io_error)?;
        let known = [WinLocalSystemSid, WinBuiltinAdministratorsSid]
            .iter()
            .any(|kind| IsWellKnownSid(owner, *kind).as_bool());
        let own = GetTokenInformation(
            OWN_TOKEN,
            TokenUser,
            Some(token.as_mut_ptr().cast()),
            size_of_val(&token) as u32,
            &mut 0,
        )
        .map(|()| {
            let user = &*token.as_ptr().cast::<TOKEN_USER>();
            EqualSid(owner, user.User.Sid).is_ok()
        });
        LocalFree(Some(HLOCAL(raw.0)));
        Ok(known || own.map_err(io_error)?)
    }
}

fn write_closed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_closed(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (wide(from), wide(to));
    let flags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
    // SAFETY: both names end with a NUL.
    unsafe { MoveFileExW(PCWSTR(from.as_ptr()), PCWSTR(to.as_ptr()), flags) }.map_err(io_error)
}

/// Makes a file that was not there, with [`FILE_SDDL`], opened by nobody else.
fn create_closed(path: &Path) -> io::Result<File> {
    let descriptor = descriptor(FILE_SDDL)?;
    let name = wide(path);
    // SAFETY: `name` ends with a NUL; `attributes` points to the descriptor, which outlives the call.
    let handle = unsafe {
        CreateFileW(
            PCWSTR(name.as_ptr()),
            GENERIC_WRITE.0,
            FILE_SHARE_NONE,
            Some(&attributes(&descriptor)),
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL,
            None,
        )
    }
    .map_err(io_error)?;
    // SAFETY: the handle is a file's, just opened, and nobody else has it.
    Ok(unsafe { File::from_raw_handle(handle.0) })
}

fn descriptor(sddl: &str) -> io::Result<Descriptor> {
    Descriptor::new(sddl).map_err(io_error)
}

/// Valid as long as the descriptor.
fn attributes(descriptor: &Descriptor) -> SECURITY_ATTRIBUTES {
    SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor.as_raw().0,
        bInheritHandle: false.into(),
    }
}

/// Gives owner and list to what is open; what inherits from it gets its new share.
fn close(file: &File, descriptor: &Descriptor) -> io::Result<()> {
    let mut owner = PSID::default();
    let mut dacl = std::ptr::null_mut();
    let (mut present, mut defaulted) = Default::default();
    let raw = descriptor.as_raw();
    // SAFETY: the descriptor is valid and outlives what points into it; the handle is open.
    unsafe {
        GetSecurityDescriptorOwner(raw, &mut owner, &mut defaulted).map_err(io_error)?;
        GetSecurityDescriptorDacl(raw, &mut present, &mut dacl, &mut defaulted)
            .map_err(io_error)?;
        SetSecurityInfo(
            HANDLE(file.as_raw_handle()),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION
                | DACL_SECURITY_INFORMATION
                | PROTECTED_DACL_SECURITY_INFORMATION,
            Some(owner),
            None,
            Some(dacl),
            None,
        )
    }
    .ok()
    .map_err(io_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> SystemFolder {
        let name = format!("shadowlun-folder-{}-{name}", std::process::id());
        SystemFolder(Some(std::env::temp_dir().join(name)))
    }

    fn delete(folder: &SystemFolder) {
        std::fs::remove_dir_all(folder.folder().unwrap()).unwrap();
    }

    #[test]
    fn replaced_file_is_read_back_and_nothing_is_left_beside() {
        let folder = scratch("replace");

        folder.replace(enrolment::FILE, b"one").unwrap();
        folder.replace(enrolment::FILE, b"two").unwrap();

        assert_eq!(folder.read(enrolment::FILE).unwrap(), b"two");
        let files = std::fs::read_dir(folder.folder().unwrap()).unwrap();
        assert_eq!(files.count(), 1);
        delete(&folder);
    }

    #[test]
    fn leftover_of_an_interrupted_write_does_not_stop_the_next_one() {
        let folder = scratch("leftover");
        folder.secure().unwrap();
        std::fs::write(folder.path("enrolment.json.new"), "torn").unwrap();

        folder.replace(enrolment::FILE, b"whole").unwrap();

        assert_eq!(folder.read(enrolment::FILE).unwrap(), b"whole");
        delete(&folder);
    }

    #[test]
    fn existing_folder_is_taken_over_with_its_files() {
        let folder = scratch("existing");
        std::fs::create_dir(folder.folder().unwrap()).unwrap();
        std::fs::write(folder.path(settings::FILE), "").unwrap();

        folder.secure().unwrap();

        assert_eq!(folder.read(settings::FILE).unwrap(), b"");
        delete(&folder);
    }

    #[test]
    fn file_in_place_of_the_folder_and_the_reverse_are_refused() {
        let folder = scratch("file");
        std::fs::write(folder.folder().unwrap(), "").unwrap();
        let error = folder.secure().unwrap_err();
        assert!(error.to_string().contains("no plain folder"), "{error}");
        std::fs::remove_file(folder.folder().unwrap()).unwrap();

        std::fs::create_dir_all(folder.path(settings::FILE)).unwrap();
        let error = folder.secure().unwrap_err();
        assert!(error.to_string().contains("no plain file"), "{error}");
        delete(&folder);
    }

    /// Closing it would close the file of that other name.
    #[test]
    fn file_with_another_name_is_refused() {
        let folder = scratch("links");
        folder.secure().unwrap();
        std::fs::write(folder.path("other"), "").unwrap();
        std::fs::hard_link(folder.path("other"), folder.path(enrolment::FILE)).unwrap();

        let error = folder.secure().unwrap_err();

        assert!(error.to_string().contains("no plain file"), "{error}");
        delete(&folder);
    }

    /// Under Wine: what another Unix user owns. One of the two is another's, whoever runs this.
    #[test]
    fn folder_of_somebody_else_is_refused_for_reading_and_for_writing() {
        let others = [r"Z:\", r"Z:\var\cache\apt\archives\partial"]
            .map(|path| SystemFolder(Some(path.into())))
            .into_iter()
            .find(|folder| {
                let error = folder.read("x").unwrap_err().to_string();
                error.contains("belongs neither")
            });
        let folder = others.expect("a folder of another user");

        let error = folder.secure().unwrap_err().to_string();

        assert!(error.contains("delete it"), "{error}");
    }

    /// SEC-10: one holder at a time, and no file is left of the last.
    #[test]
    fn held_file_is_one_holders_and_goes_with_it() {
        let folder = scratch("hold");
        let held = folder.try_hold("x.lock").unwrap().expect("it is free");
        assert!(folder.try_hold("x.lock").unwrap().is_none());

        drop(held);

        assert!(!folder.path("x.lock").exists());
        assert!(folder.try_hold("x.lock").unwrap().is_some());
        delete(&folder);
    }

    #[test]
    fn remove_if_empty_leaves_what_people_need() {
        let folder = scratch("empty");
        folder.remove_if_empty().unwrap();
        folder.replace(enrolment::FILE, b"x").unwrap();

        folder.remove_if_empty().unwrap();
        assert_eq!(folder.read(enrolment::FILE).unwrap(), b"x");

        folder.remove(enrolment::FILE).unwrap();
        folder.remove_if_empty().unwrap();
        assert!(!folder.folder().unwrap().exists());
    }

    /// Not by the environment: the process that elevates hands its own down.
    #[test]
    fn folder_is_where_windows_says() {
        let folder = SystemFolder::new();
        assert_eq!(folder.path(""), Path::new(r"C:\ProgramData\Shadowlun\"));
    }

    #[test]
    fn missing_file_and_missing_folder_are_not_found_and_a_huge_file_is_an_error() {
        let folder = scratch("read");
        let kind = |folder: &SystemFolder| folder.read("x").unwrap_err().kind();
        assert_eq!(kind(&folder), io::ErrorKind::NotFound);
        folder.secure().unwrap();
        assert_eq!(kind(&folder), io::ErrorKind::NotFound);

        let huge = File::create(folder.path("x")).unwrap();
        huge.set_len(FILE_BYTES_MAX + 1).unwrap();

        assert_eq!(kind(&folder), io::ErrorKind::Other);
        drop(huge);
        delete(&folder);
    }
}
