// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection.
use crate::target::Shared;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

pub(crate) fn serve(_shared: &Arc<Shared>, stream: TcpStream, _peer: SocketAddr) {
    drop(stream);
}
