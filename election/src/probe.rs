//! Who is at a leader's address.

use std::{io::ErrorKind, time::Duration};

use mezzo_api::v1::MasterInfo;
use mezzo_election_core::{address_of, challenge::Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// The header in which a master tells the id of its candidacy with each answer of `/health`.
pub const ID_HEADER: &str = "mezzo-master-id";

/// A master that does not answer within this time may be frozen or far away.
const WITHIN: Duration = Duration::from_secs(2);
/// A living leader is asked again after this, on the same connection; its end is noticed at once.
const AGAIN: Duration = Duration::from_secs(1);
/// A leader that is not there is looked for again after this.
const GONE_AGAIN: Duration = Duration::from_millis(100);
/// The head of an answer is shorter.
const MAX_HEAD: usize = 16 * 1024;

/// Looks at the leader's address for ever, and tells what is there.
pub(crate) async fn probe(leader: MasterInfo, mut tell: impl FnMut(Verdict)) {
    let (host, port) = address_of(&leader);
    loop {
        match timeout(WITHIN, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(mut stream)) => {
                let end = talk(&mut stream, &host, &leader.id, &mut tell).await;
                if end == Verdict::Alive {
                    continue; // it was there until now: look at once what became of it
                }
                tell(end);
            }
            Ok(Err(error)) => tell(is_gone(error.kind())),
            Err(_) => tell(Verdict::Unknown),
        }
        sleep(GONE_AGAIN).await;
    }
}

fn is_gone(error: ErrorKind) -> Verdict {
    match error {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Verdict::Gone,
        _ => Verdict::Unknown,
    }
}

/// Asks again and again on one connection; what was last known when it ends.
async fn talk(stream: &mut TcpStream, host: &str, id: &str, tell: &mut impl FnMut(Verdict)) -> Verdict {
    let mut last = Verdict::Unknown;
    loop {
        let verdict = match timeout(WITHIN, ask(stream, host)).await {
            Ok(Ok(Some(told))) if told == id => Verdict::Alive,
            Ok(Ok(Some(_))) => Verdict::Gone,
            Ok(Ok(None)) | Err(_) => Verdict::Unknown,
            Ok(Err(_)) if last == Verdict::Alive => return last,
            Ok(Err(error)) => return is_gone(error.kind()),
        };
        if verdict != Verdict::Alive {
            return verdict;
        }
        last = verdict;
        tell(verdict);
        // Nothing is expected here: whatever comes is the connection's end.
        if timeout(AGAIN, stream.readable()).await.is_ok() && !matches!(stream.try_read(&mut [0; 1]), Ok(1)) {
            return last;
        }
    }
}

/// The id that a master tells, or `None` if whoever answers tells none.
async fn ask(stream: &mut TcpStream, host: &str) -> std::io::Result<Option<String>> {
    stream.write_all(format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Ok(None);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8_lossy(&head);
    let mut headers = text.lines().filter_map(|line| line.split_once(':'));
    let id = headers.find(|(name, _)| name.eq_ignore_ascii_case(ID_HEADER)).map(|(_, id)| id.trim().to_owned());
    Ok(id)
}

#[cfg(test)]
mod tests {
    use mezzo_election_core::fixed;
    use tokio::{net::TcpListener, sync::mpsc};

    use super::*;

    async fn serve(listener: TcpListener, id: &'static str) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nMezzo-Master-Id: {id}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn tells_the_leader_from_another_one_and_from_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let leader = MasterInfo { id: "one".into(), ..fixed("127.0.0.1", address.port()) };
        let (sender, mut verdicts) = mpsc::unbounded_channel();
        let probing = tokio::spawn(probe(leader, move |verdict| {
            let _ = sender.send(verdict);
        }));
        let server = tokio::spawn(serve(listener, "one"));
        assert_eq!(verdicts.recv().await, Some(Verdict::Alive));
        server.abort();
        let _ = server.await;
        while verdicts.recv().await != Some(Verdict::Gone) {}
        let server = tokio::spawn(serve(TcpListener::bind(address).await.unwrap(), "two"));
        for _ in 0..20 {
            assert_eq!(verdicts.recv().await, Some(Verdict::Gone));
        }
        server.abort();
        probing.abort();
    }

    #[tokio::test]
    async fn who_accepts_and_says_nothing_is_not_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let leader = fixed("127.0.0.1", listener.local_addr().unwrap().port());
        let (sender, mut verdicts) = mpsc::unbounded_channel();
        let probing = tokio::spawn(probe(leader, move |verdict| {
            let _ = sender.send(verdict);
        }));
        assert_eq!(verdicts.recv().await, Some(Verdict::Unknown));
        probing.abort();
    }
}
