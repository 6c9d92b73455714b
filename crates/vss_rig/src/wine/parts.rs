// SPDX-License-Identifier: MIT OR Apache-2.0
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

/// The Windows programs that a [`super::WineHost`] is made of, as `cargo xtask build` leaves them in one folder.
#[derive(Clone, Debug)]
pub struct WindowsParts {
    folder: PathBuf,
}

impl WindowsParts {
    /// What the rig brings along: the same for each host.
    pub(super) const IN_TEMPLATE: [&str; 3] =
        ["vss_standin.exe", "vss_ps.dll", "bcryptprimitives.dll"];
    /// The product.
    pub(super) const PROVIDER: [&str; 2] = ["shadowlun-provider.exe", "shadowlun-messages.dll"];

    /// Finds them in `folder`, or in the folder `windows` beside the running program (as packages have it) or beside its folder.
    ///
    /// # Errors
    /// With the command that makes them, when one is missing.
    pub fn find(folder: Option<&Path>) -> anyhow::Result<Self> {
        Self::find_these(folder, &[&Self::IN_TEMPLATE[..], &Self::PROVIDER].concat())
    }

    /// As [`Self::find`], without the product: for providers that others bring.
    ///
    /// # Errors
    /// With the command that makes them, when one is missing.
    pub fn find_without_provider(folder: Option<&Path>) -> anyhow::Result<Self> {
        Self::find_these(folder, &Self::IN_TEMPLATE)
    }

    fn find_these(folder: Option<&Path>, names: &[&str]) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(folder) => folder.to_owned(),
            None => {
                let programs = crate::array::beside(&std::env::current_exe()?);
                let packaged = programs.join("windows");
                match packaged.is_dir() {
                    true => packaged,
                    false => programs.parent().unwrap_or(&programs).join("windows"),
                }
            }
        };
        for name in names {
            let file = folder.join(name);
            if !file.is_file() {
                bail!("{} is missing; run `cargo xtask build`", file.display());
            }
        }
        let folder = folder
            .canonicalize()
            .with_context(|| folder.display().to_string())?;
        Ok(Self { folder })
    }

    /// Where prefixes lie: beside the parts, so on the same file system each time.
    pub(super) fn store(&self) -> PathBuf {
        let beside = self.folder.parent().unwrap_or(&self.folder);
        beside.join("wine")
    }

    /// One of them.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
