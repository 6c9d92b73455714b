// SPDX-License-Identifier: MIT OR Apache-2.0

/// The memory of the commit window: from PreCommitSnapshots' entry to thaw nothing may ask the system for any (COM-3, COM-8,
/// TIME-22). The edge supplies it, for only the program can choose its allocator.
///
/// Windows of several providers in one process may overlap. The methods must not block.
pub trait Window: Send + Sync {
    /// A window begins: from now on allocations of the process are served from memory that it has.
    fn open(&self);
    /// One window ends.
    fn close(&self);
    /// How many allocations went to the system since the process started.
    fn asked_system(&self) -> u64;
}
