// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may change the program's own files: Local System runs them, so whoever may write there is Local System (SEC-7).

/// An account that may replace a file of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The folder or file.
    pub path: String,
    /// The account's SID.
    pub sid: String,
    /// Whether ordinary users belong to it.
    pub is_ordinary: bool,
}

/// What decides about it, of a folder's or a file's security descriptor.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// The owner's SID.
    pub owner: String,
    /// The entries of the list; `None` for no list, which lets everybody do everything.
    pub entries: Option<Vec<Entry>>,
}

/// An entry of an access list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// It allows; the others forbid.
    pub allows: bool,
    /// It is there for what is made below only.
    pub inherit_only: bool,
    /// The access mask.
    pub mask: u32,
    /// Whom it is about.
    pub sid: String,
}

/// Local System, Administrators, TrustedInstaller.
const TRUSTED: [&str; 3] = [
    "S-1-5-18",
    "S-1-5-32-544",
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
];
/// Everyone, Local, Console Logon, Network, Batch, Interactive, Service, Anonymous, Authenticated Users, Terminal Server Users, Remote
/// Interactive, This Organization, Users, Guests, Power Users, Pre-Windows 2000 Compatible Access, Remote Desktop Users.
const ORDINARY: [&str; 17] = [
    "S-1-1-0",
    "S-1-2-0",
    "S-1-2-1",
    "S-1-5-2",
    "S-1-5-3",
    "S-1-5-4",
    "S-1-5-6",
    "S-1-5-7",
    "S-1-5-11",
    "S-1-5-13",
    "S-1-5-14",
    "S-1-5-15",
    "S-1-5-32-545",
    "S-1-5-32-546",
    "S-1-5-32-547",
    "S-1-5-32-554",
    "S-1-5-32-555",
];
/// What the SIDs of a domain's accounts begin with, and how those of Domain Users, Domain Guests and Domain Computers end.
const DOMAIN: &str = "S-1-5-21-";
const ORDINARY_OF_DOMAIN: [&str; 3] = ["-513", "-514", "-515"];
/// GENERIC_ALL, GENERIC_WRITE, WRITE_OWNER, WRITE_DAC, DELETE, FILE_DELETE_CHILD, FILE_APPEND_DATA, FILE_WRITE_DATA.
const WRITES: u32 = 0x500D_0046;

/// Who may change `path`, besides administrators and the account `own` that looks. What an entry forbids is not counted: it is
/// no reason to rely on a list that allows too much.
pub fn exposed(path: &str, rights: &Rights, own: &str) -> Vec<Exposed> {
    let everyone = Entry {
        allows: true,
        inherit_only: false,
        mask: WRITES,
        sid: ORDINARY[0].to_owned(),
    };
    let entries = rights.entries.clone().unwrap_or_else(|| vec![everyone]);
    let writers = entries
        .into_iter()
        .filter(|entry| entry.allows && !entry.inherit_only && entry.mask & WRITES != 0)
        .map(|entry| entry.sid);
    // An owner may always change the list.
    let mut sids: Vec<String> = std::iter::once(rights.owner.clone())
        .chain(writers)
        .filter(|sid| sid != own && !TRUSTED.contains(&sid.as_str()))
        .collect();
    sids.sort_unstable();
    sids.dedup();
    sids.into_iter()
        .map(|sid| Exposed {
            path: path.to_owned(),
            is_ordinary: is_ordinary(&sid),
            sid,
        })
        .collect()
}

fn is_ordinary(sid: &str) -> bool {
    let of_domain = |end: &&str| sid.ends_with(*end);
    ORDINARY.contains(&sid) || sid.starts_with(DOMAIN) && ORDINARY_OF_DOMAIN.iter().any(of_domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "S-1-5-21-1-2-3-500";

    fn entry(sid: &str, mask: u32) -> Entry {
        Entry {
            allows: true,
            inherit_only: false,
            mask,
            sid: sid.to_owned(),
        }
    }

    fn sids(entries: Option<Vec<Entry>>) -> Vec<(String, bool)> {
        let rights = Rights {
            owner: TRUSTED[1].to_owned(),
            entries,
        };
        let found = exposed("x", &rights, OWN);
        found.into_iter().map(|e| (e.sid, e.is_ordinary)).collect()
    }

    /// SEC-7: the list of C:\Program Files, and what is written for the account that installs.
    #[test]
    fn folder_that_users_may_only_read_is_not_exposed() {
        let read_and_execute = 0x0012_00A9;
        let inherited = Entry {
            inherit_only: true,
            ..entry("S-1-3-0", 0x1000_0000)
        };
        let entries = vec![
            entry(TRUSTED[2], 0x001F_01FF),
            entry(TRUSTED[0], 0x001F_01FF),
            entry(TRUSTED[1], 0x001F_01FF),
            entry(OWN, 0x001F_01FF),
            entry("S-1-5-32-545", read_and_execute),
            inherited,
        ];
        assert_eq!(sids(Some(entries)), []);
    }

    /// SEC-7: what a folder made below C:\ inherits, and each right that leads to another content.
    #[test]
    fn each_way_to_write_is_seen() {
        let users = |mask| sids(Some(vec![entry("S-1-5-11", mask)]));
        let found = [("S-1-5-11".to_owned(), true)];
        for mask in [
            0x0013_01BF,
            0x2,
            0x4,
            0x40,
            0x0001_0000,
            0x0004_0000,
            0x0008_0000,
            0x1000_0000,
            0x4000_0000,
        ] {
            assert_eq!(users(mask), found, "{mask:#x}");
        }
        assert_eq!(users(0x0012_00A9), []);
    }

    /// SEC-7: a domain's users are ordinary users too; an account or a group of its own may be administrators'.
    #[test]
    fn users_of_a_domain_and_of_remote_desktops_are_ordinary() {
        for (sid, is_ordinary) in [
            ("S-1-5-21-1-2-3-513", true),
            ("S-1-5-21-1-2-3-514", true),
            ("S-1-5-32-555", true),
            ("S-1-5-21-1-2-3-512", false),
            ("S-1-5-21-1-2-3-1513", false),
        ] {
            let found = sids(Some(vec![entry(sid, 0x2)]));
            assert_eq!(found, [(sid.to_owned(), is_ordinary)]);
        }
    }

    #[test]
    fn missing_list_lets_everybody_write_and_a_strange_owner_is_told() {
        assert_eq!(sids(None), [("S-1-1-0".to_owned(), true)]);
        let rights = Rights {
            owner: "S-1-5-21-9-9-9-1001".to_owned(),
            entries: Some(Vec::new()),
        };
        let found = exposed("x", &rights, OWN);
        assert_eq!(found.len(), 1);
        assert!(!found[0].is_ordinary);
    }
}
