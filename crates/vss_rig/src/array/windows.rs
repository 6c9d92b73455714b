// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{CREATOR, IMPORTER};
use crate::interrupt::Interrupt;
use crate::wine::{Hosting, WindowsParts, WineHost};
use anyhow::{Context as _, bail};
use array_api::Enrolment;

/// The Windows hosts of an array, provider installed and enrolled: on the creating host as a program that COM starts, on the
/// importing host as a service, so that both ways of hosting are in use.
pub struct Windows {
    creator: WineHost,
    importer: WineHost,
    parts: WindowsParts,
    creator_enrolment: Enrolment,
    interrupt: Interrupt,
}

impl Windows {
    /// Starts both hosts at once.
    pub(super) fn start(
        parts: &WindowsParts,
        [for_creator, for_importer]: [Enrolment; 2],
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let ready = |enrolment: &Enrolment, hosting| -> anyhow::Result<WineHost> {
            let host = WineHost::start(parts, interrupt)?;
            host.install(hosting)?;
            host.enroll(enrolment)?;
            Ok(host)
        };
        let (creator, importer) = std::thread::scope(|scope| {
            let importer = scope.spawn(|| ready(&for_importer, Hosting::Service));
            let creator = ready(&for_creator, Hosting::LocalServer);
            (creator, importer.join())
        });
        let Ok(importer) = importer else {
            bail!("the thread that starts the importing host panicked");
        };
        Ok(Self {
            creator: creator.context(CREATOR)?,
            importer: importer.context(IMPORTER)?,
            parts: parts.clone(),
            creator_enrolment: for_creator,
            interrupt: interrupt.clone(),
        })
    }

    /// One of the two.
    pub fn host(&self, name: &str) -> anyhow::Result<&WineHost> {
        match name {
            CREATOR => Ok(&self.creator),
            IMPORTER => Ok(&self.importer),
            _ => bail!("no host {name}"),
        }
    }

    /// Why an order to one of the two could not be carried out.
    pub(crate) fn failure(&self) -> Option<String> {
        let of = |name: &str, host: &WineHost| host.failure().map(|why| format!("{name}: {why}"));
        of(CREATOR, &self.creator).or_else(|| of(IMPORTER, &self.importer))
    }

    /// Another host, with nothing installed, for what changes a host for good.
    pub fn fresh_host(&self) -> anyhow::Result<WineHost> {
        WineHost::start(&self.parts, &self.interrupt)
    }

    /// What lets a provider speak for the creating host.
    pub fn creator_enrolment(&self) -> &Enrolment {
        &self.creator_enrolment
    }

    /// Ends both hosts, and looks that nothing is left of them.
    pub fn end(self) -> anyhow::Result<()> {
        self.creator.end().context(CREATOR)?;
        self.importer.end().context(IMPORTER)
    }
}
