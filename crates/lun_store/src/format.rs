// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every byte that the store writes about itself: docs/store-format.md in code. Keys are big-endian, so that they
//! sort as numbers; everything else is little-endian. Each value ends with a CRC32C over table, key and content,
//! because redb checks its own checksums only after a crash.
use crate::StoreError;

/// The format that this code reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const CHUNK_BYTES: u64 = 64 << 10;
pub(crate) const PART_BYTES: u64 = 4 << 10;
pub(crate) const LEAF_CHUNKS: usize = 128;
pub(crate) const LEAF_BYTES: u64 = CHUNK_BYTES * LEAF_CHUNKS as u64;
/// Leaves that one presence page speaks of: 32 GiB of address space.
pub(crate) const PAGE_LEAVES: u32 = 4096;
pub(crate) const PAGE_BYTES: usize = PAGE_LEAVES as usize / 8;
/// Size of the checked part of the data file's first chunk.
pub(crate) const DATA_HEADER_BYTES: usize = 512;
const DATA_MAGIC: &[u8; 16] = b"SHADOWLUN-DATA\r\n";
const META_MAGIC: &[u8; 16] = b"SHADOWLUN-META\r\n";

const _: () = assert!(CHUNK_BYTES / PART_BYTES == 16, "part masks are u16");
const _: () = assert!(LEAF_CHUNKS <= 256, "chunk indexes in leaves are u8");

/// A redb table. The number goes into each row's checksum, so that a row cannot pass for one of another table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TableId {
    Header = 1,
    Luns = 2,
    Lineages = 3,
    Leaves = 4,
    Presence = 5,
}

impl TableId {
    pub(crate) const ALL: [Self; 5] = [
        Self::Header,
        Self::Luns,
        Self::Lineages,
        Self::Leaves,
        Self::Presence,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Luns => "luns",
            Self::Lineages => "lineages",
            Self::Leaves => "leaves",
            Self::Presence => "presence",
        }
    }
}

/// A row's own name, in words for people and reports.
fn row_name(table: TableId, key: &[u8]) -> String {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("row {hex} of table {}", table.name())
}

fn checksum(table: TableId, key: &[u8], body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[table as u8]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, key), body)
}

/// Appends the checksum to a row's content.
pub(crate) fn seal(table: TableId, key: &[u8], mut body: Vec<u8>) -> Vec<u8> {
    let crc = checksum(table, key, &body);
    body.extend_from_slice(&crc.to_le_bytes());
    body
}

/// A row's content, once its checksum fits.
pub(crate) fn unseal<'a>(
    table: TableId,
    key: &[u8],
    value: &'a [u8],
) -> Result<&'a [u8], StoreError> {
    let damaged = || StoreError::Damaged(format!("{}: wrong checksum", row_name(table, key)));
    let (body, crc) = value.split_last_chunk::<4>().ok_or_else(damaged)?;
    match u32::from_le_bytes(*crc) == checksum(table, key, body) {
        true => Ok(body),
        false => Err(damaged()),
    }
}

/// Takes fields off the front of a row; a short row is damage, never a panic.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| StoreError::Damaged("a row is too short".into()))?;
        self.0 = rest;
        Ok(*field)
    }
    fn u8(&mut self) -> Result<u8, StoreError> {
        Ok(self.take::<1>()?[0])
    }
    fn u16(&mut self) -> Result<u16, StoreError> {
        Ok(u16::from_le_bytes(self.take()?))
    }
    fn u32(&mut self) -> Result<u32, StoreError> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    fn u64(&mut self) -> Result<u64, StoreError> {
        Ok(u64::from_le_bytes(self.take()?))
    }
    fn end(self) -> Result<(), StoreError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(StoreError::Damaged("a row is too long".into())),
        }
    }
}

/// What both files say about the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) store_id: u128,
    pub(crate) capacity_bytes: u64,
}

impl Header {
    pub(crate) const KEY: &'static [u8] = b"store";

