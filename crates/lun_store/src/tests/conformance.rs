// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite of every device, on the store's: a fresh LUN, one with history, copies, copies of copies, after resync.
use super::{disk, fill, resync, snapshot, store};
use block::conformance::Subject;

mod fresh_lun {
    use super::*;

    block::conformance_suite!(|size| {
        let (dir, store) = store(64);
        store.create_lun(1, size, b"").unwrap();
        Subject::with(store.device(1).unwrap(), (store, dir))
    });
}

/// A LUN with data that a copy holds too, unmapped again: every chunk under it is shared or given up.
mod captured_source {
    use super::*;

    block::conformance_suite!(|size| {
        let (dir, store) = store(128);
        store.create_lun(1, size, b"").unwrap();
        fill(&disk(&store, 1), 0, size, 0x55);
        snapshot(&store, 1, 2);
        disk(&store, 1).unmap(0, size).unwrap();
        snapshot(&store, 1, 3);
        Subject::with(store.device(1).unwrap(), (store, dir))
    });
}

mod copy {
    use super::*;

    block::conformance_suite!(|size| {
        let (dir, store) = store(64);
        store.create_lun(1, size, b"").unwrap();
        snapshot(&store, 1, 2);
        fill(&disk(&store, 1), 0, size.min(1 << 20), 0x55);
        Subject::with(store.device(2).unwrap(), (store, dir))
    });
}

mod copy_of_copy {
    use super::*;

    block::conformance_suite!(|size| {
        let (dir, store) = store(64);
        store.create_lun(1, size, b"").unwrap();
        fill(&disk(&store, 1), 0, 4096, 0x55);
        disk(&store, 1).unmap(0, 4096).unwrap();
        snapshot(&store, 1, 2);
        fill(&disk(&store, 1), 0, 4096, 0x66);
        snapshot(&store, 2, 3);
        fill(&disk(&store, 2), 0, 4096, 0x77);
        store.delete_lun(2).unwrap();
        Subject::with(store.device(3).unwrap(), (store, dir))
    });
}

mod resynced {
    use super::*;

    block::conformance_suite!(|size| {
        let (dir, store) = store(64);
        store.create_lun(1, size, b"").unwrap();
        snapshot(&store, 1, 2);
        fill(&disk(&store, 1), 0, size, 0x55);
        resync(&store, 2, 1);
        Subject::with(store.device(1).unwrap(), (store, dir))
    });
}
