// SPDX-License-Identifier: MIT OR Apache-2.0
//! Golden bytes: each row as docs/store-format.md draws it. They change only together with the format version.
use super::*;

/// The document's checksum, put together by hand.
fn sealed(table: u8, key: &[u8], body: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c(&[&[table], key, body].concat());
    [body, &crc.to_le_bytes()].concat()
}

#[test]
fn crc32c_is_the_castagnoli_one() {
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

const HEADER: Header = Header {
    version: 1,
    store_id: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
    capacity_bytes: 0x0000_0000_0123_0000,
};

const HEADER_TAIL: [u8; 32] = [
    1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x23, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
    13, 14, 15,
];

#[test]
fn data_header_has_its_bytes() {
    let block = HEADER.to_data_block();
    assert_eq!(block[..16], *b"SHADOWLUN-DATA\r\n");
    assert_eq!(block[16..48], HEADER_TAIL);
    assert_eq!(block[48..508], [0; 460]);
    assert_eq!(block[508..], crc32c::crc32c(&block[..508]).to_le_bytes());
    assert_eq!(Header::from_data_block(&block).unwrap(), Some(HEADER));
}

#[test]
fn header_row_has_its_bytes() {
    let body = [b"SHADOWLUN-META\r\n".as_slice(), &HEADER_TAIL].concat();
    assert_eq!(HEADER.to_row(), sealed(1, b"store", &body));
    assert_eq!(Header::from_row(&HEADER.to_row()).unwrap(), Some(HEADER));
}

#[test]
fn header_row_of_other_version_is_named_before_its_checksum() {
    let mut row = HEADER.to_row();
    row[16] = 7;
    let error = Header::from_row(&row).unwrap_err();
    assert!(matches!(
        error,
        StoreError::Version {
            found: 7,
            supported: 1
        }
    ));
}

#[test]
fn census_row_has_its_bytes() {
    let census = Census {
        luns: 2,
        lineages: 3,
        next_lineage: 0x0104,
    };
    let mut body = [0; 24];
    (body[0], body[8], body[16], body[17]) = (2, 3, 4, 1);
    assert_eq!(census.to_row(), sealed(1, b"census", &body));
    assert_eq!(Census::from_row(&census.to_row()).unwrap(), census);
}

#[test]
fn lun_row_has_its_bytes() {
    let row = LunRow {
        lineage: 5,
        size_bytes: 512,
        owner: b"me".to_vec(),
    };
    let key = LunRow::key(0x0102);
    assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    let body = [
        5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'm', b'e',
    ];
    assert_eq!(row.to_row(0x0102), sealed(2, &key, &body));
    let read = LunRow::from_row(&key, &row.to_row(0x0102)).unwrap();
    assert_eq!(read, (0x0102, row));
}

#[test]
fn lineage_row_has_its_bytes() {
    let row = LineageRow {
        parent: Some((3, 4)),
        epoch: 9,
    };
    let key = LineageRow::key(6);
    assert_eq!(key, [0, 0, 0, 0, 0, 0, 0, 6]);
    let mut body = [0; 24];
    (body[0], body[8], body[16]) = (3, 4, 9);
    assert_eq!(row.to_row(6), sealed(3, &key, &body));
    assert_eq!(
        LineageRow::from_row(&key, &row.to_row(6)).unwrap(),
        (6, row)
    );
}

fn leaf() -> (RowId, Box<Entries>) {
    let row = RowId {
        lineage: 1,
        leaf: 2,
        epoch: 3,
    };
    let mut entries = Box::new([Entry::default(); LEAF_CHUNKS]);
    entries[0] = Entry {
        own: 0x0a0b,
        own_parts: u16::MAX,
        ..Entry::default()
    };
    entries[127] = Entry {
        own: 7,
        own_parts: 0x0102,
        base: 8,
        base_parts: 0x8000,
    };
    (row, entries)
}

#[test]
fn leaf_row_has_its_bytes() {
    let (row, entries) = leaf();
    let key = row.key();
    assert_eq!(
        key,
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    );
    let body = [
        2, 0, 0, 0, 0x0b, 0x0a, 0, 0, 127, 3, 7, 0, 0, 0, 2, 1, 8, 0, 0, 0, 0, 0x80,
    ];
    let value = leaf_to_row(row, &entries);
    assert_eq!(value, sealed(4, &key, &body));
    assert!(leaf_from_row(&key, &value, 0xffff).unwrap() == entries);
    assert_eq!(RowId::from_key(&key).unwrap(), row);
}

#[test]
fn full_leaf_row_takes_774_bytes() {
    let (row, mut entries) = leaf();
    for (index, entry) in entries.iter_mut().enumerate() {
        *entry = Entry {
            own: 1 + index as u32,
            own_parts: u16::MAX,
            ..Entry::default()
        };
    }
    assert_eq!(leaf_to_row(row, &entries).len(), 774);
}

#[test]
fn presence_page_has_its_bytes() {
    let key = page_key(1, 2, 3);
    assert_eq!(
        key,
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3]
    );
    let mut page = [0; PAGE_BYTES];
    page[1] = 0x10;
    assert_eq!(page_to_row(&key, &page), sealed(5, &key, &page));
    assert_eq!(page_from_key(&key).unwrap(), (1, 2, 3));
    assert_eq!(
        page_from_row(&key, &page_to_row(&key, &page)).unwrap(),
        page
    );
}

#[test]
fn leaf_row_with_any_bit_flipped_or_byte_cut_is_damaged() {
    let (row, entries) = leaf();
    let (key, value) = (row.key(), leaf_to_row(row, &entries));
    for bit in 0..value.len() * 8 {
        let mut flipped = value.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(leaf_from_row(&key, &flipped, 0xffff).is_err(), "bit {bit}");
    }
    for length in 0..value.len() {
        assert!(leaf_from_row(&key, &value[..length], 0xffff).is_err());
    }
}

#[test]
fn leaf_row_with_fitting_checksum_but_unsound_content_is_damaged() {
    let key = leaf().0.key();
    let bodies: [&[u8]; 7] = [
        &[],
        // A chunk number outside the store; chunk 0; no own part; an index beyond the leaf.
        &[1, 0, 0, 0, 0, 0, 1, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 1, 5, 0, 0, 0, 0, 0],
        &[1, 0, 128, 0, 5, 0, 0, 0],
        // Overlapping masks; one byte too many.
        &[1, 0, 0, 3, 5, 0, 0, 0, 1, 0, 6, 0, 0, 0, 1, 0],
        &[1, 0, 0, 0, 5, 0, 0, 0, 9],
    ];
    for body in bodies {
        let value = sealed(4, &key, body);
        assert!(leaf_from_row(&key, &value, 0xffff).is_err(), "{body:?}");
    }
}
