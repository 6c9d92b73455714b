// SPDX-License-Identifier: MIT OR Apache-2.0
use super::WindowsParts;
use super::keeper::Keeper;
use super::programs::{Prefix, WinePrograms};
use crate::interrupt::Interrupt;
use anyhow::{Context as _, ensure};
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Changes when the way templates are made does.
const TEMPLATE_FORM: u32 = 3;
/// How long one step of making a template may take; wineboot takes 12 s on two cores.
const STEP_LIMIT: Duration = Duration::from_secs(180);
/// How long another rig may keep the folder locked: it may be making the template.
const LOCK_LIMIT: Duration = Duration::from_secs(300);
/// Files of Windows from this size on are linked, not copied: programs and tables, which nothing writes to.
const LINK_BYTES_MIN: u64 = 16 << 10;

/// A copy of the template, alive until it is dropped.
pub(super) struct Run {
    // Ends what runs and removes the folder, before the lock goes.
    keeper: Keeper,
    pub(super) prefix: Prefix,
    _lock: File,
}

impl Run {
    /// Copies the template, which is made when there is none, or none of these parts and this Wine.
    pub(super) fn start(parts: &WindowsParts, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let programs = WinePrograms::find()?;
        let store = parts.store();
        std::fs::create_dir_all(&store)
            .with_context(|| format!("cannot create {}", store.display()))?;
        let store_lock = lock(&store.join("lock"), interrupt)?;
        let name = format!("template-{}", key(parts, &programs)?);
        tidy(&store, &name, &programs, &store_lock)?;
        let template = store.join(name);
        if !template.is_dir() {
            make_template(parts, &programs, &template, &store_lock, interrupt)?;
        }
        let folder = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&store)?
            .keep();
        // Locked before any other rig can look: it needs the store's lock for that.
        let run_lock = File::create(folder.join("lock"))?;
        run_lock.try_lock()?;
        let prefix = Prefix::new(&programs, &folder);
        let keeper = Keeper::start(&programs, &folder, &prefix.path(), &run_lock)?;
        copy(&template, &prefix.path(), false)?;
        Ok(Self {
            keeper,
            prefix,
            _lock: run_lock,
        })
    }

    /// Ends everything in it and removes it.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.keeper.end()
    }
}

fn lock(path: &Path, interrupt: &Interrupt) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut broken = None;
    let locked = interrupt.wait_until(LOCK_LIMIT, || match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => {
            broken = Some(error);
            true
        }
    })?;
    if let Some(error) = broken {
        return Err(error).with_context(|| format!("cannot lock {}", path.display()));
    }
    ensure!(locked, "{} stays locked by another rig", path.display());
    Ok(file)
}

/// Names a template by all that it is made of.
fn key(parts: &WindowsParts, programs: &WinePrograms) -> anyhow::Result<String> {
    let mut sum = 0;
    for name in WindowsParts::IN_TEMPLATE {
        let file = parts.file(name);
        let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
        sum = crc32c::crc32c_append(sum, &bytes);
    }
    Ok(format!("{TEMPLATE_FORM}-{}-{sum:08x}", programs.version()?))
}

/// Removes what dead rigs left, and templates of other parts. Holds the store's lock.
fn tidy(
    store: &Path,
    template: &str,
    programs: &WinePrograms,
    store_lock: &File,
) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(store)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let name = name.to_string_lossy();
        let stale = match name.starts_with("run-") {
            true => match File::open(path.join("lock")) {
                Ok(file) => file.try_lock().is_ok(),
                // Its rig was killed before it came to its lock, or its keeper is removing it.
                Err(error) => error.kind() == ErrorKind::NotFound,
            },
            false => name.starts_with("template-") && name != template,
        };
        if stale {
            Keeper::start(programs, &path, &path.join("prefix"), store_lock)?.end()?;
        }
    }
    Ok(())
}

/// Boots a prefix and registers the rig's own parts in it. A template has its name only once it is whole.
fn make_template(
    parts: &WindowsParts,
    programs: &WinePrograms,
    template: &Path,
    store_lock: &File,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let folder = template.with_extension("new");
    std::fs::create_dir_all(&folder)?;
    let prefix = Prefix::new(programs, &folder);
    let mut keeper = Keeper::start(programs, &folder, &prefix.path(), store_lock)?;
    let run = |program: &str, arguments: &[&str]| -> anyhow::Result<()> {
        let output = prefix.run(interrupt, STEP_LIMIT, program, arguments, None)?;
        ensure!(
            output.code == 0,
            "{program} ended with {}: {}",
            output.code,
            output.text.trim()
        );
        // Else the registry is not on disk, and the first clients of a fresh prefix hang.
        prefix.wait_idle(interrupt, STEP_LIMIT)
    };
    let put = |name: &str, place: &str| -> anyhow::Result<()> {
        let file = prefix.drive_c(place).join(name);
        std::fs::create_dir_all(prefix.drive_c(place))?;
        std::fs::copy(parts.file(name), &file)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(())
    };
    run("wineboot", &["-i"])?;
    put("bcryptprimitives.dll", "windows/system32")?;
    put("vss_ps.dll", "windows/system32")?;
    put("vss_standin.exe", "rig")?;
    run("regsvr32", &["/s", "vss_ps.dll"])?;
    run(r"C:\rig\vss_standin.exe", &["register"])?;
    std::fs::rename(prefix.path(), template)?;
    keeper.end()
}

/// Copies a prefix, without what belongs to its last run.
fn copy(from: &Path, to: &Path, in_windows: bool) -> anyhow::Result<()> {
    std::fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (source, target): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        let done = if kind.is_dir() {
            let in_windows = in_windows || from.ends_with("drive_c") && target.ends_with("windows");
            copy(&source, &target, in_windows)?;
            Ok(())
        } else if kind.is_symlink() {
            std::fs::read_link(&source).and_then(|link| std::os::unix::fs::symlink(link, &target))
        } else if in_windows && entry.metadata()?.len() >= LINK_BYTES_MIN {
            std::fs::hard_link(&source, &target)
        } else {
            std::fs::copy(&source, &target).map(|_| ())
        };
        done.with_context(|| format!("cannot make {}", target.display()))?;
    }
    Ok(())
}