    fn fields(&self, magic: &[u8; 16]) -> Vec<u8> {
        let mut bytes = magic.to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&(CHUNK_BYTES as u32).to_le_bytes());
        bytes.extend_from_slice(&self.capacity_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.store_id.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8], magic: &[u8; 16]) -> Result<Option<Self>, StoreError> {
        let mut fields = Fields(bytes);
        if bytes.len() < 20 || fields.take::<16>()? != *magic {
            return Ok(None);
        }
        // The version comes before everything that another version may have moved, the checksum included.
        let version = fields.u32()?;
        if version != FORMAT_VERSION {
            return Err(StoreError::Version {
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        let chunk_bytes = fields.u32()?;
        let header = Self {
            version,
            capacity_bytes: fields.u64()?,
            store_id: u128::from_le_bytes(fields.take()?),
        };
        match u64::from(chunk_bytes) == CHUNK_BYTES {
            true => Ok(Some(header)),
            false => Err(StoreError::Damaged(format!(
                "chunks of {chunk_bytes} bytes are unknown"
            ))),
        }
    }

    /// The first block of the data file.
    pub(crate) fn to_data_block(self) -> [u8; DATA_HEADER_BYTES] {
        let mut block = [0; DATA_HEADER_BYTES];
        let fields = self.fields(DATA_MAGIC);
        block[..fields.len()].copy_from_slice(&fields);
        let crc = crc32c::crc32c(&block[..DATA_HEADER_BYTES - 4]);
        block[DATA_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// `None`: not a data file of a store.
    pub(crate) fn from_data_block(
        block: &[u8; DATA_HEADER_BYTES],
    ) -> Result<Option<Self>, StoreError> {
        let Some(header) = Self::parse(block, DATA_MAGIC)? else {
            return Ok(None);
        };
        let (content, crc) = block.split_last_chunk::<4>().expect("512 bytes");
        match u32::from_le_bytes(*crc) == crc32c::crc32c(content) {
            true => Ok(Some(header)),
            false => Err(StoreError::Damaged(
                "the data file's header has a wrong checksum".into(),
            )),
        }
    }

    pub(crate) fn to_row(self) -> Vec<u8> {
        seal(TableId::Header, Self::KEY, self.fields(META_MAGIC))
    }

    /// `None`: not the header row of a store.
    pub(crate) fn from_row(value: &[u8]) -> Result<Option<Self>, StoreError> {
        let Some(header) = Self::parse(value, META_MAGIC)? else {
            return Ok(None);
        };
        unseal(TableId::Header, Self::KEY, value)?;
        Ok(Some(header))
    }
}

/// How many catalogue rows there are, so that one that vanished is noticed at open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) luns: u64,
    pub(crate) lineages: u64,
    pub(crate) next_lineage: u64,
}

impl Census {
    pub(crate) const KEY: &'static [u8] = b"census";

    pub(crate) fn to_row(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(28);
        for field in [self.luns, self.lineages, self.next_lineage] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        seal(TableId::Header, Self::KEY, body)
    }

    pub(crate) fn from_row(value: &[u8]) -> Result<Self, StoreError> {
        let mut fields = Fields(unseal(TableId::Header, Self::KEY, value)?);
        let census = Self {
            luns: fields.u64()?,
            lineages: fields.u64()?,
            next_lineage: fields.u64()?,
        };
        fields.end()?;
        Ok(census)
    }
}

/// A LUN's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LunRow {
    pub(crate) lineage: u64,
    pub(crate) size_bytes: u64,
    pub(crate) owner: Vec<u8>,
}

impl LunRow {
    pub(crate) fn key(id: u128) -> Vec<u8> {
        id.to_be_bytes().to_vec()
    }

    pub(crate) fn to_row(&self, id: u128) -> Vec<u8> {
        let mut body = Vec::with_capacity(24 + self.owner.len());
        body.extend_from_slice(&self.lineage.to_le_bytes());
        body.extend_from_slice(&self.size_bytes.to_le_bytes());
        body.extend_from_slice(&(self.owner.len() as u32).to_le_bytes());
        body.extend_from_slice(&self.owner);
        seal(TableId::Luns, &Self::key(id), body)
    }

    pub(crate) fn from_row(key: &[u8], value: &[u8]) -> Result<(u128, Self), StoreError> {
        let mut fields = Fields(unseal(TableId::Luns, key, value)?);
        let id = u128::from_be_bytes(Fields(key).take()?);
        let lineage = fields.u64()?;
        let size_bytes = fields.u64()?;
        let owner_bytes = fields.u32()? as usize;
        match fields.0.len() == owner_bytes {
            true => Ok((
                id,
                Self {
                    lineage,
                    size_bytes,
                    owner: fields.0.to_vec(),
                },
            )),
            false => Err(StoreError::Damaged("an owner record was cut".into())),
        }
    }
}

/// A lineage's row. Number 0 stands for no parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineageRow {
    pub(crate) parent: Option<(u64, u64)>,
    pub(crate) epoch: u64,
}

impl LineageRow {
    pub(crate) fn key(lineage: u64) -> Vec<u8> {
        lineage.to_be_bytes().to_vec()
    }

    pub(crate) fn to_row(self, lineage: u64) -> Vec<u8> {
        let (parent, fork) = self.parent.unwrap_or((0, 0));
        let mut body = Vec::with_capacity(28);
        for field in [parent, fork, self.epoch] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        seal(TableId::Lineages, &Self::key(lineage), body)
    }

    pub(crate) fn from_row(key: &[u8], value: &[u8]) -> Result<(u64, Self), StoreError> {
        let mut fields = Fields(unseal(TableId::Lineages, key, value)?);
        let lineage = u64::from_be_bytes(Fields(key).take()?);
        let (parent, fork) = (fields.u64()?, fields.u64()?);
        let row = Self {
            parent: (parent != 0).then_some((parent, fork)),
            epoch: fields.u64()?,
        };
        fields.end()?;
        Ok((lineage, row))
    }
}

/// Which row answers for a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowId {
    pub(crate) lineage: u64,
    pub(crate) leaf: u32,
    pub(crate) epoch: u64,
}

