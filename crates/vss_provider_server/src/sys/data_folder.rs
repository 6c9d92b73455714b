// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data folder on Windows. Folder and files are made with their access list, so that there is no moment without it.
//!
//! What Wine cannot show: that the lists keep anybody out. It stores them only as far as Unix permissions express them.

// UNSAFETY: calls Win32 functions for security descriptors and files.
#![expect(unsafe_code)]

use super::{io_error, wide};
use crate::com::security::Descriptor;
use crate::data_folder::{DataFolder, FILE_BYTES_MAX, FILE_SDDL, FOLDER_SDDL};
use crate::{enrolment, ids, settings};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::windows::fs::MetadataExt as _;
use std::os::windows::io::FromRawHandle as _;
use std::path::{Path, PathBuf};
use windows::Win32::Foundation::GENERIC_WRITE;
use windows::Win32::Security::Authorization::{SE_FILE_OBJECT, SetNamedSecurityInfoW};
use windows::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, GetSecurityDescriptorOwner,
    OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, PSID, SECURITY_ATTRIBUTES,
};
use windows::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateDirectoryW, CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_SHARE_NONE, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW,
};
use windows::core::PCWSTR;

/// `%ProgramData%\Shadowlun`.
pub struct SystemFolder(Option<PathBuf>);

impl Default for SystemFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemFolder {
    /// The folder of this machine. Touches nothing.
    pub fn new() -> Self {
        Self(std::env::var_os("ProgramData").map(|base| Path::new(&base).join(ids::DATA_FOLDER)))
    }

    fn folder(&self) -> io::Result<&Path> {
        self.0
            .as_deref()
            .ok_or_else(|| io::Error::other("the environment variable ProgramData is not set"))
    }

    /// Makes the folder, or takes an existing one over: anybody may have made one below %ProgramData%, with files in it. Those of
    /// our names get our access list; the folder itself must be no link to elsewhere.
    ///
    /// # Errors
    /// The system's: most often that the caller is no administrator.
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
        let kind = std::fs::symlink_metadata(folder)?;
        if !kind.is_dir() || kind.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT.0 != 0 {
            return Err(io::Error::other(format!(
                "{} is no plain folder; move it away",
                folder.display()
            )));
        }
        apply(&descriptor, folder)?;
        let closed = self::descriptor(FILE_SDDL)?;
        for file in [settings::FILE, enrolment::FILE] {
            let path = folder.join(file);
            if path.try_exists()? {
                apply(&closed, &path)?;
            }
        }
        Ok(())
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
        let mut file = create_closed(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        let (from, to) = (wide(&beside), wide(&path));
        let flags = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
        // SAFETY: both names end with a NUL.
        unsafe { MoveFileExW(PCWSTR(from.as_ptr()), PCWSTR(to.as_ptr()), flags) }.map_err(io_error)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder()?.join(name))
    }
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

/// Gives owner and list to what is there already; what inherits from it gets its new share.
fn apply(descriptor: &Descriptor, path: &Path) -> io::Result<()> {
    let name = wide(path);
    let mut owner = PSID::default();
    let mut dacl = std::ptr::null_mut();
    let (mut present, mut defaulted) = Default::default();
    let raw = descriptor.as_raw();
    // SAFETY: the descriptor is valid and outlives what points into it; `name` ends with a NUL.
    unsafe {
        GetSecurityDescriptorOwner(raw, &mut owner, &mut defaulted).map_err(io_error)?;
        GetSecurityDescriptorDacl(raw, &mut present, &mut dacl, &mut defaulted)
            .map_err(io_error)?;
        SetNamedSecurityInfoW(
            PCWSTR(name.as_ptr()),
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
    fn file_in_place_of_the_folder_is_refused() {
        let folder = scratch("file");
        std::fs::write(folder.folder().unwrap(), "").unwrap();

        let error = folder.secure().unwrap_err();

        assert!(error.to_string().contains("no plain folder"), "{error}");
        std::fs::remove_file(folder.folder().unwrap()).unwrap();
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
