// SPDX-License-Identifier: MIT OR Apache-2.0
//! One HTTP/1.1 request and its answer on a stream that the caller opened: TLS for the provider, a unix socket for the
//! admin command line.
//!
//! **Why not a library.** The provider calls `commit` while Windows holds the file systems: nothing may resolve, connect,
//! start a thread or wait past the caller's time there. `ureq` (3.5) starts a resolver thread for each call that has a
//! time limit and keeps its pool to itself; the seam for another TLS verifier is its `unversioned` module. What is left of
//! HTTP for two ends of one contract is one request, one answer with a stated length (RFC 9112 6.3), and is here.
//!
//! **I/O model.** Blocking; the time limit is the stream's matter. **Error model.** [`ExchangeError`].

use std::io::{self, Read, Write};

const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 32;

/// A request. Header values must be visible ASCII. Not `Debug`, because the host's token is one of them.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// The request target.
    pub path: &'a str,
    /// The value of `Host`.
    pub host: &'a str,
    /// More headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// JSON body; `None` for a request without one.
    pub json: Option<&'a [u8]>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the stream may be used for another request.
    pub keep_alive: bool,
}

impl Response {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer. The stream is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The stream failed or ended.
    #[error("the connection failed: {source}")]
    Io {
        /// What the system says.
        source: io::Error,
        /// The peer had begun to answer.
        answer_begun: bool,
    },
    /// The peer does not speak the HTTP of this contract.
    #[error("the answer is not what the contract says: {0}")]
    Malformed(String),
}

/// Sends `request` and reads the answer, whose body may have at most `body_bytes_max` bytes.
pub fn exchange(
    stream: &mut (impl Read + Write),
    request: &Request<'_>,
    body_bytes_max: usize,
) -> Result<Response, ExchangeError> {
    let failed = |answer_begun| {
        move |source| ExchangeError::Io {
            source,
            answer_begun,
        }
    };
    let bytes = encode(request);
    stream.write_all(&bytes).map_err(failed(false))?;
    stream.flush().map_err(failed(false))?;

    let mut input = Vec::with_capacity(4096);
    let head = loop {
        if let Some(head) = parse_head(&input)? {
            break head;
        }
        if input.len() > HEAD_BYTES_MAX {
            return Err(malformed("its head is too long"));
        }
        let begun = !input.is_empty();
        read_some(stream, &mut input).map_err(failed(begun))?;
    };
    if head.body_bytes > body_bytes_max {
        return Err(malformed("its body is too long"));
    }
    let end = head.bytes + head.body_bytes;
    while input.len() < end {
        read_some(stream, &mut input).map_err(failed(true))?;
    }
    // Bytes behind the body belong to no request of ours: the stream is out of step.
    let keep_alive = head.keep_alive && input.len() == end;
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body: input[head.bytes..end].to_vec(),
        keep_alive,
    })
}

fn encode(request: &Request<'_>) -> Vec<u8> {
    let body = request.json.unwrap_or_default();
    let mut text = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n",
        request.method, request.path, request.host
    );
    if request.json.is_some() {
        text.push_str("Content-Type: application/json\r\n");
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in request.headers {
        debug_assert!(value.bytes().all(|c| (0x20..0x7f).contains(&c)));
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    /// Length of the head itself.
    bytes: usize,
    body_bytes: usize,
    keep_alive: bool,
}

fn malformed(what: impl Into<String>) -> ExchangeError {
    ExchangeError::Malformed(what.into())
}

/// `None` while the head is incomplete.
fn parse_head(input: &[u8]) -> Result<Option<Head>, ExchangeError> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut slots);
    let bytes = match parsed.parse(input) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(malformed(format!("no HTTP answer ({error})"))),
    };
    let mut headers = Vec::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value)
            .map_err(|_| malformed(format!("header {} is no text", header.name)))?;
        headers.push((header.name.to_ascii_lowercase(), value.to_owned()));
    }
    let find = |name: &str| {
        let mut values = headers.iter().filter(|(known, _)| known == name);
        (
            values.next().map(|(_, value)| value.as_str()),
            values.count(),
        )
    };
    if find("transfer-encoding").0.is_some() {
        return Err(malformed("its length is not stated"));
    }
    let body_bytes = match find("content-length") {
        (Some(length), 0) => length
            .parse()
            .map_err(|_| malformed(format!("a length of {length:?}")))?,
        (Some(_), _) => return Err(malformed("two lengths")),
        (None, _) => return Err(malformed("its length is not stated")),
    };
    let close = find("connection")
        .0
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let keep_alive = parsed.version == Some(1) && !close;
    let status = parsed.code.unwrap_or_default();
    Ok(Some(Head {
        status,
        bytes,
        body_bytes,
        keep_alive,
        headers,
    }))
}

fn read_some(stream: &mut impl Read, input: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                input.extend_from_slice(&piece[..count]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Script {
        answer: io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            // Two bytes at a time, so that every boundary falls inside some read.
            let length = buf.len().min(2);
            self.answer.read(&mut buf[..length])
        }
    }

    impl Write for Script {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(answer: &str) -> (Result<Response, ExchangeError>, String) {
        let mut script = Script {
            answer: io::Cursor::new(answer.as_bytes().to_vec()),
            sent: Vec::new(),
        };
        let request = Request {
            method: "POST",
            path: "/v1/x",
            host: "array",
            headers: &[("a-header", "its value")],
            json: Some(b"{}"),
        };
        let result = exchange(&mut script, &request, 16);
        (result, String::from_utf8(script.sent).unwrap())
    }

    #[test]
    fn exchange_sends_the_request_as_written() {
        let (_, sent) = ask("");
        assert_eq!(
            sent,
            "POST /v1/x HTTP/1.1\r\nHost: array\r\nAccept: application/json\r\nContent-Type: \
             application/json\r\nContent-Length: 2\r\na-header: its value\r\n\r\n{}"
        );
    }

    #[test]
    fn exchange_whole_answer_is_returned() {
        let (answer, _) = ask("HTTP/1.1 409 Conflict\r\nX-One: 1\r\nContent-Length: 3\r\n\r\nabc");
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (409, b"abc".as_slice())
        );
        assert_eq!(answer.header("x-one"), Some("1"));
        assert!(answer.keep_alive);
    }

    #[test]
    fn exchange_close_or_surplus_ends_the_connection() {
        let (close, _) = ask("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n");
        let (old, _) = ask("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert!(!close.unwrap().keep_alive);
        assert!(!old.unwrap().keep_alive);
    }

    #[test]
    fn exchange_foreign_answer_is_malformed() {
        for answer in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ] {
            let (result, _) = ask(answer);
            assert!(
                matches!(result, Err(ExchangeError::Malformed(_))),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn exchange_broken_connection_says_whether_the_answer_had_begun() {
        for (answer, begun) in [("", false), ("HTTP/1.1 2", true)] {
            let (result, _) = ask(answer);
            assert!(matches!(
                result,
                Err(ExchangeError::Io { answer_begun, .. }) if answer_begun == begun
            ));
        }
    }
}