impl RowId {
    pub(crate) fn key(self) -> Vec<u8> {
        let mut key = self.lineage.to_be_bytes().to_vec();
        key.extend_from_slice(&self.leaf.to_be_bytes());
        key.extend_from_slice(&self.epoch.to_be_bytes());
        key
    }

    pub(crate) fn from_key(key: &[u8]) -> Result<Self, StoreError> {
        let mut fields = Fields(key);
        let row = Self {
            lineage: u64::from_be_bytes(fields.take()?),
            leaf: u32::from_be_bytes(fields.take()?),
            epoch: u64::from_be_bytes(fields.take()?),
        };
        fields.end()?;
        Ok(row)
    }
}

/// Where one chunk of a LUN lies. Part `i` is in `own` if its bit is in `own_parts`, else in `base` if its bit is in
/// `base_parts`, else zeros. Chunk 0 is the data file's header and stands for "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) own: u32,
    pub(crate) base: u32,
    pub(crate) own_parts: u16,
    pub(crate) base_parts: u16,
}

impl Entry {
    pub(crate) fn chunks(&self) -> impl Iterator<Item = u32> + use<> {
        [self.own, self.base]
            .into_iter()
            .filter(|&chunk| chunk != 0)
    }

    /// What every entry in a row keeps to; the rest of the store relies on it.
    fn is_sound(&self) -> bool {
        self.own != 0
            && self.own_parts != 0
            && (self.base != 0) == (self.base_parts != 0)
            && self.own_parts & self.base_parts == 0
            && self.own != self.base
    }
}

/// All chunks of a leaf.
pub(crate) type Entries = [Entry; LEAF_CHUNKS];

