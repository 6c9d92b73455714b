// SPDX-License-Identifier: MIT OR Apache-2.0
use anyhow::bail;
use std::path::{Path, PathBuf};

/// The Windows programs that a [`super::WineHost`] is made of, as `cargo xtask build-windows` leaves them in one folder.
#[derive(Clone, Debug)]
pub struct WindowsParts {
    folder: PathBuf,
}

/// Every file that has to be there.
const FILES: [&str; 5] = [
    "shadowlun-provider.exe",
    "shadowlun-messages.dll",
    "vss_standin.exe",
    "vss_ps.dll",
    "bcryptprimitives.dll",
];

impl WindowsParts {
    /// Finds them in `folder`, or in the folder `windows` beside the folder of the running program.
    ///
    /// # Errors
    /// With the command that makes them, when one is missing.
    pub fn find(folder: Option<&Path>) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => {
                let programs = crate::array::beside(&std::env::current_exe()?);
                programs.parent().unwrap_or(&programs).join("windows")
            }
        };
        for name in FILES {
            let file = folder.join(name);
            if !file.is_file() {
                bail!(
                    "{} is missing; run `cargo xtask setup` once, then `cargo xtask build-windows`",
                    file.display()
                );
            }
        }
        Ok(Self { folder })
    }

    /// One of them.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
