// SPDX-License-Identifier: MIT OR Apache-2.0

// UNSAFETY: calls the allocator as the language does.
#![expect(unsafe_code)]

use super::*;
use std::collections::HashSet;

/// One for each test, too large for a stack. Not the tests' own global allocator: what they do to it is theirs alone.
macro_rules! reserve {
    () => {{
        static RESERVE: Reserve = Reserve::new();
        RESERVE.touch();
        &RESERVE
    }};
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).unwrap()
}

fn take(reserve: &Reserve, layout: Layout) -> *mut u8 {
    // SAFETY: no test asks for nothing.
    let pointer = unsafe { reserve.alloc(layout) };
    assert!(!pointer.is_null());
    // SAFETY: just allocated, of this size.
    unsafe { ptr::write_bytes(pointer, 0xA5, layout.size()) };
    pointer
}

fn free(reserve: &Reserve, pointer: *mut u8, layout: Layout) {
    // SAFETY: the tests free what they took, once, with its layout.
    unsafe { reserve.dealloc(pointer, layout) };
}

/// COM-8: only a window is served from the reserve.
#[test]
fn allocation_outside_a_window_is_the_systems() {
    let reserve = reserve!();
    let outside = take(reserve, layout(100));
    assert_eq!((reserve.served(), reserve.slots_in_use()), (0, 0));
    assert_eq!(reserve.asked_system(), 1);

    reserve.open();
    let inside = take(reserve, layout(100));
    // What the system gave goes back to it, window or not.
    free(reserve, outside, layout(100));
    reserve.close();

    let after = take(reserve, layout(100));
    assert_eq!((reserve.served(), reserve.asked_system()), (1, 2));
    assert_eq!(reserve.slots_in_use(), 1);
    free(reserve, after, layout(100));
    free(reserve, inside, layout(100));
    assert_eq!(reserve.slots_in_use(), 0, "taken back after the window");
}

#[test]
fn windows_that_overlap_last_until_the_last_one_ends() {
    let reserve = reserve!();
    reserve.open();
    reserve.open();
    reserve.close();
    let pointer = take(reserve, layout(1));
    assert_eq!(reserve.served(), 1);
    free(reserve, pointer, layout(1));
    reserve.close();
}

/// COM-8: never fails because the reserve is empty, and says how often it was.
#[test]
fn empty_reserve_and_large_blocks_go_to_the_system_and_are_counted() {
    let reserve = reserve!();
    reserve.open();
    let total: usize = CLASSES.iter().map(|class| class.slots).sum();
    let mut taken = Vec::new();
    for _ in 0..total {
        taken.push(take(reserve, layout(1)));
    }
    assert_eq!(
        reserve.asked_system(),
        0,
        "larger slots serve small blocks too"
    );
    let distinct: HashSet<_> = taken.iter().map(|pointer| pointer.addr()).collect();
    assert_eq!(distinct.len(), total);

    let beyond = take(reserve, layout(1));
    let large = take(reserve, layout(LARGEST_BYTES + 1));
    assert_eq!(reserve.asked_system(), 2);
    free(reserve, beyond, layout(1));
    free(reserve, large, layout(LARGEST_BYTES + 1));
    for pointer in taken {
        free(reserve, pointer, layout(1));
    }
    assert_eq!(reserve.slots_in_use(), 0);
}

#[test]
fn slots_are_aligned_zeroed_on_demand_and_do_not_overlap() {
    let reserve = reserve!();
    reserve.open();
    let mut taken = Vec::new();
    for align in [1, 16, 64, 256, 4096] {
        for bytes in [1, 63, 64, 65, 4097, LARGEST_BYTES] {
            let layout = Layout::from_size_align(bytes, align).unwrap();
            // SAFETY: not of size zero.
            let pointer = unsafe { reserve.alloc_zeroed(layout) };
            assert_eq!(pointer.addr() % align, 0);
            // SAFETY: just allocated, of this size.
            let content = unsafe { std::slice::from_raw_parts_mut(pointer, bytes) };
            assert!(
                content.iter().all(|byte| *byte == 0),
                "overlaps or is not zeroed"
            );
            content.fill(1);
            taken.push((pointer, layout));
        }
    }
    assert_eq!(reserve.asked_system(), 0);
    for (pointer, layout) in taken {
        free(reserve, pointer, layout);
    }
}

