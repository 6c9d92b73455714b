// SPDX-License-Identifier: MIT OR Apache-2.0

// UNSAFETY: a global allocator deals in raw memory by definition.
#![expect(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Slots of one size.
struct Class {
    slot_bytes: usize,
    slots: usize,
}

/// Largest slots first: each class begins at a multiple of its size then, as far as the arena's own alignment goes. A
/// commit window of a set of 64 LUNs needs less than a tenth of it.
const CLASSES: [Class; 6] = [
    class(LARGEST_BYTES, 16),
    class(16 << 10, 64),
    class(4 << 10, 256),
    class(1 << 10, 512),
    class(256, 2048),
    class(64, 4096),
];

/// The largest allocation that the reserve serves.
pub const LARGEST_BYTES: usize = 64 << 10;

const ARENA_ALIGN: usize = 4096;
const ARENA_BYTES: usize = first_byte(CLASSES.len());
const WORDS: usize = first_slot(CLASSES.len()) / 64;

const fn class(slot_bytes: usize, slots: usize) -> Class {
    Class { slot_bytes, slots }
}

/// Where a class's memory begins in the arena.
const fn first_byte(class: usize) -> usize {
    match class {
        0 => 0,
        _ => first_byte(class - 1) + CLASSES[class - 1].slot_bytes * CLASSES[class - 1].slots,
    }
}

/// The number of a class's first slot among all slots. Classes share no word of the bit map.
const fn first_slot(class: usize) -> usize {
    match class {
        0 => 0,
        _ => first_slot(class - 1) + CLASSES[class - 1].slots.next_multiple_of(64),
    }
}

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: the arena is only a place. Who may touch which bytes of it is decided by the bit map, as for any allocator.
unsafe impl Sync for Arena {}

/// The allocator, over the system's. Make it a `static` and the `#[global_allocator]`.
pub struct Reserve<A = System> {
    system: A,
    arena: Arena,
    /// One bit for each slot: taken.
    taken: [AtomicU64; WORDS],
    windows: AtomicUsize,
    served: AtomicU64,
    asked: AtomicU64,
    rescued: AtomicU64,
}

impl Default for Reserve {
    fn default() -> Self {
        Self::new()
    }
}

impl Reserve {
    /// A reserve, of which nothing is in memory yet, see [`Self::touch`].
    pub const fn new() -> Self {
        Self::over(System)
    }
}

impl<A> Reserve<A> {
    /// The same over another allocator than the system's.
    pub const fn over(system: A) -> Self {
        Self {
            system,
            arena: Arena(UnsafeCell::new([0; ARENA_BYTES])),
            taken: [const { AtomicU64::new(0) }; WORDS],
            windows: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            rescued: AtomicU64::new(0),
        }
    }

    /// Writes to every free slot, so that a window meets no page for the first time. Once, when the process starts.
    pub fn touch(&self) {
        for (class, Class { slot_bytes, slots }) in CLASSES.iter().enumerate() {
            for slot in 0..*slots {
                if self.claim(class, slot) {
                    // SAFETY: the slot is ours until it is given back.
                    unsafe { ptr::write_bytes(self.slot(class, slot), 0, *slot_bytes) };
                    self.give_back(class, slot);
                }
            }
        }
    }

    /// From now on allocations come from the reserve. Windows may overlap; each open needs its [`Self::close`].
    pub fn open(&self) {
        self.windows.fetch_add(1, Ordering::SeqCst);
    }

    /// Ends one window.
    pub fn close(&self) {
        self.windows.fetch_sub(1, Ordering::SeqCst);
    }

