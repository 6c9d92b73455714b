// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which chunks are in use, and by how many rows. Lives in memory only: rows are the truth, and are counted at open.
//!
//! A count covers rows in the database and rows that are still to be written. It is raised when a row in memory
//! starts to refer to a chunk, and lowered only when the transaction in which the reference ends is durable: until
//! then a crash would bring the old row back, and the chunk must still hold what that row promises.

/// Stands for a chunk whose last reference ended and whose space is being given back.
const FREEING: u32 = u32::MAX;
const PAGE_CHUNKS: u32 = 4096;

struct CountPage {
    counts: Box<[u32; PAGE_CHUNKS as usize]>,
    used: u32,
}

/// Reference counts of all chunks; memory is taken only for stretches that are used.
pub(crate) struct Allocator {
    pages: Vec<Option<CountPage>>,
    chunk_count: u32,
    used: u32,
    cursor: u32,
}

impl Allocator {
    /// All chunks free but number 0, the data file's header.
    pub(crate) fn new(chunk_count: u32) -> Self {
        let page_count = chunk_count.div_ceil(PAGE_CHUNKS) as usize;
        let mut allocator = Self {
            pages: (0..page_count).map(|_| None).collect(),
            chunk_count,
            used: 0,
            cursor: 0,
        };
        allocator.add(0);
        allocator
    }

    fn page(&mut self, chunk: u32) -> &mut CountPage {
        assert!(chunk < self.chunk_count, "chunk {chunk} does not exist");
        self.pages[(chunk / PAGE_CHUNKS) as usize].get_or_insert_with(|| CountPage {
            counts: Box::new([0; PAGE_CHUNKS as usize]),
            used: 0,
        })
    }

    /// Number of rows that refer to a chunk.
    pub(crate) fn count(&self, chunk: u32) -> u32 {
        match &self.pages[(chunk / PAGE_CHUNKS) as usize] {
            Some(page) => page.counts[(chunk % PAGE_CHUNKS) as usize],
            None => 0,
        }
    }

    /// One more row refers to the chunk.
    pub(crate) fn add(&mut self, chunk: u32) {
        let page = self.page(chunk);
        let count = &mut page.counts[(chunk % PAGE_CHUNKS) as usize];
        assert!(*count < FREEING - 1, "reference count of chunk {chunk}");
        *count += 1;
        if *count == 1 {
            page.used += 1;
            self.used += 1;
        }
    }

    /// References ended, durably. Returns the chunks that nobody refers to any more; they become free with
    /// [`Allocator::freed`], once their space was given back.
    pub(crate) fn drop_references(&mut self, chunks: &[u32]) -> Vec<u32> {
        let mut unused = Vec::new();
        for &chunk in chunks {
            let count = &mut self.page(chunk).counts[(chunk % PAGE_CHUNKS) as usize];
            assert!(
                *count != 0 && *count != FREEING,
                "chunk {chunk} had no reference left"
            );
            *count -= 1;
            if *count == 0 {
                *count = FREEING;
                unused.push(chunk);
            }
        }
        unused
    }

    /// These chunks may be used again.
    pub(crate) fn freed(&mut self, chunks: &[u32]) {
        for &chunk in chunks {
            let page = self.page(chunk);
            let count = &mut page.counts[(chunk % PAGE_CHUNKS) as usize];
            assert!(*count == FREEING, "chunk {chunk} was not being freed");
            *count = 0;
            page.used -= 1;
            self.used -= 1;
        }
    }

    /// `count` free chunks with one reference each, or `None` when there are fewer. Goes round, so that data written
    /// one after the other lies one after the other.
    pub(crate) fn reserve(&mut self, count: usize) -> Option<Vec<u32>> {
        if (self.chunk_count - self.used) < u32::try_from(count).ok()? {
            return None;
        }
        let mut chunks = Vec::with_capacity(count);
        while chunks.len() < count {
            let chunk = self.next_free();
            self.add(chunk);
            chunks.push(chunk);
        }
        Some(chunks)
    }

    /// The next free chunk; there is one.
    fn next_free(&mut self) -> u32 {
        loop {
            if self.cursor >= self.chunk_count {
                self.cursor = 0;
            }
            let page_end = (self.cursor / PAGE_CHUNKS + 1) * PAGE_CHUNKS;
            let full = self.pages[(self.cursor / PAGE_CHUNKS) as usize]
                .as_ref()
                .is_some_and(|page| page.used == PAGE_CHUNKS);
            if full {
                self.cursor = page_end;
                continue;
            }
            let end = page_end.min(self.chunk_count);
            while self.cursor < end {
                let chunk = self.cursor;
                self.cursor += 1;
                if self.count(chunk) == 0 {
                    return chunk;
                }
            }
        }
    }

    pub(crate) fn free_count(&self) -> u32 {
        self.chunk_count - self.used
    }

    pub(crate) fn used_count(&self) -> u32 {
        self.used
    }

    pub(crate) fn chunk_count(&self) -> u32 {
        self.chunk_count
    }
}