#[test]
fn growing_keeps_the_contents_within_a_slot_and_across_the_border() {
    let reserve = reserve!();
    let mut pointer = take(reserve, layout(40));
    reserve.open();
    let mut bytes = 40;
    for new_bytes in [50, 64, 65, 300, 5000, LARGEST_BYTES, LARGEST_BYTES + 1, 10] {
        // SAFETY: the block is of that layout.
        pointer = unsafe { reserve.realloc(pointer, layout(bytes), new_bytes) };
        bytes = new_bytes;
        // SAFETY: 10 bytes are the least that it ever has.
        let content = unsafe { std::slice::from_raw_parts(pointer, 10) };
        assert_eq!(content, [0xA5; 10]);
    }
    reserve.close();
    free(reserve, pointer, layout(bytes));
    assert_eq!(reserve.slots_in_use(), 0);
}

/// GEN-9: of two threads that saw the same slot free, one gets it; its neighbour is another slot.
#[test]
fn slot_is_claimed_once_until_it_is_given_back() {
    let reserve = reserve!();
    for class in 0..CLASSES.len() {
        assert!(reserve.claim(class, 0));
        assert!(!reserve.claim(class, 0), "class {class}: claimed twice");
        assert!(reserve.claim(class, 1));
        reserve.give_back(class, 0);
        assert!(!reserve.claim(class, 1), "class {class}: given back too");
        assert!(reserve.claim(class, 0));
    }
    assert_eq!(reserve.slots_in_use() as usize, 2 * CLASSES.len());
}

/// GEN-9: any thread, at once; no slot has two owners.
#[test]
fn threads_at_once_never_share_a_slot() {
    let reserve = reserve!();
    reserve.open();
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            scope.spawn(move || {
                for round in 0..2_000_usize {
                    let layout = layout(1 + round % 3_000);
                    let pointer = take(reserve, layout);
                    // SAFETY: just allocated, of this size.
                    let content = unsafe { std::slice::from_raw_parts_mut(pointer, layout.size()) };
                    content.fill(thread);
                    std::hint::black_box(&mut *content);
                    assert!(content.iter().all(|byte| *byte == thread));
                    free(reserve, pointer, layout);
                }
            });
        }
    });
    assert_eq!(reserve.slots_in_use(), 0);
}

/// A system whose memory has run out.
struct Exhausted;

// SAFETY: it has no memory to hand out, and frees what is the real system's.
unsafe impl GlobalAlloc for Exhausted {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// T-079: what the system refuses comes from the reserve, outside a window too, and goes back there; too much is refused.
#[test]
fn t079_what_the_system_refuses_comes_from_the_reserve() {
    static RESERVE: Reserve<Exhausted> = Reserve::over(Exhausted);
    RESERVE.touch();
    // SAFETY: sizes that are not zero; each block is used within its size and freed once, with its layout.
    unsafe {
        let small = RESERVE.alloc(layout(100));
        small.write_bytes(0xA5, 100);
        let zeroed = RESERVE.alloc_zeroed(layout(100));
        assert_eq!(*zeroed.add(99), 0);
        let of_system = System.alloc(layout(10));
        of_system.write_bytes(0x5A, 10);
        let grown = RESERVE.realloc(of_system, layout(10), 5_000);
        assert_eq!(*grown.add(9), 0x5A);
        assert_eq!((RESERVE.rescued(), RESERVE.slots_in_use()), (3, 3));
        assert!(RESERVE.alloc(layout(LARGEST_BYTES + 1)).is_null());
        assert!(RESERVE.alloc_zeroed(layout(LARGEST_BYTES + 1)).is_null());
        RESERVE.dealloc(small, layout(100));
        RESERVE.dealloc(zeroed, layout(100));
        RESERVE.dealloc(grown, layout(5_000));
    }
    assert_eq!(RESERVE.slots_in_use(), 0);
    assert_eq!(RESERVE.rescued(), 3);
}
