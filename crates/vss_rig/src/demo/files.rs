// SPDX-License-Identifier: MIT OR Apache-2.0
//! The writer that behaves like an application under VSS: it works on the mounted NTFS, stands still from freeze to thaw,
//! and knows at the freeze what each file holds.

use crate::interrupt::{Interrupt, Interrupted};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Files that the writer rewrites in turn.
const LIVE_FILE_COUNT: u64 = 32;
/// Largest of them.
const LIVE_BYTES_MAX: u64 = 96 * 1024;
/// How long the writer may take to finish the file that it is at.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);

/// Length and CRC32C of each file, by its path below the mount.
pub(crate) type Manifest = BTreeMap<PathBuf, FileSum>;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSum {
    /// Length in bytes.
    pub(crate) length: u64,
    /// CRC32C of the contents.
    pub(crate) crc: u32,
}

impl FileSum {
    fn of(bytes: &[u8]) -> Self {
        Self {
            length: bytes.len() as u64,
            crc: crc32c::crc32c(bytes),
        }
    }
}

/// Bytes that look like data: the same for the same seed, and no two 512-byte sectors alike.
pub(crate) fn contents(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed ^ 0x5DEE_CE66_D123_4567;
    let mut bytes = Vec::with_capacity(length as usize + 8);
    while (bytes.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// Writes one file durably and gives its sum.
pub(crate) fn write_file(root: &Path, name: &Path, bytes: &[u8]) -> std::io::Result<FileSum> {
    let path = root.join(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Not truncated first: a file that keeps its length keeps its clusters, and the LUN does not grow by rewriting it.
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    Ok(FileSum::of(bytes))
}

/// Reads every file below `root`.
pub(crate) fn read_all(root: &Path) -> std::io::Result<Manifest> {
    let mut found = Manifest::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let mut bytes = Vec::new();
            File::open(entry.path())?.read_to_end(&mut bytes)?;
            let name = entry.path();
            let name = name.strip_prefix(root).unwrap_or(&name).to_owned();
            found.insert(name, FileSum::of(&bytes));
        }
    }
    Ok(found)
}

/// The first difference between two manifests, in words.
pub(crate) fn difference(expected: &Manifest, found: &Manifest) -> Option<String> {
    for (name, sum) in expected {
        match found.get(name) {
            None => return Some(format!("{} is missing", name.display())),
            Some(other) if other != sum => {
                return Some(format!("{} holds {other:?}, not {sum:?}", name.display()));
            }
            Some(_) => {}
        }
    }
    found
        .keys()
        .find(|name| !expected.contains_key(*name))
        .map(|name| format!("{} should not be there", name.display()))
}

/// The running writer.
pub(crate) struct FileWriter {
    shared: Arc<Shared>,
    root: PathBuf,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    wish: Wish,
    /// True while the thread stands still because of [`Wish::Hold`].
    held: bool,
    manifest: Manifest,
    written: u64,
    failure: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Write,
    Hold,
    End,
}

impl FileWriter {
    /// Starts to write below `root`, which holds the files of `manifest` already.
    pub(crate) fn start(root: &Path, manifest: Manifest) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wish: Wish::Write,
                held: false,
                manifest,
                written: 0,
                failure: None,
            }),
            changed: Condvar::new(),
        });
        let thread = std::thread::spawn({
            let (shared, root) = (Arc::clone(&shared), root.to_owned());
            move || shared.work(&root)
        });
        Self {
            shared,
            root: root.to_owned(),
            thread: Some(thread),
        }
    }

    /// Freeze: returns when the writer stands still and everything it wrote has left for the LUN; gives what each file
    /// holds now.
    pub(crate) fn freeze(&self, export: &Path, interrupt: &Interrupt) -> anyhow::Result<Manifest> {
        self.shared.lock().wish = Wish::Hold;
        self.shared.changed.notify_all();
        let held = interrupt.wait_until(FREEZE_LIMIT, || self.shared.lock().held)?;
        anyhow::ensure!(
            held,
            "the file writer did not stand still: {:?}",
            self.failure()
        );
        rustix::fs::syncfs(File::open(&self.root)?)?;
        File::options().write(true).open(export)?.sync_all()?;
        Ok(self.shared.lock().manifest.clone())
    }

    /// Whether the writer stands still.
    pub(crate) fn is_held(&self) -> bool {
        self.shared.lock().held
    }

    /// Thaw: the writer goes on.
    pub(crate) fn thaw(&self) {
        self.shared.lock().wish = Wish::Write;
        self.shared.changed.notify_all();
    }

    /// Files written so far.
    pub(crate) fn written(&self) -> u64 {
        self.shared.lock().written
    }

    /// Waits until `count` files were written in all.
    pub(crate) fn wait_for(&self, count: u64, interrupt: &Interrupt) -> Result<bool, Interrupted> {
        interrupt.wait_until(FREEZE_LIMIT, || {
            let state = self.shared.lock();
            state.written >= count || state.failure.is_some()
        })
    }

    /// Why the writer ended by itself, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    /// Ends the writer after the file under way.
    pub(crate) fn stop(&mut self) {
        self.shared.lock().wish = Wish::End;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// False when the thread should end.
    fn may_write(&self) -> bool {
        let mut state = self.lock();
        while state.wish == Wish::Hold {
            state.held = true;
            state = self.changed.wait(state).expect("see lock");
        }
        state.held = false;
        state.wish == Wish::Write
    }

    fn work(&self, root: &Path) {
        while self.may_write() {
            let number = self.lock().written;
            let index = number % LIVE_FILE_COUNT;
            let name = PathBuf::from(format!("live/{index:02}.dat"));
            let length = 1 + (index * 7919) % LIVE_BYTES_MAX;
            let result = write_file(root, &name, &contents(number, length));
            let mut state = self.lock();
            match result {
                Ok(sum) => {
                    state.manifest.insert(name, sum);
                    state.written += 1;
                }
                Err(error) => {
                    state.failure = Some(format!("{}: {error}", name.display()));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(entries: &[(&str, u32)]) -> Manifest {
        entries
            .iter()
            .map(|&(name, crc)| (name.into(), FileSum { length: 1, crc }))
            .collect()
    }

    #[test]
    fn difference_equal_manifests_have_none() {
        let files = manifest(&[("a", 1), ("b", 2)]);
        assert_eq!(difference(&files, &files), None);
    }

    #[test]
    fn difference_changed_missing_and_extra_files_are_named() {
        let expected = manifest(&[("a", 1), ("b", 2)]);
        for (found, name) in [
            (manifest(&[("a", 1), ("b", 3)]), "b holds"),
            (manifest(&[("a", 1)]), "b is missing"),
            (manifest(&[("a", 1), ("b", 2), ("c", 1)]), "c should not"),
        ] {
            assert!(difference(&expected, &found).unwrap().contains(name));
        }
    }

    #[test]
    fn file_writer_frozen_stands_still_and_knows_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let export = folder.path().join("export");
        std::fs::write(&export, b"").unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let interrupt = Interrupt::default();
        let mut writer = FileWriter::start(&root, Manifest::new());
        assert!(writer.wait_for(5, &interrupt).unwrap());

        let frozen = writer.freeze(&export, &interrupt).unwrap();
        let written = writer.written();

        assert_eq!(difference(&frozen, &read_all(&root).unwrap()), None);
        assert_eq!(writer.written(), written);
        assert!(writer.is_held());
        writer.thaw();
        assert!(writer.wait_for(written + 5, &interrupt).unwrap());
        assert!(!writer.is_held());
        writer.stop();
        assert_eq!(writer.failure(), None);
    }
}
