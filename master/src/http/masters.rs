//! Who stands for election: the web page shows the masters, and looks for another one when its own does not answer.

use http::{Request, Response};
use mezzo_api::v1::MasterInfo;
use mezzo_server::http::{answer, query::Query};
use serde_json::json;

use super::{Node, body::Body};
use crate::identity::authority_of;

/// `/ui/masters`: `{"masters": [{"id", "address"}, …]}`, the leader first.
pub(super) async fn serve<B>(node: &Node, request: &Request<B>) -> Response<Body> {
    let masters = node.masters();
    let listed: Vec<_> =
        masters.iter().map(|master| json!({ "id": master.id, "address": authority_of(master) })).collect();
    let body = json!({ "masters": listed }).to_string();
    answer::json(request.headers(), &Query::default(), body.into()).await
}

/// Where the page may ask besides its own master, for its Content-Security-Policy: with a space before each. What is no
/// plain `host:port` is left out, as it could end the directive.
pub(super) fn sources(masters: &[MasterInfo]) -> String {
    let plain = |address: &String| {
        address.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':'))
    };
    masters.iter().map(authority_of).filter(plain).map(|address| format!(" {address}")).collect()
}

#[cfg(test)]
mod tests {
    use mezzo_election::fixed;

    use super::*;

    #[test]
    fn names_hosts_and_nothing_that_could_be_a_directive() {
        let masters = [fixed("m1.example", 5050), fixed("evil; script-src *", 1), fixed("10.0.0.2", 5051)];
        assert_eq!(sources(&masters), " m1.example:5050 10.0.0.2:5051");
        assert_eq!(sources(&[]), "");
    }
}
