// SPDX-License-Identifier: MIT OR Apache-2.0
//! A LUN's partition as a local NTFS: qemu-storage-daemon logs in as the host and exports the partition as a file through
//! FUSE, ntfs-3g mounts it. No kernel initiator, no loop device.

use crate::initiator::Portal;
use crate::interrupt::Interrupt;
use crate::process::{Service, Tether, find_tool, run};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long an export or a mount may take to appear, and a tool to end.
const LIMIT: Duration = Duration::from_secs(30);
/// NTFS cluster size that mkfs.ntfs is told to use.
const CLUSTER_BYTES: u64 = 4096;

/// The programs needed, found once so that a missing one is named before anything starts.
pub(crate) struct Tools {
    storage_daemon: PathBuf,
    mkfs: PathBuf,
    ntfs_3g: PathBuf,
    ntfsfix: PathBuf,
    ntfscluster: PathBuf,
    umount: PathBuf,
    fusermount: PathBuf,
}

impl Tools {
    /// Finds the programs.
    ///
    /// # Errors
    /// All that are missing, with the Debian packages that hold them.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let mut missing = Vec::new();
        let mut tool = |name: &str, package: &str| {
            find_tool(name).unwrap_or_else(|| {
                missing.push(format!("{name} (package {package})"));
                PathBuf::new()
            })
        };
        let tools = Self {
            storage_daemon: tool(
                "qemu-storage-daemon",
                "qemu-system-common and qemu-block-extra",
            ),
            mkfs: tool("mkfs.ntfs", "ntfs-3g"),
            ntfs_3g: tool("ntfs-3g", "ntfs-3g"),
            ntfsfix: tool("ntfsfix", "ntfs-3g"),
            ntfscluster: tool("ntfscluster", "ntfs-3g"),
            umount: tool("umount", "mount"),
            fusermount: tool("fusermount3", "fuse3"),
        };
        if !Path::new("/dev/fuse").exists() {
            missing.push(
                "/dev/fuse (a kernel with FUSE, and a container that passes it through)".into(),
            );
        }
        match missing.is_empty() {
            true => Ok(tools),
            false => bail!(
                "missing: {}; `cargo xtask demo` installs the packages",
                missing.join(", ")
            ),
        }
    }

    /// Makes an NTFS file system that fills `file`, the export of a partition at `partition_offset` of its disk.
    pub(crate) fn format(
        &self,
        interrupt: &Interrupt,
        file: &Path,
        partition_offset: u64,
    ) -> anyhow::Result<()> {
        let start = (partition_offset / 512).to_string();
        let cluster = CLUSTER_BYTES.to_string();
        let path = file.to_string_lossy();
        #[rustfmt::skip]
        let arguments = [
            "--quick", "--force", "--quiet", "--label", "DEMO", "--sector-size", "512", "--cluster-size", &cluster,
            "--partition-start", &start, "--heads", "255", "--sectors-per-track", "63", &path,
        ];
        run(interrupt, LIMIT, &self.mkfs, arguments)?;
        Ok(())
    }

    /// `ntfsfix -n`: the check that changes nothing. `Err` holds its words.
    pub(crate) fn check(&self, interrupt: &Interrupt, file: &Path) -> anyhow::Result<String> {
        let file = file.to_string_lossy();
        let output = run(interrupt, LIMIT, &self.ntfsfix, ["-n", &file])?;
        // It exits with 0 for some of what it would repair, so its last sentence is looked for too.
        match output.contains("was processed successfully") {
            true => Ok(output),
            false => bail!("ntfsfix -n: {}", output.replace('\n', " | ")),
        }
    }

    /// Byte offset, within the partition, of the first data run of the file `name` in the root folder.
    pub(crate) fn data_offset(
        &self,
        interrupt: &Interrupt,
        file: &Path,
        name: &str,
    ) -> anyhow::Result<u64> {
        let path = file.to_string_lossy();
        let output = run(
            interrupt,
            LIMIT,
            &self.ntfscluster,
            ["--force", "--filename", name, &path],
        )?;
        first_run(&output).with_context(|| format!("ntfscluster names no run of {name}: {output}"))
    }
}

/// Finds the first run after "0x80 - non-resident" (the unnamed data attribute): VCN, LCN, length in clusters.
fn first_run(dump: &str) -> Option<u64> {
    dump.lines()
        .skip_while(|line| !line.contains("0x80 - non-resident"))
        .map(str::split_whitespace)
        .map(|words| words.map(str::parse).collect::<Result<Vec<u64>, _>>())
        .find_map(|numbers| match numbers.ok()?[..] {
            [0, cluster, _] => Some(cluster * CLUSTER_BYTES),
            _ => None,
        })
}

/// Which part of which LUN to export.
pub(crate) struct Partition<'a> {
    /// The session to open.
    pub(crate) portal: &'a Portal,
    /// Process id of the array: without it the export ends.
    pub(crate) array_pid: u32,
    /// LUN number.
    pub(crate) lun: u8,
    /// First byte.
    pub(crate) offset: u64,
    /// Length in bytes.
    pub(crate) length_bytes: u64,
}

/// A running export.
pub(crate) struct Export {
    tether: Option<Tether>,
    service: Service,
    file: PathBuf,
    fusermount: PathBuf,
    released: bool,
}

