//! The task's output, read from its sandbox: through the master, or from the agent itself where the master does not
//! pass on (Apache Mesos).

use std::{
    io::{self, Write},
    time::Duration,
};

use mezzo_sdk::{Address, v1};

use crate::http::{Http, HttpError, escape};

/// Waits between reads while the task runs.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// What is asked for at once.
const READ_BYTES: usize = 256 * 1024;

/// Follows stdout and stderr of one task.
#[derive(Debug)]
pub(super) struct Output {
    sources: Vec<Source>,
    /// Which source has answered; the first until one has.
    source: Option<usize>,
    directory: String,
    stdout: u64,
    stderr: u64,
    wait: Duration,
    problem: Option<String>,
}

#[derive(Debug)]
struct Source {
    http: Http,
    prefix: String,
}

/// Why output cannot be passed on: the reader of ours is gone.
pub(crate) type Broken = io::Error;

enum Read {
    Data(Vec<u8>),
    Absent(String),
}

impl Output {
    /// Of the task of a command: its executor has the task's id.
    pub(super) fn new(master: Address, framework: &v1::FrameworkId, task: &str, offer: &v1::Offer) -> Self {
        let mut sources = vec![Source {
            http: Http::new(master),
            prefix: format!("/agent/{}/files/read", escape(&offer.agent_id.value)),
        }];
        if let Some((address, path)) = agent_address(offer) {
            sources.push(Source { http: Http::new(address), prefix: format!("{path}/files/read") });
        }
        Self {
            sources,
            source: None,
            directory: format!("/frameworks/{}/executors/{task}/runs/latest", framework.value),
            stdout: 0,
            stderr: 0,
            wait: FIRST_WAIT,
            problem: None,
        }
    }

    /// Another master leads: read through that one.
    pub(super) fn follow(&mut self, master: &Address) {
        if let Some(source) = self.sources.first_mut().filter(|source| source.http.address() != master) {
            source.http = Http::new(master.clone());
        }
    }

    /// How long to wait before the next read.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Passes on all that is new.
    pub(super) async fn pass_on(&mut self) -> Result<(), Broken> {
        let before = (self.stdout, self.stderr);
        self.stdout = self.file("stdout", self.stdout, &mut io::stdout().lock()).await?;
        self.stderr = self.file("stderr", self.stderr, &mut io::stderr().lock()).await?;
        let new = before != (self.stdout, self.stderr);
        self.wait = if new { FIRST_WAIT } else { (self.wait * 2).min(LONGEST_WAIT) };
        Ok(())
    }

    /// Why nothing could be read, if nothing ever could.
    pub(super) fn problem(&self) -> Option<&str> {
        if self.source.is_some() { None } else { self.problem.as_deref() }
    }

    /// Returns the offset behind what was passed on.
    async fn file(&mut self, name: &str, mut offset: u64, to: &mut dyn Write) -> Result<u64, Broken> {
        let path = escape(&format!("{}/{name}", self.directory));
        loop {
            let query = format!("?path={path}&offset={offset}&length={READ_BYTES}");
            match self.read(&query).await {
                Read::Data(data) if data.is_empty() => break,
                Read::Data(data) => {
                    to.write_all(&data)?;
                    offset += data.len() as u64;
                }
                Read::Absent(problem) => {
                    self.problem = Some(problem);
                    break;
                }
            }
        }
        to.flush()?;
        Ok(offset)
    }

    /// Asks the source that has answered before, else all in turn.
    async fn read(&mut self, query: &str) -> Read {
        let turn = match self.source {
            Some(known) => known..known + 1,
            None => 0..self.sources.len(),
        };
        let mut problem = String::new();
        for at in turn {
            let Some(source) = self.sources.get_mut(at) else { break };
            match source.read(query).await {
                Ok(data) => {
                    self.source = Some(at);
                    return Read::Data(data);
                }
                Err(error) => problem = error,
            }
        }
        Read::Absent(problem)
    }
}

impl Source {
    async fn read(&mut self, query: &str) -> Result<Vec<u8>, String> {
        let path = format!("{}{query}", self.prefix);
        let answer = self.http.get(&path).await.map_err(|error: HttpError| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("HTTP status {}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim()));
        }
        data(&answer.body).ok_or_else(|| "the answer has no data".to_owned())
    }
}

/// The agent's own address and the path of its actor, as the offer has them.
fn agent_address(offer: &v1::Offer) -> Option<(Address, String)> {
    let url = offer.url.as_ref()?;
    let host = url.address.ip.clone().or_else(|| url.address.hostname.clone())?;
    let port = u16::try_from(url.address.port).ok()?;
    Some((Address { host, port }, url.path.clone().unwrap_or_default()))
}

/// The bytes of `data` in `{"data":"…","offset":N}`. Output is bytes, not text: what is no UTF-8 stands raw in Mesos'
/// JSON, which a JSON reader would refuse.
pub(crate) fn data(body: &[u8]) -> Option<Vec<u8>> {
    const KEY: &[u8] = b"\"data\":\"";
    let start = body.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body.get(start..)?;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some(out),
            b'\\' => rest = unescape(rest, &mut out)?,
            byte => out.push(*byte),
        }
    }
}

/// Reads one escape behind its backslash; returns what follows it.
fn unescape<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (kind, rest) = text.split_first()?;
    let plain = match kind {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'u' => return unescape_unicode(rest, out),
        other => *other,
    };
    out.push(plain);
    Some(rest)
}

fn unescape_unicode<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let unit = |text: &[u8]| u32::from_str_radix(std::str::from_utf8(text.get(..4)?).ok()?, 16).ok();
    let first = unit(text)?;
    let mut rest = text.get(4..)?;
    let mut code = first;
    if (0xD800..0xDC00).contains(&first)
        && let Some(low) = rest.strip_prefix(b"\\u").and_then(unit)
        && (0xDC00..0xE000).contains(&low)
    {
        code = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
        rest = rest.get(6..)?;
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_bytes_out_of_an_answer() {
        for (body, expected) in [
            (br#"{"data":"hi\n","offset":0}"#.as_slice(), b"hi\n".as_slice()),
            (br#"{"data":"","offset":3}"#, b""),
            (br#"{"offset":3,"data":"a\"b\\c\/d\te"}"#, b"a\"b\\c/d\te"),
            (br#"{"data":"\u0000\u001b[1m\u00e9\ud83d\ude00"}"#, "\0\u{1b}[1mé😀".as_bytes()),
            (b"{\"data\":\"\xff\xfe\",\"offset\":0}", b"\xff\xfe"),
        ] {
            assert_eq!(data(body).as_deref(), Some(expected), "{}", String::from_utf8_lossy(body));
        }
        for body in [b"".as_slice(), b"{}", br#"{"data":"cut"#, br#"{"data":"cut\"#, br#"{"data":"\u12"#] {
            assert_eq!(data(body), None);
        }
    }
}
