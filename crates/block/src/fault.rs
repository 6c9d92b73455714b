// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device around another one that fails, delays or blocks chosen operations: for tests of what stands above.
use crate::{BlockDevice, BlockError, ErrorKind, Geometry};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// What a device can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`BlockDevice::read`].
    Read,
    /// [`BlockDevice::write`].
    Write,
    /// [`BlockDevice::flush`].
    Flush,
    /// [`BlockDevice::unmap`].
    Unmap,
}

/// Which operations something happens to. The default is every one, for ever.
#[derive(Clone, Debug)]
pub struct Rule {
    op: Option<Op>,
    range: Range<u64>,
    skip: u64,
    times: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            op: None,
            range: 0..u64::MAX,
            skip: 0,
            times: u64::MAX,
        }
    }
}

impl Rule {
    /// Operations of one kind.
    pub fn of(op: Op) -> Self {
        Self {
            op: Some(op),
            ..Self::default()
        }
    }

    /// Only those that touch these bytes. A flush touches all.
    pub fn touching(self, range: Range<u64>) -> Self {
        Self { range, ..self }
    }

    /// Not the first `skip` of them.
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Only so many of them.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    /// Whether the rule applies; counts the operation.
    fn applies(&mut self, op: Op, bytes: &Range<u64>) -> bool {
        let meant = self.op.is_none_or(|meant| meant == op)
            && bytes.start < self.range.end
            && self.range.start < bytes.end;
        if !meant || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

enum Effect {
    Fail(ErrorKind),
    Delay(Duration),
    Block(Arc<Gate>),
}

#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    arrived: usize,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().expect("no panic under this lock")
    }

    fn pass(&self) {
        let mut state = self.lock();
        state.arrived += 1;
        self.changed.notify_all();
        while !state.open {
            state = self.changed.wait(state).expect("see lock");
        }
    }
}

/// Operations held up by [`FaultDisk::block`]. Dropping it lets them go, and holds up none any more.
pub struct Blocked {
    gate: Arc<Gate>,
}

impl Blocked {
    /// Waits until `count` operations have arrived.
    pub fn wait_arrived(&self, count: usize) {
        let mut state = self.gate.lock();
        while state.arrived < count {
            state = self.gate.changed.wait(state).expect("see lock");
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.gate.lock().open = true;
        self.gate.changed.notify_all();
    }
}

/// The device around another one.
pub struct FaultDisk {
    inner: Arc<dyn BlockDevice>,
    rules: Mutex<Vec<(Rule, Effect)>>,
}

impl FaultDisk {
    /// Wraps `inner`; nothing fails yet.
    pub fn new(inner: Arc<dyn BlockDevice>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            rules: Mutex::default(),
        })
    }

    /// Operations that `rule` names fail with `kind` and do nothing.
    pub fn fail(&self, rule: Rule, kind: ErrorKind) {
        self.add(rule, Effect::Fail(kind));
    }

    /// Operations that `rule` names take longer.
    pub fn delay(&self, rule: Rule, by: Duration) {
        self.add(rule, Effect::Delay(by));
    }

    /// Operations that `rule` names wait, before doing anything, until the result is dropped.
    pub fn block(&self, rule: Rule) -> Blocked {
        let gate = Arc::<Gate>::default();
        self.add(rule, Effect::Block(Arc::clone(&gate)));
        Blocked { gate }
    }

    /// Forgets all rules. What is blocked stays so until its [`Blocked`] is dropped.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn add(&self, rule: Rule, effect: Effect) {
        self.lock().push((rule, effect));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Rule, Effect)>> {
        self.rules.lock().expect("no panic under this lock")
    }

    /// All effects of the rules that apply, in their order.
    fn meet(&self, op: Op, offset: u64, length_bytes: u64) -> Result<(), BlockError> {
        let bytes = offset..offset.saturating_add(length_bytes);
        let (mut delay, mut gates, mut failure) = (Duration::ZERO, Vec::new(), None);
        for (rule, effect) in self.lock().iter_mut() {
            if rule.applies(op, &bytes) {
                match effect {
                    Effect::Fail(kind) => failure = failure.or(Some(*kind)),
                    Effect::Delay(by) => delay += *by,
                    Effect::Block(gate) => gates.push(Arc::clone(gate)),
                }
            }
        }
        // Outside the lock: others go on meanwhile.
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        for gate in gates {
            gate.pass();
        }
        match failure {
            None => Ok(()),
            Some(kind) => Err(BlockError::new(
                kind,
                format!("injected fault: {op:?} of {length_bytes} bytes at {offset}"),
            )),
        }
    }
}

impl BlockDevice for FaultDisk {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        self.meet(Op::Read, offset, buf.len() as u64)?;
        self.inner.read(offset, buf)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.meet(Op::Write, offset, data.len() as u64)?;
        self.inner.write(offset, data)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.meet(Op::Flush, 0, u64::MAX)?;
        self.inner.flush()
    }

    fn unmap(&self, offset: u64, length_bytes: u64) -> Result<(), BlockError> {
        self.meet(Op::Unmap, offset, length_bytes)?;
        self.inner.unmap(offset, length_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ram::RamDisk;

    fn disk() -> Arc<FaultDisk> {
        FaultDisk::new(RamDisk::new(1 << 20))
    }

    #[test]
    fn fail_after_two_of_three_fails_only_the_third() {
        let disk = disk();
        disk.fail(Rule::of(Op::Write).after(2).times(1), ErrorKind::Medium);
        let kinds: Vec<_> = (0..4)
            .map(|_| disk.write(0, &[1; 512]).err().map(|error| error.kind()))
            .collect();
        assert_eq!(kinds, [None, None, Some(ErrorKind::Medium), None]);
    }

    #[test]
    fn fail_of_range_leaves_other_ranges_and_data_alone() {
        let disk = disk();
        disk.write(4096, &[1; 512]).unwrap();
        disk.fail(Rule::of(Op::Write).touching(4096..8192), ErrorKind::Io);
        disk.write(0, &[2; 4096]).unwrap();
        assert!(disk.write(3584, &[2; 1024]).is_err());
        let mut found = [0; 512];
        disk.read(4096, &mut found).unwrap();
        assert_eq!(found, [1; 512]);
    }

    #[test]
    fn block_holds_writes_until_dropped_and_lets_reads_pass() {
        let disk = disk();
        let blocked = disk.block(Rule::of(Op::Write));
        let writer = {
            let disk = Arc::clone(&disk);
            std::thread::spawn(move || disk.write(0, &[7; 512]))
        };
        blocked.wait_arrived(1);
        let mut found = [1; 512];
        disk.read(0, &mut found).unwrap();
        assert_eq!(found, [0; 512]);
        drop(blocked);
        writer.join().unwrap().unwrap();
        disk.read(0, &mut found).unwrap();
        assert_eq!(found, [7; 512]);
    }

    #[test]
    fn clear_ends_all_rules() {
        let disk = disk();
        disk.fail(Rule::default(), ErrorKind::Gone);
        assert!(disk.flush().is_err());
        disk.clear();
        disk.flush().unwrap();
    }
}
