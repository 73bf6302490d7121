//! An HTTP/1.1 client that sends exactly what it is told and shows exactly what came back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a server may take to answer.
pub const ANSWER: Duration = Duration::from_secs(30);

/// A request, headers as they are sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query, sent as they are.
    pub path: String,
    /// Further headers; `Host` and `Content-Length` are added where they are not given.
    pub headers: Vec<(String, String)>,
    /// The body, sent as it is.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without body.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// `GET path`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST path` with a body.
    #[must_use]
    pub fn post(path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", path) }.header("Content-Type", content_type)
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// The bytes that are sent to `host`.
    #[must_use]
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.has("Host") {
            head += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let bare = self.body.is_empty() && matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        if !bare && !self.has("Content-Length") && !self.has("Transfer-Encoding") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// Status line and headers of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The text after it.
    pub reason: String,
    /// Names as they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn is_chunked(&self) -> bool {
        self.header("Transfer-Encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status line and headers.
    pub head: Head,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as text; bytes that are none are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {} {}", self.status(), self.text()))
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(Self { stream, host: address.to_string(), buffer: Vec::new() })
    }

    /// The socket, for those who break it.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the server has closed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection breaks before the answer is complete.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        let bytes = request.to_bytes(&self.host);
        // A server may refuse, answer and close while a large body is still on its way: what it said is what counts.
        let written = self.stream.write_all(&bytes);
        let answer = self.response(request.method != "HEAD");
        match (written, answer) {
            (_, Ok(response)) => Ok(response),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    /// Sends a request and reads the head of its answer only.
    ///
    /// # Errors
    /// When the connection breaks before that.
    pub fn start(&mut self, request: &Request) -> io::Result<Head> {
        let bytes = request.to_bytes(&self.host);
        self.stream.write_all(&bytes)?;
        self.head()
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// When the connection breaks before it is complete.
    pub fn response(&mut self, has_body: bool) -> io::Result<Response> {
        let head = self.head()?;
        let body = if !has_body || matches!(head.status, 204 | 304) { Vec::new() } else { self.body(&head)? };
        Ok(Response { head, body })
    }

    fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if head.is_chunked() {
            let mut body = Vec::new();
            while let Some(chunk) = self.chunk()? {
                body.extend_from_slice(&chunk);
            }
            return Ok(body);
        }
        match head.header("Content-Length").map(str::parse) {
            Some(Ok(length)) => self.exactly(length),
            Some(Err(_)) => Err(io::Error::new(io::ErrorKind::InvalidData, "Content-Length is no number")),
            None => {
                let mut body = std::mem::take(&mut self.buffer);
                self.stream.read_to_end(&mut body)?;
                Ok(body)
            }
        }
    }

    /// Reads a status line and headers; `100 Continue` and its kind are passed over.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub fn head(&mut self) -> io::Result<Head> {
        loop {
            let head = parse_head(&self.lines()?)?;
            if head.status >= 200 || head.status == 101 {
                return Ok(head);
            }
        }
    }

    fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    /// One chunk of a chunked body, or nothing after the last one.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection ends without a last chunk.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("no chunk size: {line:?}")))?;
        let chunk = self.exactly(size)?;
        let end = self.line()?;
        if !end.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a chunk of {size} bytes goes on: {end:?}"),
            ));
        }
        Ok((size > 0).then_some(chunk))
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.buffer.split_off(end + 2);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.fill()?;
        }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let count = self.stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended"));
        }
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

fn parse_head(lines: &[String]) -> io::Result<Head> {
    let no_http = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP answer: {what:?}"));
    let first = lines.first().ok_or_else(|| no_http(""))?;
    let mut words = first.splitn(3, ' ');
    let (_, status) = (words.next(), words.next());
    let status = status.and_then(|status| status.parse().ok()).ok_or_else(|| no_http(first))?;
    let reason = words.next().unwrap_or_default().to_owned();
    let headers = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.to_owned(), v.trim().to_owned()))
        .collect();
    Ok(Head { status, reason, headers })
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// When nobody listens, or the connection breaks before the answer is complete.
pub fn send(address: SocketAddr, request: &Request) -> io::Result<Response> {
    Connection::open(address)?.send(request)
}

/// `GET path` as JSON.
///
/// # Panics
/// When there is no answer, or it is no JSON.
#[must_use]
pub fn get_json(address: SocketAddr, path: &str) -> Value {
    let response =
        send(address, &Request::get(path)).unwrap_or_else(|error| panic!("GET http://{address}{path}: {error}"));
    assert_eq!(response.status(), 200, "GET http://{address}{path}: {}", response.text());
    response.json()
}
