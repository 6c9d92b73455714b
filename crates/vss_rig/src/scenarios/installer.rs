// SPDX-License-Identifier: MIT OR Apache-2.0
//! Installing and removing the provider (specification 2.3, 10.1), each on a host of its own.

use super::stage::expect;
use super::{Scenario, Stage};
use crate::CommandOutput;
use crate::demo::{CLASS_ID, PROVIDER_ID};
use crate::host::ProviderHost as _;
use crate::wine::{Hosting, WineHost};
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeSet;
use uuid::Uuid;
use vss_provider::Hresult;
use vss_standin::providers::{NEXT_REGISTER_ERROR, PROVIDER_IN_USE, RIG_KEY};
use vss_standin::wire::Order;

/// VSS_PROV_HARDWARE.
const HARDWARE: &str = "3";

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "T-001",
        title: "install registers one provider, uninstall leaves nothing in the registry",
        run: t001,
    },
    Scenario {
        id: "T-002",
        title: "install over an installation ends with one entry and one way of hosting",
        run: t002,
    },
    Scenario {
        id: "T-003",
        title: "an install that VSS refuses leaves nothing behind",
        run: t003,
    },
    Scenario {
        id: "T-005",
        title: "uninstall while a set is in progress is refused, the provider still works",
        run: t005,
    },
    Scenario {
        id: "T-006",
        title: "uninstall where nothing is registered succeeds",
        run: t006,
    },
];

fn on_fresh_host(
    stage: &Stage<'_>,
    judge: impl FnOnce(&WineHost) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let host = stage.windows()?.fresh_host()?;
    judge(&host)?;
    host.end()
}

/// The registry without what the rig itself writes there to steer the coordinator.
fn registry(host: &WineHost) -> anyhow::Result<BTreeSet<String>> {
    let mut lines = host.registry()?;
    let (_, rig_key) = RIG_KEY
        .rsplit_once('\\')
        .context("a key without a parent")?;
    lines.retain(|line| !line.contains(rig_key));
    ensure!(!lines.is_empty(), "the registry's dump is empty");
    Ok(lines)
}

fn expect_registry(when: &str, host: &WineHost, wanted: &BTreeSet<String>) -> anyhow::Result<()> {
    let found = registry(host)?;
    let more: Vec<_> = found.difference(wanted).collect();
    let less: Vec<_> = wanted.difference(&found).collect();
    ensure!(
        more.is_empty() && less.is_empty(),
        "{when} the registry has more: {more:#?}, and less: {less:#?}"
    );
    Ok(())
}

fn expect_provider_count(host: &WineHost, wanted: usize) -> anyhow::Result<()> {
    let providers = host.providers()?;
    ensure!(
        providers.len() == wanted,
        "VSS knows {} providers, not {wanted}: {providers:?}",
        providers.len()
    );
    Ok(())
}

/// The only entry is ours and whole (REG-15, REG-16, REG-23).
fn expect_our_entry(host: &WineHost) -> anyhow::Result<()> {
    let providers = host.providers()?;
    let [entry] = &providers[..] else {
        bail!("VSS knows not one provider but {providers:?}");
    };
    let fields: Vec<_> = entry.split(" | ").collect();
    let [id, name, kind, version, version_id, class] = fields[..] else {
        bail!("the entry has not six fields: {entry}");
    };
    ensure!(
        Uuid::parse_str(id) == Uuid::parse_str(PROVIDER_ID)
            && Uuid::parse_str(class) == Uuid::parse_str(CLASS_ID)
            && Uuid::parse_str(version_id).is_ok_and(|id| !id.is_nil())
            && kind == HARDWARE
            && !name.is_empty()
            && !version.is_empty(),
        "VSS knows {entry}"
    );
    Ok(())
}

/// A refusal says what failed and what to do.
fn expect_refusal(what: &str, output: &CommandOutput) -> anyhow::Result<()> {
    ensure!(
        output.code == 1 && !output.text.trim().is_empty(),
        "{what} ended with {}: {}",
        output.code,
        output.text
    );
    Ok(())
}

fn set_rig(host: &WineHost, name: &str, value: u32) -> anyhow::Result<()> {
    let name = name.to_owned();
    host.order(Order::SetRig { name, value }).map(|_| ())
}

fn t001(stage: &Stage<'_>) -> anyhow::Result<()> {
    on_fresh_host(stage, |host| {
        let before = registry(host)?;
        for hosting in [Hosting::LocalServer, Hosting::Service] {
            host.install(hosting)?;
            expect_our_entry(host)?;
            host.load()
                .with_context(|| format!("installed as {hosting:?}"))?;
            host.uninstall()?;
            expect_provider_count(host, 0)?;
            expect_registry(&format!("after {hosting:?} was uninstalled"), host, &before)?;
        }
        Ok(())
    })
}

fn t002(stage: &Stage<'_>) -> anyhow::Result<()> {
    on_fresh_host(stage, |host| {
        host.install(Hosting::LocalServer)?;
        let local = registry(host)?;
        host.install(Hosting::Service)?;
        expect_provider_count(host, 1)?;
        ensure!(
            registry(host)? != local,
            "the way of hosting did not change"
        );
        host.install(Hosting::LocalServer)?;
        expect_provider_count(host, 1)?;
        expect_registry("after service and local server", host, &local)?;
        host.install(Hosting::LocalServer)?;
        expect_provider_count(host, 1)?;
        expect_registry("after the same install again", host, &local)
    })
}

fn t003(stage: &Stage<'_>) -> anyhow::Result<()> {
    on_fresh_host(stage, |host| {
        let before = registry(host)?;
        // Not an administrator; a client edition of Windows.
        for code in [Hresult::E_ACCESSDENIED, Hresult::E_INVALIDARG] {
            set_rig(host, NEXT_REGISTER_ERROR, code.0)?;
            let output = host.provider_command(&["install"], None)?;
            expect_refusal(&format!("install, refused with {code}"), &output)?;
            // REG-19: by then everything else was there, and had to be undone.
            ensure!(
                output.text.contains("removed again"),
                "the installer had nothing to undo: {}",
                output.text
            );
            expect_provider_count(host, 0)?;
            expect_registry(&format!("after {code}"), host, &before)?;
        }
        host.install(Hosting::Service)
    })
}

fn t005(stage: &Stage<'_>) -> anyhow::Result<()> {
    on_fresh_host(stage, |host| {
        host.install(Hosting::LocalServer)?;
        let installed = registry(host)?;
        set_rig(host, PROVIDER_IN_USE, 1)?;
        let output = host.provider_command(&["uninstall"], None)?;
        expect_refusal("uninstall during a set", &output)?;
        expect_registry("after the refusal", host, &installed)?;
        expect_provider_count(host, 1)?;
        expect("OnLoad", host.load()?.on_load(), Hresult::S_OK)?;
        set_rig(host, PROVIDER_IN_USE, 0)?;
        host.uninstall()
    })
}

fn t006(stage: &Stage<'_>) -> anyhow::Result<()> {
    on_fresh_host(stage, |host| {
        let before = registry(host)?;
        host.uninstall()?;
        expect_registry("after uninstalling nothing", host, &before)
    })
}