impl Export {
    /// Exports `partition` as the file `NAME.img` in `folder`.
    pub(crate) fn start(
        tools: &Tools,
        interrupt: &Interrupt,
        partition: &Partition<'_>,
        folder: &Path,
        name: &str,
    ) -> anyhow::Result<Self> {
        let file = folder.join(format!("{name}.img"));
        std::fs::write(&file, b"")?;
        let Portal {
            address,
            target,
            initiator,
        } = partition.portal;
        let mut command = Command::new(&tools.storage_daemon);
        command
            // Inherited, it would keep whoever reads the demo's output waiting after `--keep`.
            .stdout(Stdio::null())
            .arg("--blockdev")
            .arg(format!(
                "driver=iscsi,node-name=lun,transport=tcp,portal={address},target={target},lun={},\
                 initiator-name={initiator},cache.direct=off,discard=unmap",
                partition.lun
            ))
            .arg("--blockdev")
            .arg(format!(
                "driver=raw,node-name=partition,file=lun,offset={},size={},discard=unmap",
                partition.offset, partition.length_bytes
            ))
            .arg("--export")
            .arg(format!(
                "type=fuse,id=export,node-name=partition,mountpoint={},writable=on,growable=off",
                file.display()
            ));
        let log = folder.join(format!("{name}.qemu.log"));
        let mut export = Self {
            tether: None,
            service: Service::start("qemu-storage-daemon", command, &log)?,
            file,
            fusermount: tools.fusermount.clone(),
            released: false,
        };
        let (service, file) = (&mut export.service, &export.file);
        let mut alive = Ok(());
        let ready = interrupt.wait_until(LIMIT, || {
            alive = service.check_alive();
            alive.is_err()
                || std::fs::metadata(file).is_ok_and(|m| m.len() == partition.length_bytes)
        })?;
        alive?;
        if !ready {
            bail!("the export of LUN {} did not appear", partition.lun);
        }
        let pid = export.pid();
        export.tether = Some(Tether::tie(pid, partition.array_pid, interrupt));
        Ok(export)
    }

    /// The file that is the partition.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Process id of the exporting program.
    pub(crate) fn pid(&self) -> u32 {
        self.service.pid()
    }

    /// Lets the export live on after the rig.
    pub(crate) fn release(mut self) {
        self.service.release();
        self.released = true;
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        // Untied first: after the stop its process id is free for others.
        self.tether = None;
        self.service.stop();
        // qemu unmounts when it is asked to end; after a SIGKILL the dead mount would stay.
        if is_mounted(&self.file) {
            let _ = Command::new(&self.fusermount)
                .args(["-u", "-z"])
                .arg(&self.file)
                .status();
        }
    }
}

/// A mounted NTFS.
pub(crate) struct Mount {
    service: Service,
    folder: PathBuf,
    umount: PathBuf,
    released: bool,
}

impl Mount {
    /// Mounts the partition in `export` at `folder`.
    pub(crate) fn start(
        tools: &Tools,
        interrupt: &Interrupt,
        export: &Path,
        folder: &Path,
        read_only: bool,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut command = Command::new(&tools.ntfs_3g);
        let access = if read_only { "ro" } else { "rw" };
        // no_detach keeps the program our child, so that its end, and with it the last write, can be awaited.
        command
            .args(["-o", &format!("{access},no_detach,noatime")])
            .stdout(Stdio::null())
            .arg(export)
            .arg(folder);
        let log = folder.with_extension("ntfs-3g.log");
        let mut mount = Self {
            service: Service::start("ntfs-3g", command, &log)?,
            folder: folder.to_owned(),
            umount: tools.umount.clone(),
            released: false,
        };
        let (service, folder) = (&mut mount.service, &mount.folder);
        let mut alive = Ok(());
        let ready = interrupt.wait_until(LIMIT, || {
            alive = service.check_alive();
            alive.is_err() || is_mounted(folder)
        })?;
        alive?;
        match ready {
            true => Ok(mount),
            false => bail!("the NTFS at {} did not appear", folder.display()),
        }
    }

    /// Where it is mounted.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Unmounts and waits until everything is written.
    pub(crate) fn close(mut self) -> anyhow::Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        let folder = self.folder.to_string_lossy().into_owned();
        run(&Interrupt::default(), LIMIT, &self.umount, [&folder])?;
        match self.service.wait(LIMIT) {
            true => Ok(()),
            false => bail!("ntfs-3g did not end after the unmount of {folder}"),
        }
    }

    /// Lets the mount live on after the rig.
    pub(crate) fn release(mut self) {
        self.service.release();
        self.released = true;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        if is_mounted(&self.folder) && self.unmount().is_err() {
            // Somebody has a file open below; a lazy unmount lets the rest be tidied up.
            let _ = Command::new(&self.umount)
                .arg("--lazy")
                .arg(&self.folder)
                .status();
        }
        self.service.stop();
    }
}

/// Whether something is mounted exactly at `path` (a folder or, for FUSE exports, a file).
fn is_mounted(path: &Path) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    // Field 5 is the mount point; a scratch folder's name needs none of the octal escapes.
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == path.to_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_run_dump_of_ntfscluster_gives_the_offset() {
        let dump = "Dump: /rand.bin\n\t0x10 - resident\n\t0x80 - non-resident\n\t           VCN     LCN     Length\n\t             0  1831607     1221\n";

        assert_eq!(first_run(dump), Some(1_831_607 * 4096));
    }

    #[test]
    fn first_run_resident_file_has_none() {
        assert_eq!(first_run("\t0x80 - resident\n"), None);
    }

    #[test]
    fn is_mounted_proc_is_and_a_fresh_folder_is_not() {
        let folder = tempfile::tempdir().unwrap();

        // Not "/": in a chroot that is no mount point.
        assert!(is_mounted(Path::new("/proc")));
        assert!(!is_mounted(folder.path()));
    }
}
