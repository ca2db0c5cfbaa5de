//! One answer of an HTTP/1.1 server on a connection that is kept: read until it is whole. Sans-IO; only what conference
//! requests need (status, length, chunks, `Connection`).

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Body without the transfer coding.
    pub(crate) body: Vec<u8>,
    /// The server closes the connection after it.
    pub(crate) close: bool,
}

/// Longest answer that is accepted.
const MAX_ANSWER: usize = 1 << 20;

/// Reads the answer at the start of `data`. `None`: incomplete. `Err`: not HTTP, or too long.
pub(crate) fn answer(data: &[u8]) -> Result<Option<Answer>, &'static str> {
    if data.len() > MAX_ANSWER {
        return Err("answer too long");
    }
    let Some(head_len) = memchr::memmem::find(data, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&data[..head_len]).map_err(|_| "head is not text")?;
    let status = status(head).ok_or("no status line")?;
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let close = header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) || head.starts_with("HTTP/1.0");
    let rest = &data[head_len + 4..];
    if header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return Ok(chunks(rest)?.map(|body| Answer { status, body, close }));
    }
    let len: usize = match header("content-length") {
        Some(text) => text.parse().map_err(|_| "bad length")?,
        None => 0,
    };
    Ok(rest.get(..len).map(|body| Answer { status, body: body.to_vec(), close }))
}

/// The status of a head.
pub(crate) fn status(head: &str) -> Option<u16> {
    head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    loop {
        let Some(line) = memchr::memmem::find(rest, b"\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&rest[..line]).map_err(|_| "bad chunk")?;
        let len = usize::from_str_radix(text.split(';').next().unwrap_or("").trim(), 16).map_err(|_| "bad chunk")?;
        if len > MAX_ANSWER {
            return Err("answer too long");
        }
        if rest.len() < line + 2 + len + 2 {
            return Ok(None);
        }
        if len == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + len]);
        rest = &rest[line + 2 + len + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_a_length_and_in_chunks_are_read_whole() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;x\r\n}\r\n0\r\n\r\n";
        for whole in [&plain[..], chunked] {
            for cut in 0..whole.len() {
                assert_eq!(answer(&whole[..cut]), Ok(None), "{cut}");
            }
            assert_eq!(answer(whole), Ok(Some(Answer { status: 200, body: b"{}".to_vec(), close: false })));
        }
        let gone = answer(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap();
        assert!(gone.close && gone.status == 503);
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(answer(b"SSH-2.0\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n").is_err());
    }
}
