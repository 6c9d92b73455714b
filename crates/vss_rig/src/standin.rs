// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stand-in for VSS on one Windows host: `vss_standin.exe`, started by the rig and connected to it.

use crate::agent::{self, Agent};
use crate::com::ComProvider;
use crate::events::EventFile;
use crate::interrupt::Interrupt;
use crate::process::Service;
use anyhow::{Context as _, bail, ensure};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use vss_standin::wire::{Answer, COOKIE_VARIABLE, ObjectId, Order, Server};

/// How long the stand-in may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(5);
/// No class of this id is registered.
const REGDB_E_CLASSNOTREG: u32 = 0x8004_0154;
/// The caller is no administrator, or VSS does not trust it.
const E_ACCESSDENIED: u32 = 0x8007_0005;

/// A running stand-in. Dropping it ends it.
pub(crate) struct StandIn {
    // Closed first, which ends the process.
    agent: Arc<Agent>,
    process: Service,
}

impl StandIn {
    /// Starts it by `command`, which names the program; what it prints goes to `log`.
    pub(crate) fn start(
        mut command: Command,
        log: &Path,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let cookie = Uuid::new_v4().simple().to_string();
        command
            .args(["agent", &agent::address(&listener)?])
            .env(COOKIE_VARIABLE, &cookie);
        let mut process = Service::start("the stand-in", command, log)?;
        let agent = Agent::accept(&listener, &cookie, &mut process, interrupt)?;
        Ok(Self {
            agent: Arc::new(agent),
            process,
        })
    }

    /// Activates a provider by its class. Its events are what `event_file` gets from here on.
    pub(crate) fn load(&self, class: Uuid, event_file: &Path) -> anyhow::Result<ComProvider> {
        let events = EventFile::from_here(event_file);
        let object = self.activate(class)?;
        Ok(ComProvider::new(Arc::clone(&self.agent), object, events))
    }

    fn activate(&self, class: Uuid) -> anyhow::Result<ObjectId> {
        let answer = self.order(Order::Activate {
            class,
            server: Server::Local,
        })?;
        match answer.code {
            0 => answer.object.context("the stand-in gave no object"),
            REGDB_E_CLASSNOTREG => bail!("COM knows no class {{{class}}}"),
            code => bail!("CoCreateInstance of {{{class}}} gave {code:#010x}"),
        }
    }

    /// What VSS knows of its providers, one text each: `{id} | name | type | version | {version id} | {class id}`.
    pub(crate) fn providers(&self) -> anyhow::Result<Vec<String>> {
        let answer = self.order(Order::Providers)?;
        ensure!(
            answer.code != E_ACCESSDENIED,
            "VSS does not tell its providers to this user: run the rig as an administrator"
        );
        ensure!(
            answer.code == 0,
            "QueryProviders gave {:#010x}",
            answer.code
        );
        Ok(answer.texts)
    }

    /// Has it do something.
    pub(crate) fn order(&self, order: Order) -> anyhow::Result<Answer> {
        self.agent.order(order)
    }

    /// Why an order could not be carried out, if one could not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.agent.failure()
    }

    /// Process id.
    #[cfg(target_os = "linux")]
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it end, and waits for a while until it has.
    pub(crate) fn close(&mut self) {
        self.agent.close();
        self.process.wait(GOODBYE);
    }
}
