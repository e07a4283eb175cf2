//! HTTP/1.1 for servers that must be able to misbehave: requests are read, answers are written as bytes.

use std::{
    fmt::{Display, Write as _},
    io,
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const MAX_HEAD: usize = 256 * 1024;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The values of a query parameter, not decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v))
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"))
    }
}

/// An answer before it becomes bytes.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("content-type".into(), content_type.into())], body: body.into() }
    }

    pub fn header(mut self, name: &str, value: impl Display) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// Status line and headers, with the body's real length.
    pub fn head(&self) -> Vec<u8> {
        let status = http::StatusCode::from_u16(self.status).ok();
        let reason = status.and_then(|s| s.canonical_reason()).unwrap_or("Unknown");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length")) {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        head += "\r\n";
        head.into_bytes()
    }
}

/// Reads requests from one connection.
pub(crate) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    pub fn new() -> Self {
        Self { buffer: Vec::new() }
    }

    /// The next request, or `None` when the peer closed between requests.
    pub async fn next(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Request>> {
        let mut request = loop {
            if let Some((request, length)) = parse_head(&self.buffer)? {
                self.buffer.drain(..length);
                break request;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(invalid("head too long"));
            }
            if !self.fill(io).await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        };
        if request.is_chunked() {
            request.body = self.chunks(io).await?;
        } else if let Some(length) = request.header("content-length") {
            let length = length.parse().map_err(|_| invalid("content-length"))?;
            request.body = self.take(io, length).await?;
        }
        Ok(Some(request))
    }

    async fn chunks(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line(io).await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size"))?;
            if size == 0 {
                while !self.line(io).await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(io, size).await?);
            self.line(io).await?;
        }
    }

    async fn line(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer.drain(..end + 2).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill(io).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn take(&mut self, io: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill(io).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        Ok(io.read_buf(&mut self.buffer).await? > 0)
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes).map_err(|e| invalid(&e.to_string()))? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => {
            let headers = parsed
                .headers
                .iter()
                .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
                .collect();
            let method = parsed.method.unwrap_or_default().to_owned();
            let target = parsed.path.unwrap_or_default().to_owned();
            Ok(Some((Request { method, target, headers, body: Vec::new() }, length)))
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_lengths_chunks_and_pipelines() {
        let mut wire: &[u8] = b"POST /a?x=1&y=2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
            POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;e=1\r\nf\r\n0\r\n\r\n\
            GET /c HTTP/1.1\r\n\r\n";
        let mut reader = Reader::new();
        let first = reader.next(&mut wire).await.unwrap().unwrap();
        assert_eq!(
            (first.path(), first.query("y"), first.body.as_slice()),
            ("/a", Some("2"), b"abc".as_slice())
        );
        assert_eq!(reader.next(&mut wire).await.unwrap().unwrap().body, b"def");
        assert_eq!(reader.next(&mut wire).await.unwrap().unwrap().target, "/c");
        assert!(reader.next(&mut wire).await.unwrap().is_none());
    }
}