const FLAG_OWN_PARTS: u8 = 1;
const FLAG_BASE: u8 = 2;

/// A leaf's row: a count, then per mapped chunk its index, flags, `own`, and what the flags announce.
pub(crate) fn leaf_to_row(row: RowId, entries: &Entries) -> Vec<u8> {
    let mapped = entries.iter().filter(|entry| entry.own != 0).count();
    let mut body = Vec::with_capacity(6 + mapped * 14);
    body.extend_from_slice(&(mapped as u16).to_le_bytes());
    for (index, entry) in entries.iter().enumerate() {
        if entry.own == 0 {
            continue;
        }
        assert!(entry.is_sound(), "an unsound entry at {row:?}: {entry:?}");
        let partial = entry.own_parts != u16::MAX;
        body.push(index as u8);
        body.push(
            if partial { FLAG_OWN_PARTS } else { 0 } | if entry.base != 0 { FLAG_BASE } else { 0 },
        );
        body.extend_from_slice(&entry.own.to_le_bytes());
        if partial {
            body.extend_from_slice(&entry.own_parts.to_le_bytes());
        }
        if entry.base != 0 {
            body.extend_from_slice(&entry.base.to_le_bytes());
            body.extend_from_slice(&entry.base_parts.to_le_bytes());
        }
    }
    seal(TableId::Leaves, &row.key(), body)
}

/// Reads a leaf's row; `chunk_count` bounds the chunk numbers.
pub(crate) fn leaf_from_row(
    key: &[u8],
    value: &[u8],
    chunk_count: u32,
) -> Result<Box<Entries>, StoreError> {
    let unsound = || StoreError::Damaged(format!("{}: unsound", row_name(TableId::Leaves, key)));
    let mut fields = Fields(unseal(TableId::Leaves, key, value)?);
    let mut entries = Box::new([Entry::default(); LEAF_CHUNKS]);
    for _ in 0..fields.u16()? {
        let index = usize::from(fields.u8()?);
        let flags = fields.u8()?;
        let mut entry = Entry {
            own: fields.u32()?,
            own_parts: u16::MAX,
            ..Entry::default()
        };
        if flags & FLAG_OWN_PARTS != 0 {
            entry.own_parts = fields.u16()?;
        }
        if flags & FLAG_BASE != 0 {
            entry.base = fields.u32()?;
            entry.base_parts = fields.u16()?;
        }
        let slot = entries.get_mut(index).ok_or_else(unsound)?;
        if !entry.is_sound() || entry.own >= chunk_count || entry.base >= chunk_count {
            return Err(unsound());
        }
        *slot = entry;
    }
    fields.end()?;
    Ok(entries)
}

/// A presence page: which leaves of a stretch have a row of exactly this lineage and epoch.
pub(crate) type Page = [u8; PAGE_BYTES];

pub(crate) fn page_key(lineage: u64, epoch: u64, page: u32) -> Vec<u8> {
    let mut key = lineage.to_be_bytes().to_vec();
    key.extend_from_slice(&epoch.to_be_bytes());
    key.extend_from_slice(&page.to_be_bytes());
    key
}

pub(crate) fn page_to_row(key: &[u8], page: &Page) -> Vec<u8> {
    seal(TableId::Presence, key, page.to_vec())
}

/// Lineage, epoch and page number from a key.
pub(crate) fn page_from_key(key: &[u8]) -> Result<(u64, u64, u32), StoreError> {
    let mut fields = Fields(key);
    let name = (
        u64::from_be_bytes(fields.take()?),
        u64::from_be_bytes(fields.take()?),
        u32::from_be_bytes(fields.take()?),
    );
    fields.end()?;
    Ok(name)
}

pub(crate) fn page_from_row(key: &[u8], value: &[u8]) -> Result<Page, StoreError> {
    unseal(TableId::Presence, key, value)?
        .try_into()
        .map_err(|_| {
            StoreError::Damaged(format!("{}: wrong size", row_name(TableId::Presence, key)))
        })
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