    /// Allocations that the reserve has served since the process started.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Allocations that went to the system since the process started: those outside windows, and those within that were too
    /// large or found no free slot.
    pub fn asked_system(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Of [`Self::asked_system`] those that the system refused and the reserve served in its place.
    pub fn rescued(&self) -> u64 {
        self.rescued.load(Ordering::Relaxed)
    }

    /// Slots in use, of all sizes.
    pub fn slots_in_use(&self) -> u32 {
        let count = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones();
        self.taken.iter().map(count).sum()
    }

    fn base(&self) -> *mut u8 {
        self.arena.0.get().cast()
    }

    /// A free slot for this layout, marked as taken.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        if layout.align() > ARENA_ALIGN {
            return None;
        }
        let needed = layout.size().max(layout.align());
        // From the smallest that fits to larger ones.
        let fitting = (0..CLASSES.len()).rev();
        let mut fitting = fitting.filter(|class| CLASSES[*class].slot_bytes >= needed);
        fitting.find_map(|class| self.take_of(class))
    }

    fn take_of(&self, class: usize) -> Option<*mut u8> {
        let slots = CLASSES[class].slots;
        let first_word = first_slot(class) / 64;
        for word in 0..slots.div_ceil(64) {
            let usable = (slots - word * 64).min(64);
            loop {
                let seen = self.taken[first_word + word].load(Ordering::Relaxed);
                let free = seen.trailing_ones() as usize;
                if free >= usable {
                    break;
                }
                let slot = word * 64 + free;
                if self.claim(class, slot) {
                    return Some(self.slot(class, slot));
                }
            }
        }
        None
    }

    /// Marks a slot as taken; `false` when it was.
    fn claim(&self, class: usize, slot: usize) -> bool {
        let number = first_slot(class) + slot;
        let bit = 1 << (number % 64);
        // Acquire: what the last owner did in the slot is over.
        self.taken[number / 64].fetch_or(bit, Ordering::Acquire) & bit == 0
    }

    fn slot(&self, class: usize, slot: usize) -> *mut u8 {
        let offset = first_byte(class) + slot * CLASSES[class].slot_bytes;
        self.base().wrapping_add(offset)
    }

    /// Class and slot of a pointer into the reserve; `None` for memory of the system.
    fn slot_of(&self, pointer: *mut u8) -> Option<(usize, usize)> {
        let offset = pointer.addr().checked_sub(self.base().addr())?;
        if offset >= ARENA_BYTES {
            return None;
        }
        let class = (0..CLASSES.len()).rfind(|class| first_byte(*class) <= offset)?;
        Some((
            class,
            (offset - first_byte(class)) / CLASSES[class].slot_bytes,
        ))
    }

    fn give_back(&self, class: usize, slot: usize) {
        let number = first_slot(class) + slot;
        // Release: our use of the slot is over before the next owner's begins.
        self.taken[number / 64].fetch_and(!(1 << (number % 64)), Ordering::Release);
    }

    /// From the reserve, if it is its turn. `None`: the system has to be asked, and that is counted.
    fn serve(&self, layout: Layout) -> Option<*mut u8> {
        let is_open = self.windows.load(Ordering::SeqCst) > 0;
        let pointer = if is_open { self.take(layout) } else { None };
        let counter = match pointer {
            Some(_) => &self.served,
            None => &self.asked,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        pointer
    }

    /// What the system gave, or a slot where it gave nothing.
    fn rescue(&self, from_system: *mut u8, layout: Layout) -> *mut u8 {
        if !from_system.is_null() {
            return from_system;
        }
        let Some(slot) = self.take(layout) else {
            return ptr::null_mut();
        };
        self.rescued.fetch_add(1, Ordering::Relaxed);
        slot
    }
}

// SAFETY: memory comes from the system, or is a slot of the arena: large enough, aligned (a class begins at a multiple of
// its size or of a page, whichever is less, and `take` refuses more than a page), taken by exactly one owner until it is freed.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Reserve<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.serve(layout).unwrap_or_else(|| {
            // SAFETY: the caller's promise is passed on.
            self.rescue(unsafe { self.system.alloc(layout) }, layout)
        })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let pointer = self.serve(layout).unwrap_or_else(|| {
            // SAFETY: the caller's promise is passed on.
            self.rescue(unsafe { self.system.alloc_zeroed(layout) }, layout)
        });
        if self.slot_of(pointer).is_some() {
            // SAFETY: a slot of at least that size, and ours.
            unsafe { ptr::write_bytes(pointer, 0, layout.size()) };
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.slot_of(pointer) {
            Some((class, slot)) => self.give_back(class, slot),
            // SAFETY: not the reserve's, so it is the system's, and the caller's promise is passed on.
            None => unsafe { self.system.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        let of_reserve = self.slot_of(pointer);
        if let Some((class, _)) = of_reserve
            && new_bytes <= CLASSES[class].slot_bytes
        {
            return pointer;
        }
        if of_reserve.is_none() && self.windows.load(Ordering::SeqCst) == 0 {
            // SAFETY: it is of the system, and the caller's promise is passed on.
            let new = unsafe { self.system.realloc(pointer, layout, new_bytes) };
            if !new.is_null() {
                self.asked.fetch_add(1, Ordering::Relaxed);
                return new;
            }
        }
        // SAFETY: the caller promises that the new size is valid for this alignment.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_bytes, layout.align()) };
        // SAFETY: the caller promises a size that is not zero.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            // SAFETY: both are valid for the smaller of the sizes, and the new one is nobody else's.
            unsafe { ptr::copy_nonoverlapping(pointer, new, layout.size().min(new_bytes)) };
            // SAFETY: the caller's own block, which nobody uses any more.
            unsafe { self.dealloc(pointer, layout) };
        }
        new
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
