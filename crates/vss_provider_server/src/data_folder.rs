// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder of the provider's own files, below %ProgramData%.

use std::io;
use std::path::PathBuf;

/// A larger file is none of ours.
pub const FILE_BYTES_MAX: u64 = 64 << 10;

/// SYSTEM and Administrators, nobody else, nothing inherited from above; owned by Administrators, because an owner may always
/// change the list (SEC-10).
pub const FOLDER_SDDL: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
/// The same for a file. The token is sealed for the machine, not for a user: this list is what protects it.
pub const FILE_SDDL: &str = "O:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)";

/// A folder that only Local System and Administrators may look into.
///
/// **Duties.** `read` fails with `NotFound` for a missing file and for a missing folder, and with another error for one of more than
/// [`FILE_BYTES_MAX`]. `replace` makes the folder where it is missing; afterwards the file is the old or the new one, whole,
/// also after a power loss, and at no time readable by others.
pub trait DataFolder {
    /// Where a file is, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// A file's content.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Writes a file whole.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Holds a name for this process alone until the answer is dropped or the process ends; `None` while somebody else has it.
    fn try_hold(&self, name: &str) -> io::Result<Option<Held>>;
}

/// Who has it holds a name of the folder.
pub type Held = Box<dyn std::any::Any + Send>;

#[cfg(test)]
pub(crate) use memory::MemoryFolder;

#[cfg(test)]
mod memory {
    use super::{DataFolder, Held};
    use std::collections::BTreeMap;
    use std::io;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    pub(crate) struct MemoryFolder(Mutex<BTreeMap<String, Vec<u8>>>, Mutex<Arc<()>>);

    impl MemoryFolder {
        pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
            self.0
                .lock()
                .unwrap()
                .insert(name.to_owned(), bytes.to_vec());
        }
    }

    impl DataFolder for MemoryFolder {
        fn path(&self, name: &str) -> PathBuf {
            name.into()
        }

        fn read(&self, name: &str) -> io::Result<Vec<u8>> {
            let files = self.0.lock().unwrap();
            files
                .get(name)
                .cloned()
                .ok_or(io::ErrorKind::NotFound.into())
        }

        fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
            self.put(name, bytes);
            Ok(())
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            match self.0.lock().unwrap().remove(name) {
                Some(_) => Ok(()),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        }

        /// One holder of any name.
        fn try_hold(&self, _: &str) -> io::Result<Option<Held>> {
            let holder = self.1.lock().unwrap();
            let is_free = Arc::strong_count(&holder) == 1;
            Ok(is_free.then(|| Box::new(Arc::clone(&holder)) as Held))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-10, T-304 as far as Wine allows: what the lists say. That Windows keeps to them only Windows can show.
    #[test]
    fn t304_lists_are_protected_and_name_system_and_administrators_only() {
        for sddl in [FOLDER_SDDL, FILE_SDDL] {
            assert!(sddl.starts_with("O:BAD:P("), "{sddl}");
            let entries: Vec<_> = sddl.split('(').skip(1).collect();
            assert_eq!(entries.len(), 2);
            assert!(entries[0].ends_with(";SY)") && entries[1].ends_with(";BA)"));
        }
    }
}
