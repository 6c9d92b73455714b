// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits to be sent on a connection. Whoever has something to send adds it and sends as much as the socket takes
//! without waiting; when it takes no more, the connection's own second thread goes on. So no worker ever waits for a
//! slow initiator, and answers that come together leave together.

use crate::pdu::Answer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;
use zerocopy::IntoBytes;

/// PDUs per system call. Three slices each stay far below IOV_MAX.
const BATCH_PDUS: usize = 64;

pub(crate) struct Outbound {
    stream: TcpStream,
    state: Mutex<State>,
    changed: Condvar,
    /// Something was sent, or nothing will be any more.
    room: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Answer>,
    /// Bytes of the first PDU that are sent.
    sent: usize,
    /// Bytes in the queue and in the hands of the sender.
    bytes: usize,
    /// Somebody is sending.
    busy: bool,
    /// The socket is full: the second thread's turn.
    full: bool,
    /// Close when all is sent.
    closing: bool,
    closed: bool,
}

/// Why [`Outbound::wait`] returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The socket is full.
    Full,
    /// Time has passed.
    Tick,
    /// The connection is closed.
    Closed,
}

impl Outbound {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            state: Mutex::default(),
            changed: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code that can panic runs under the send queue's lock")
    }

    /// Adds answers in their order. Call [`Outbound::flush`] when there is nothing to add for now.
    pub(crate) fn push(&self, answers: Vec<Answer>) {
        if answers.is_empty() {
            return;
        }
        let mut state = self.lock();
        if !state.closed {
            state.bytes += answers.iter().map(Answer::wire_bytes).sum::<usize>();
            state.queue.extend(answers);
        }
    }

    /// Bytes that wait to be sent.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// For the reader: waits until at most `bytes_max` bytes wait to be sent, or the connection is closed. Whoever
    /// asks without end and reads no answers is not listened to until it does.
    pub(crate) fn wait_for_room(&self, bytes_max: usize) {
        if self.bytes() <= bytes_max {
            return;
        }
        self.flush();
        let state = self.lock();
        drop(
            self.room
                .wait_while(state, |state| state.bytes > bytes_max && !state.closed)
                .expect("see lock"),
        );
    }

    /// Closes the connection when all that was pushed is sent.
    pub(crate) fn close_after(&self) {
        self.lock().closing = true;
        self.flush();
    }

    /// Closes the connection at once.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        self.close_locked(&mut state);
    }

    fn close_locked(&self, state: &mut State) {
        state.closed = true;
        state.queue.clear();
        state.bytes = 0;
        // The peer may have gone already, which is as good. The reader wakes up from this.
        let _ = rustix::net::shutdown(&self.stream, Shutdown::Both);
        self.changed.notify_all();
        self.room.notify_all();
    }

    /// Sends what the socket takes, unless another thread is at it.
    pub(crate) fn flush(&self) {
        let mut state = self.lock();
        if state.busy {
            // The sender looks into the queue again before it leaves.
            return;
        }
        while !state.full && !state.closed {
            if state.queue.is_empty() {
                if state.closing {
                    self.close_locked(&mut state);
                }
                return;
            }
            let count = state.queue.len().min(BATCH_PDUS);
            let mut batch: VecDeque<Answer> = state.queue.drain(..count).collect();
            let skip = std::mem::take(&mut state.sent);
            state.busy = true;
            drop(state);
            let result = self.send(&batch, skip);
            state = self.lock();
            state.busy = false;
            match result {
                _ if state.closed => return,
                Ok(sent) => {
                    let (done, rest) = settle(&mut batch, skip + sent);
                    state.bytes -= done;
                    state.sent = rest;
                    self.room.notify_all();
                    while let Some(answer) = batch.pop_back() {
                        state.queue.push_front(answer);
                    }
                }
                Err(Errno::AGAIN) => {
                    state.sent = skip;
                    while let Some(answer) = batch.pop_back() {
                        state.queue.push_front(answer);
                    }
                    state.full = true;
                    self.changed.notify_all();
                }
                Err(error) => {
                    tracing::debug!(%error, "sending failed");
                    self.close_locked(&mut state);
                }
            }
        }
    }

    fn send(&self, batch: &VecDeque<Answer>, skip: usize) -> rustix::io::Result<usize> {
        let mut slices = Vec::with_capacity(batch.len() * 3);
        let mut left = skip;
        for answer in batch {
            for part in [answer.header.as_bytes(), answer.data(), answer.padding()] {
                let gone = left.min(part.len());
                left -= gone;
                if gone < part.len() {
                    slices.push(IoSlice::new(&part[gone..]));
                }
            }
        }
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(
                &self.stream,
                &slices,
                &mut SendAncillaryBuffer::default(),
                flags,
            ) {
                Err(Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// For the second thread: waits until the socket is full, the connection is closed, or `tick` has passed.
    pub(crate) fn wait(&self, tick: Duration) -> Woken {
        let state = self.lock();
        let (state, _) = self
            .changed
            .wait_timeout_while(state, tick, |state| !state.full && !state.closed)
            .expect("see lock");
        match (state.closed, state.full) {
            (true, _) => Woken::Closed,
            (_, true) => Woken::Full,
            _ => Woken::Tick,
        }
    }

    /// For the second thread: waits until a full socket takes data again, at most `within`; then sends.
    pub(crate) fn drain(&self, within: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(within).map_err(io::Error::other)?;
        let mut sockets = [PollFd::new(&self.stream, PollFlags::OUT)];
        match poll(&mut sockets, Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.lock().full = false;
        self.flush();
        Ok(())
    }
}

/// Takes PDUs off the front that `sent` bytes cover. Gives the bytes of those, and what of the next is sent.
fn settle(batch: &mut VecDeque<Answer>, sent: usize) -> (usize, usize) {
    let mut done = 0;
    while let Some(answer) = batch.front() {
        let length = answer.wire_bytes();
        if sent - done < length {
            break;
        }
        done += length;
        batch.pop_front();
    }
    (done, sent - done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::{AnswerHeader, opcode};
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::Arc;

    #[test]
    fn flush_full_socket_is_drained_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let out = Arc::new(Outbound::new(sender));
        let answers: Vec<_> = (0..300)
            .map(|itt| {
                let header = AnswerHeader::new(opcode::NOP_IN, itt);
                Answer::with_data(header, vec![itt as u8; 100_001])
            })
            .collect();
        let expected: Vec<u8> = answers.iter().flat_map(Answer::to_bytes).collect();
        out.push(answers);
        out.flush();
        assert_eq!(out.wait(Duration::ZERO), Woken::Full);
        out.lock().closing = true;
        let drainer = Arc::clone(&out);
        let thread = std::thread::spawn(move || {
            while drainer.wait(Duration::from_secs(60)) == Woken::Full {
                drainer.drain(Duration::from_secs(60)).unwrap();
            }
        });
        let mut got = Vec::new();
        receiver.read_to_end(&mut got).unwrap();
        thread.join().unwrap();
        assert!(got == expected);
        assert_eq!(out.bytes(), 0);
    }
}
