// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small files that have to be whole after a crash: written beside, made durable, put in place, and the directory made
//! durable. Without the first sync the name could lead to an empty file after a power loss; without the second one the
//! old file could come back after the caller was told that the new one is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The four steps, so that a test can stop between any two of them.
trait Steps {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self, path: &Path) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_directory(&mut self, path: &Path) -> io::Result<()>;
}

/// Replaces the file's content as a whole: after a crash or power loss at any point it is the old or the new one, and
/// once this returned `Ok` the new one. The file is readable by its owner only.
///
/// One writer at a time: two would share the name of the file beside.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_by(&mut System, path, bytes)
}

fn replace_by(steps: &mut impl Steps, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    steps.write(&beside, bytes)?;
    steps.sync(&beside)?;
    steps.rename(&beside, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => steps.sync_directory(parent),
        _ => steps.sync_directory(Path::new(".")),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

struct System;

impl Steps for System {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)
    }

    fn sync(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What a file system keeps over a power loss: contents that were synced, names that were synced. A name may also
    /// have reached the disk early, with or without the content behind it: both are tried.
    #[derive(Clone, Default)]
    struct Model {
        contents: Vec<(Vec<u8>, bool)>,
        names: BTreeMap<PathBuf, usize>,
        durable_names: BTreeMap<PathBuf, usize>,
        steps_left: usize,
    }

    impl Model {
        fn step(&mut self) -> io::Result<()> {
            self.steps_left = self
                .steps_left
                .checked_sub(1)
                .ok_or(io::ErrorKind::Interrupted)?;
            Ok(())
        }

        /// What may be read at `path` after the power is back.
        fn after_power_loss(&self, path: &Path) -> Vec<Vec<u8>> {
            [&self.durable_names, &self.names]
                .into_iter()
                .filter_map(|names| names.get(path))
                .map(|&index| match &self.contents[index] {
                    (bytes, true) => bytes.clone(),
                    (_, false) => b"torn".to_vec(),
                })
                .collect()
        }
    }

    impl Steps for Model {
        fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            self.step()?;
            self.contents.push((bytes.to_vec(), false));
            self.names.insert(path.into(), self.contents.len() - 1);
            Ok(())
        }

        fn sync(&mut self, path: &Path) -> io::Result<()> {
            self.step()?;
            self.contents[self.names[path]].1 = true;
            Ok(())
        }

        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.step()?;
            let index = self.names.remove(from).expect("written before");
            self.names.insert(to.into(), index);
            Ok(())
        }

        fn sync_directory(&mut self, _: &Path) -> io::Result<()> {
            self.step()?;
            self.durable_names = self.names.clone();
            Ok(())
        }
    }

    #[test]
    fn replace_power_loss_after_each_step_leaves_old_or_new() {
        let path = Path::new("/state/file");
        for steps in 0..=4 {
            let mut model = Model {
                contents: vec![(b"old".to_vec(), true)],
                steps_left: steps,
                ..Model::default()
            };
            model.names.insert(path.into(), 0);
            model.durable_names = model.names.clone();

            let result = replace_by(&mut model, path, b"new");

            let seen = model.after_power_loss(path);
            let whole = |bytes: &Vec<u8>| bytes == b"old" || bytes == b"new";
            assert!(seen.iter().all(whole), "after {steps} steps: {seen:?}");
            assert!(!seen.is_empty());
            if result.is_ok() {
                assert!(seen.iter().all(|bytes| bytes == b"new"));
            }
            assert_eq!(result.is_ok(), steps == 4);
        }
    }

    #[test]
    fn replace_on_disk_is_private_and_leaves_nothing_beside() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");

        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();

        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
