// SPDX-License-Identifier: MIT OR Apache-2.0
//! What administrators do: LUNs, hosts, groups, and a look at everything.

use super::refusal::refuse;
use super::{Lun, Service, State, new_identity, unix_now};
use crate::admin::{
    AdminAnswer, AdminRequest, GroupView, HostAdded, HostView, LunView, SessionView, SetView,
    Status,
};
use crate::catalogue::{Catalogue, Host, hash_text};
use crate::numbers::Numbers;
use crate::record::Record;
use crate::sets::SnapshotSet;
use array_api::{ArrayError, ArrayErrorKind, Enrolment, LunId, SetId, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// iSCSI names have at most 223 bytes (RFC 7143 4.2.7.1).
const IQN_BYTES_MAX: usize = 223;

impl Service {
    /// Carries out one request of the admin socket.
    pub fn admin(&self, request: AdminRequest) -> Result<AdminAnswer, ArrayError> {
        match request {
            AdminRequest::LunCreate {
                name,
                size_bytes,
                hosts,
            } => self.lun_create(&name, size_bytes, &hosts).map(lun_answer),
            AdminRequest::LunList => Ok(AdminAnswer::Luns(self.lun_list())),
            AdminRequest::LunShow { lun } => self.lun_show(&lun).map(lun_answer),
            AdminRequest::LunDelete { lun } => self.lun_delete(&lun).map(lun_answer),
            AdminRequest::LunMap { lun, host } => self.lun_map(&lun, &host, true).map(lun_answer),
            AdminRequest::LunUnmap { lun, host } => {
                self.lun_map(&lun, &host, false).map(lun_answer)
            }
            AdminRequest::HostAdd {
                name,
                iqns,
                allow_resync,
                address,
            } => self
                .host_add(&name, &iqns, allow_resync, address.as_deref())
                .map(AdminAnswer::HostAdded),
            AdminRequest::HostList => Ok(AdminAnswer::Hosts(self.host_list())),
            AdminRequest::HostRemove { name } => self.host_remove(&name).map(AdminAnswer::Host),
            AdminRequest::GroupCreate { name } => self.group_create(&name).map(AdminAnswer::Group),
            AdminRequest::GroupAdd { group, host } => self
                .group_change(&group, Some((&host, true)))
                .map(AdminAnswer::Group),
            AdminRequest::GroupRemove { group, host } => {
                let change = host.as_deref().map(|host| (host, false));
                self.group_change(&group, change).map(AdminAnswer::Group)
            }
            AdminRequest::GroupList => Ok(AdminAnswer::Groups(self.group_list())),
            AdminRequest::SetList => Ok(AdminAnswer::Sets(self.set_list())),
            AdminRequest::SetShow { set } => self.set_show(set).map(AdminAnswer::Set),
            AdminRequest::Orphans => Ok(AdminAnswer::Orphans(self.orphans_where(|_| true))),
            AdminRequest::Status => Ok(AdminAnswer::Status(Box::new(self.status()?))),
        }
    }

    fn lun_create(
        &self,
        name: &str,
        size_bytes: u64,
        hosts: &[String],
    ) -> Result<LunView, ArrayError> {
        check_name("LUN", name)?;
        if name.parse::<LunId>().is_ok() {
            return refuse(
                ArrayErrorKind::InvalidRequest,
                format!("{name:?} could be taken for a LUN id"),
                "choose a name that is not 32 hexadecimal digits",
            );
        }
        let mut state = self.lock();
        if state.luns.values().any(|lun| lun.record.name == name) {
            return refuse(
                ArrayErrorKind::AlreadyExists,
                format!("there is a LUN named {name:?} already"),
                "choose another name, or delete that LUN first",
            );
        }
        let id = self.fresh_ids(&state, 1)?[0];
        let mut record = Record::new(
            name.to_owned(),
            new_identity(id, &self.config),
            unix_now(),
            None,
        );
        let hosts: BTreeSet<&String> = hosts.iter().collect();
        for host in &hosts {
            check_host(&state, host)?;
            let Some(number) = state.numbers_of(host).peek(1) else {
                return refuse(
                    ArrayErrorKind::LimitReached,
                    format!("host {host} has no LUN number left"),
                    "unmap or delete LUNs of that host: it can have 254",
                );
            };
            record.map.insert((*host).clone(), number[0]);
        }
        let map = record.map.clone();
        // The mapping is part of the record, so that a crash leaves the LUN mapped as asked or not there.
        self.create(&mut state, vec![(id, size_bytes, record)], Vec::new())?;
        for (host, number) in map {
            self.take_number(&mut state, &host, number);
            state.show(&self.exports, &host);
        }
        tracing::info!(lun = %id, name, size_bytes, "created");
        Ok(self.lun_view(id, &state.luns[&id]))
    }

    fn lun_list(&self) -> Vec<LunView> {
        let state = self.lock();
        let own: BTreeMap<u128, u64> = self
            .store
            .luns()
            .into_iter()
            .map(|lun| (lun.id, lun.own_bytes_max))
            .collect();
        let mut views: Vec<LunView> = state
            .luns
            .iter()
            .map(|(id, lun)| view(*id, lun, own.get(&id.0).copied().unwrap_or(0)))
            .collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    fn lun_show(&self, text: &str) -> Result<LunView, ArrayError> {
        let state = self.lock();
        let id = find_lun(&state, text)?;
        Ok(self.lun_view(id, &state.luns[&id]))
    }

    fn lun_delete(&self, text: &str) -> Result<LunView, ArrayError> {
        let mut state = self.lock();
        let id = find_lun(&state, text)?;
        let lun = &state.luns[&id];
        check_not_untold(id, &lun.record)?;
        if !lun.record.map.is_empty() {
            let hosts: Vec<&str> = lun.record.map.keys().map(String::as_str).collect();
            return refuse(
                ArrayErrorKind::WrongState,
                format!("LUN {text} is mapped to {}", hosts.join(", ")),
                "unmap it first with `shadowlun lun unmap`",
            );
        }
        state.check_idle(id)?;
        let before = self.lun_view(id, lun);
        self.remove(&mut state, &[id])?;
        tracing::info!(lun = %id, name = before.name, "deleted by an administrator");
        Ok(before)
    }

    fn lun_map(&self, text: &str, host: &str, mapped: bool) -> Result<LunView, ArrayError> {
        let mut state = self.lock();
        let id = find_lun(&state, text)?;
        check_host(&state, host)?;
        check_not_untold(id, &state.luns[&id].record)?;
        let luns = BTreeSet::from([id]);
        if mapped {
            self.map_luns(&mut state, host, &luns)?;
        } else {
            state.check_idle(id)?;
            self.unmap_luns(&mut state, host, &luns)?;
        }
        Ok(self.lun_view(id, &state.luns[&id]))
    }

    fn host_add(
        &self,
        name: &str,
        iqns: &BTreeSet<String>,
        allow_resync: bool,
        address: Option<&str>,
    ) -> Result<HostAdded, ArrayError> {
        check_name("host", name)?;
        let iqns: BTreeSet<String> = iqns
            .iter()
            .map(|iqn| iqn.trim().to_ascii_lowercase())
            .collect();
        let mut state = self.lock();
        check_iqns(&state.catalogue, &iqns)?;
        if state.catalogue.hosts.contains_key(name) {
            return refuse(
                ArrayErrorKind::AlreadyExists,
                format!("there is a host named {name:?} already"),
                "choose another name, or remove that host first",
            );
        }
        let token = Token::random().or_else(|error| {
            refuse(
                ArrayErrorKind::Internal,
                format!("the system gives no random numbers: {error}"),
                "look at the array's system",
            )
        })?;
        let enrolment = self.enrolment(address, token.clone())?;
        let mut next = state.catalogue.clone();
        let host = Host {
            iqns,
            token_sha256: hash_text(&token),
            allow_resync,
            created_unix_s: unix_now(),
        };
        next.hosts.insert(name.to_owned(), host);
        self.set_catalogue(&mut state, next)?;
        state.numbers.insert(name.to_owned(), Numbers::new([]));
        tracing::info!(host = name, "added");
        Ok(HostAdded {
            host: host_view(&state, name),
            enrolment: enrolment.to_string(),
        })
    }

    fn enrolment(&self, address: Option<&str>, token: Token) -> Result<Enrolment, ArrayError> {
        let endpoints = self.endpoints.get().ok_or_else(|| {
            ArrayError::new(
                ArrayErrorKind::Internal,
                "the daemon does not listen yet",
                "try again in a moment",
            )
        })?;
        let stated = address.or(self.config.api_advertise.as_deref());
        let address = enrolment_address(stated, endpoints.api_address)?;
        Enrolment::new(&address, endpoints.key_pin, token).or_else(|_| {
            refuse(
                ArrayErrorKind::InvalidRequest,
                format!("{address:?} is no address for hosts"),
                "give it as HOST:PORT",
            )
        })
    }

    fn host_list(&self) -> Vec<HostView> {
        let state = self.lock();
        let names = state.catalogue.hosts.keys();
        names.map(|name| host_view(&state, name)).collect()
    }

    fn host_remove(&self, name: &str) -> Result<HostView, ArrayError> {
        let mut state = self.lock();
        check_host(&state, name)?;
        let before = host_view(&state, name);
        if !before.luns.is_empty() {
            return refuse(
                ArrayErrorKind::WrongState,
                format!("host {name} has {} LUNs mapped", before.luns.len()),
                "unmap them first with `shadowlun lun unmap`",
            );
        }
        let mut next = state.catalogue.clone();
        next.hosts.remove(name);
        for members in next.groups.values_mut() {
            members.remove(name);
        }
        self.set_catalogue(&mut state, next)?;
        state.numbers.remove(name);
        drop(state);
        if let Some(target) = &*self.lock_target() {
            for iqn in &before.iqns {
                target.drop_sessions(iqn);
            }
        }
        tracing::info!(host = name, "removed");
        Ok(before)
    }

    fn group_create(&self, name: &str) -> Result<GroupView, ArrayError> {
        check_name("group", name)?;
        let mut state = self.lock();
        if state.catalogue.groups.contains_key(name) {
            return refuse(
                ArrayErrorKind::AlreadyExists,
                format!("there is a host group named {name:?} already"),
                "choose another name",
            );
        }
        let mut next = state.catalogue.clone();
        next.groups.insert(name.to_owned(), BTreeSet::new());
        self.set_catalogue(&mut state, next)?;
        Ok(group_view(&state.catalogue, name))
    }

    /// Adds or removes a member, or without one removes the group.
    fn group_change(
        &self,
        name: &str,
        change: Option<(&str, bool)>,
    ) -> Result<GroupView, ArrayError> {
        let mut state = self.lock();
        let mut next = state.catalogue.clone();
        let Some(members) = next.groups.get_mut(name) else {
            return refuse(
                ArrayErrorKind::InvalidRequest,
                format!("there is no host group named {name:?}"),
                "look at `shadowlun host group list`",
            );
        };
        if let Some((host, present)) = change {
            check_host(&state, host)?;
            if present {
                members.insert(host.to_owned());
            } else {
                members.remove(host);
            }
            self.set_catalogue(&mut state, next)?;
            return Ok(group_view(&state.catalogue, name));
        }
        let before = group_view(&state.catalogue, name);
        next.groups.remove(name);
        self.set_catalogue(&mut state, next)?;
        Ok(before)
    }

    fn group_list(&self) -> Vec<GroupView> {
        let state = self.lock();
        let names = state.catalogue.groups.keys();
        names
            .map(|name| group_view(&state.catalogue, name))
            .collect()
    }

    fn set_list(&self) -> Vec<SetView> {
        let state = self.lock();
        let sets = state.sets.iter();
        sets.map(|(id, set)| self.set_view(&state, *id, set))
            .collect()
    }

    fn set_show(&self, id: SetId) -> Result<SetView, ArrayError> {
        let state = self.lock();
        match state.sets.get(&id) {
            Some(set) => Ok(self.set_view(&state, id, set)),
            None => refuse(
                ArrayErrorKind::UnknownSet,
                format!("the array remembers no set {id}"),
                "look at `shadowlun set list`",
            ),
        }
    }

    fn set_view(&self, state: &State, id: SetId, set: &SnapshotSet) -> SetView {
        let copies = set.targets.values();
        SetView {
            set: id,
            host: set.host.clone(),
            phase: set.phase.name().to_owned(),
            snapshots: set.snapshots.clone(),
            copies: copies
                .filter_map(|copy| Some(self.lun_view(*copy, state.luns.get(copy)?)))
                .collect(),
        }
    }

    fn status(&self) -> Result<Status, ArrayError> {
        let sessions = self.sessions();
        let space = self.space()?;
        let state = self.lock();
        let endpoints = self.endpoints.get();
        let endpoints = endpoints.expect("the admin socket opens after the others");
        let iscsi_addresses = self.lock_target().as_ref().map(iscsi::Target::local_addrs);
        Ok(Status {
            name: self.config.name.clone(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state_dir: self.config.state_dir.clone(),
            api_address: endpoints.api_address,
            key_pin: endpoints.key_pin.to_string(),
            iscsi_addresses: iscsi_addresses
                .map(|list| list.to_vec())
                .unwrap_or_default(),
            target_iqn: self.config.target_iqn.clone(),
            capacity_bytes: space.capacity_bytes,
            free_bytes: space.free_bytes,
            space: space.level,
            warn_free_bytes: self.warn_free_bytes,
            free_floor_bytes: self.free_floor_bytes,
            luns: state.luns.len(),
            copies: state
                .luns
                .values()
                .filter(|lun| lun.record.copy.is_some())
                .count(),
            hosts: state.catalogue.hosts.len(),
            sets: state.sets.len(),
            sessions: sessions
                .into_iter()
                .map(|(initiator, peer)| SessionView {
                    host: state.catalogue.host_of_iqn(&initiator).map(str::to_owned),
                    initiator,
                    peer,
                })
                .collect(),
            refuses_writes: self.store.poisoned(),
        })
    }

    fn sessions(&self) -> Vec<(String, String)> {
        let target = self.lock_target();
        let sessions = target.as_ref().map(iscsi::Target::sessions);
        sessions
            .unwrap_or_default()
            .into_iter()
            .map(|session| (session.initiator, session.peer.to_string()))
            .collect()
    }

    fn lun_view(&self, id: LunId, lun: &Lun) -> LunView {
        let own = self
            .store
            .lun(id.0)
            .map_or(0, |stored| stored.own_bytes_max);
        view(id, lun, own)
    }

    /// Saves the next catalogue, then makes it the one in force.
    fn set_catalogue(&self, state: &mut State, next: Catalogue) -> Result<(), ArrayError> {
        next.save(&self.config.state_dir).map_err(|error| {
            ArrayError::new(
                ArrayErrorKind::Internal,
                error.to_string(),
                "nothing was changed; try again when that is repaired",
            )
        })?;
        self.exports.set_hosts(&next);
        state.catalogue = next;
        Ok(())
    }
}

/// What a host is told to connect to.
pub(super) fn enrolment_address(
    stated: Option<&str>,
    listening: SocketAddr,
) -> Result<String, ArrayError> {
    match stated {
        Some(address) => Ok(address.to_owned()),
        None if listening.ip().is_unspecified() => refuse(
            ArrayErrorKind::InvalidRequest,
            "the array listens on all its addresses, and the enrolment line needs one of them",
            "give it with --address HOST:PORT, or for all hosts with the setting api.advertise",
        ),
        None => Ok(listening.to_string()),
    }
}

fn lun_answer(lun: LunView) -> AdminAnswer {
    AdminAnswer::Lun(Box::new(lun))
}

fn view(id: LunId, lun: &Lun, own_bytes_max: u64) -> LunView {
    LunView {
        id,
        name: lun.record.name.clone(),
        size_bytes: lun.size_bytes,
        own_bytes_max,
        created_unix_s: lun.record.created_unix_s,
        copy: lun.record.copy.clone(),
        broken: lun.record.broken,
        map: lun.record.map.clone(),
        identity: lun.record.identity.clone(),
    }
}

fn host_view(state: &State, name: &str) -> HostView {
    let host = &state.catalogue.hosts[name];
    let groups = state.catalogue.groups.iter();
    let luns = state.luns.iter();
    HostView {
        name: name.to_owned(),
        iqns: host.iqns.clone(),
        allow_resync: host.allow_resync,
        groups: groups
            .filter(|(_, members)| members.contains(name))
            .map(|(group, _)| group.clone())
            .collect(),
        luns: luns
            .filter_map(|(id, lun)| Some((*lun.record.map.get(name)?, *id)))
            .collect(),
        created_unix_s: host.created_unix_s,
    }
}

fn group_view(catalogue: &Catalogue, name: &str) -> GroupView {
    GroupView {
        name: name.to_owned(),
        hosts: catalogue.groups[name].clone(),
    }
}

/// By id, or by name.
fn find_lun(state: &State, text: &str) -> Result<LunId, ArrayError> {
    let by_id = text.parse().ok().filter(|id| state.luns.contains_key(id));
    let by_name = || {
        let mut luns = state.luns.iter();
        luns.find(|(_, lun)| lun.record.name == text)
            .map(|(id, _)| *id)
    };
    by_id.or_else(by_name).ok_or_else(|| {
        ArrayError::new(
            ArrayErrorKind::UnknownLun,
            format!("there is no LUN with the name or id {text:?}"),
            "look at `shadowlun lun list`",
        )
    })
}

fn check_host(state: &State, name: &str) -> Result<(), ArrayError> {
    if state.catalogue.hosts.contains_key(name) {
        return Ok(());
    }
    refuse(
        ArrayErrorKind::InvalidRequest,
        format!("there is no host named {name:?}"),
        "look at `shadowlun host list`",
    )
}

fn check_not_untold(id: LunId, record: &Record) -> Result<(), ArrayError> {
    if !record.untold() {
        return Ok(());
    }
    refuse(
        ArrayErrorKind::WrongState,
        format!("copy {id} belongs to a set in progress"),
        "wait: it is finished, or discarded when its host starts another set or stays silent",
    )
}

/// Names are typed in shells and shown in tables.
fn check_name(what: &str, name: &str) -> Result<(), ArrayError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= 64 && name.chars().all(fits) {
        return Ok(());
    }
    refuse(
        ArrayErrorKind::InvalidRequest,
        format!("{name:?} cannot be the name of a {what}"),
        "use 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first",
    )
}

fn check_iqns(catalogue: &Catalogue, iqns: &BTreeSet<String>) -> Result<(), ArrayError> {
    if iqns.is_empty() {
        return refuse(
            ArrayErrorKind::InvalidRequest,
            "a host needs at least one initiator name",
            "give it with --iqn; on Windows `iscsicli` shows it",
        );
    }
    for iqn in iqns {
        let known_form = ["iqn.", "eui.", "naa."]
            .iter()
            .any(|form| iqn.starts_with(form));
        let clean = iqn.len() <= IQN_BYTES_MAX && iqn.bytes().all(|c| c.is_ascii_graphic());
        if !known_form || !clean {
            return refuse(
                ArrayErrorKind::InvalidRequest,
                format!("{iqn:?} is no iSCSI initiator name"),
                "it begins with iqn., eui. or naa. and has at most 223 characters (RFC 7143 4.2.7)",
            );
        }
        if let Some(owner) = catalogue.host_of_iqn(iqn) {
            return refuse(
                ArrayErrorKind::AlreadyExists,
                format!("initiator {iqn} belongs to host {owner:?} already"),
                "an initiator belongs to one host",
            );
        }
    }
    Ok(())
}
