//! The driver over TLS: to whom it speaks, and to whom it does not.

use std::sync::Arc;

use mezzo_sdk::{Event, tls::Tls};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{
    scheduler::{builder, master, next_but_retries, subscribed},
    server::soon,
};

/// Ends TLS in front of a server; gives its port and its certificate.
async fn front(behind: std::net::SocketAddr) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut secure) = acceptor.accept(socket).await else { return };
                let mut plain = TcpStream::connect(behind).await.unwrap();
                let _ = copy_bidirectional(&mut secure, &mut plain).await; // until one side leaves
            });
        }
    });
    (port, made.cert.pem())
}

#[tokio::test]
async fn subscribes_and_makes_calls_over_tls() {
    let mut master = master().await;
    let (port, authority) = front(master.address).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, authority).unwrap();
    let builder =
        builder(format!("https://localhost:{port}")).credentials("me", "secret").tls(Tls::authorities(&path).unwrap());
    let (handle, mut events) = builder.build().unwrap();
    let subscription = master.subscription().await;
    assert_eq!(subscription.request.header("host"), Some(format!("localhost:{port}").as_str()));
    assert!(subscription.request.header("authorization").unwrap().starts_with("Basic "));
    subscription.accept("s");
    subscription.send(&subscribed());
    assert!(matches!(next_but_retries(&mut events).await, Event::Subscribed(_)));
    handle.revive(Vec::new());
    assert_eq!(master.call().await.header("mesos-stream-id"), Some("s"));
}

#[tokio::test]
async fn does_not_speak_to_whom_it_does_not_trust() {
    let master = master().await;
    let (port, _) = front(master.address).await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, other.cert.pem()).unwrap();
    let builder = builder(format!("https://localhost:{port}")).tls(Tls::authorities(&path).unwrap());
    let (_handle, mut events) = builder.build().unwrap();
    match soon(events.recv()).await {
        Some(Event::Retrying { reason, .. }) => assert!(reason.contains("certificate"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn says_what_is_wrong_with_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("empty.pem");
    std::fs::write(&path, "").unwrap();
    let error = Tls::authorities(&path).unwrap_err().to_string();
    assert!(error.contains("no certificate"), "{error}");
    assert!(Tls::authorities(dir.path().join("missing")).is_err());
}
