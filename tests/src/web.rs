//! A small web server on a host of a test's network: packages to download, a cloud's metadata service.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use crate::hosts::Host;

/// What is asked.
#[derive(Debug)]
pub struct Asked {
    /// GET, PUT.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Answer {
    /// A text.
    #[must_use]
    pub fn text(body: &str) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    /// A document.
    #[must_use]
    pub fn json(document: &serde_json::Value) -> Self {
        Self::text(&document.to_string())
    }

    /// Nothing but a status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }
}

/// Answers on this host, until the test's process ends.
///
/// # Panics
/// When the address cannot be listened on.
pub fn serve(host: &Host, address: (Ipv4Addr, u16), answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
    let (started, listens) = mpsc::channel();
    let namespace = host.name();
    thread::spawn(move || {
        crate::hosts::enter(&namespace);
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address:?}: {error}"));
        let _ = started.send(());
        let answer = std::sync::Arc::new(answer);
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let _ = one(stream, answer.as_ref()); // who asked has gone
            });
        }
    });
    listens.recv().expect("the server listens");
}

fn one(stream: TcpStream, answer: &dyn Fn(&Asked) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let Answer { status, headers, body } = answer(&Asked { method, path, headers });
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} As-Asked\r\nContent-Length: {}\r\nConnection: close\r\n", body.len())?;
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&body)
}
