//! `mezzo doctor`: looks at a cluster from where it is run, and says what is wrong and what to do.

use std::{
    net::ToSocketAddrs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use mezzo_api::MEZZO_VERSION;
use mezzo_sdk::Address;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use super::{Cluster, Failure, OK, Options, REFUSED, show};
use crate::http::{Http, escape};

const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks that differ by more make logs and timeouts hard to read; `Date` itself tells whole seconds.
const MAX_SKEW_SECONDS: f64 = 5.0;
/// Agents whose clocks are looked at.
const MAX_AGENTS: usize = 50;
/// Connections, links and sandboxes want descriptors.
const MIN_FILES: u64 = 4096;

/// What was looked at.
#[derive(Debug, Default)]
struct Findings(Vec<(Verdict, String)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Warning,
    Wrong,
}

impl Findings {
    fn add(&mut self, verdict: Verdict, text: impl Into<String>) {
        self.0.push((verdict, text.into()));
    }
}

/// Everything that can be seen from here.
pub(super) async fn run(options: &Options) -> Result<u8, Failure> {
    let mut cluster = Cluster::of(options)?;
    let mut findings = Findings::default();
    own_limits(&mut findings);
    for master in cluster.masters().to_vec() {
        one_master(&master, &mut findings).await;
    }
    match cluster.leader().await {
        Ok(leader) => {
            findings.add(Verdict::Good, format!("{leader} leads"));
            if cluster.masters().is_empty() {
                one_master(&leader, &mut findings).await;
            }
            agents(&mut cluster, &leader, &mut findings).await;
            metrics(&mut cluster, &mut findings).await;
        }
        Err(error) => findings.add(Verdict::Wrong, error.to_string()),
    }
    print(&findings, options.json);
    let wrong = findings.0.iter().any(|(verdict, _)| *verdict == Verdict::Wrong);
    Ok(if wrong { REFUSED } else { OK })
}

fn print(findings: &Findings, as_json: bool) {
    let word = |verdict: Verdict| match verdict {
        Verdict::Good => "ok",
        Verdict::Warning => "warning",
        Verdict::Wrong => "wrong",
    };
    if as_json {
        let all = findings.0.iter().map(|(verdict, text)| json!({"verdict": word(*verdict), "text": text}));
        show::json(&all.collect());
        return;
    }
    for (verdict, text) in &findings.0 {
        println!("{:<8} {text}", word(*verdict));
    }
}

fn own_limits(findings: &mut Findings) {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft < MIN_FILES => findings.add(
            Verdict::Warning,
            format!("a process here may open {soft} files only: a master or agent wants {MIN_FILES} (ulimit -n, LimitNOFILE=)"),
        ),
        Ok((soft, _)) => findings.add(Verdict::Good, format!("a process here may open {soft} files")),
        Err(error) => findings.add(Verdict::Warning, format!("the limit of open files cannot be read: {error}")),
    }
}

async fn one_master(master: &Address, findings: &mut Findings) {
    match (master.host.as_str(), master.port).to_socket_addrs() {
        Ok(found) if found.len() > 0 => {}
        Ok(_) => findings.add(Verdict::Wrong, format!("{}: the name stands for no address", master.host)),
        Err(error) => {
            findings.add(Verdict::Wrong, format!("{}: the name cannot be resolved: {error}", master.host));
            return;
        }
    }
    let mut http = Http::new(master.clone());
    let sent = now();
    let answer = match tokio::time::timeout(PATIENCE, http.send("GET", "/version", None, Bytes::new())).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            return findings.add(Verdict::Wrong, format!("{error}: is the master started, and its port open?"));
        }
        Err(_) => {
            let text = format!("{master} does not answer within {} s: is a firewall between?", PATIENCE.as_secs());
            return findings.add(Verdict::Wrong, text);
        }
    };
    let version: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match version.get("mezzo_version").and_then(Value::as_str) {
        Some(MEZZO_VERSION) => findings.add(Verdict::Good, format!("{master} answers, version {MEZZO_VERSION}")),
        Some(other) => findings.add(
            Verdict::Warning,
            format!("{master} has version {other}, this program {MEZZO_VERSION}: some verbs may not fit"),
        ),
        None => findings.add(
            Verdict::Warning,
            format!("{master} is no master of Mezzo, it says it is version '{}'", show::text(&version, "version")),
        ),
    }
    skew(&master.to_string(), answer.date.as_deref(), sent, findings);
}

/// Compares the moment that an answer names with ours.
fn skew(who: &str, date: Option<&str>, sent: f64, findings: &mut Findings) {
    let Some(theirs) = date.and_then(http_date) else { return };
    let (early, late) = (sent - theirs - 1.0, theirs - now());
    let off = early.max(late);
    if off > MAX_SKEW_SECONDS {
        findings
            .add(Verdict::Wrong, format!("{who}: its clock and the one here differ by {off:.0} s: run NTP on both"));
    }
}

async fn agents(cluster: &mut Cluster, leader: &Address, findings: &mut Findings) {
    let answer = match cluster.get("/slaves").await {
        Ok(answer) => answer,
        Err(failure) => return findings.add(Verdict::Wrong, format!("/slaves: {failure}")),
    };
    let agents = show::list(&answer, "slaves");
    let active = agents.iter().filter(|agent| agent["active"] == true).count();
    let verdict = if agents.is_empty() { Verdict::Warning } else { Verdict::Good };
    findings.add(verdict, format!("{active} of {} agents are active", agents.len()));
    for agent in agents.iter().filter(|agent| agent["active"] != true && agent["deactivated"] != true) {
        let text = format!(
            "agent {} on {} is registered and not connected: see its log, and the way from it to {leader}",
            show::text(agent, "id"),
            show::text(agent, "hostname")
        );
        findings.add(Verdict::Wrong, text);
    }
    let recovered = show::list(&answer, "recovered_slaves").len();
    if recovered > 0 {
        let text = format!("{recovered} agents of the registry have not come back to this leader yet");
        findings.add(Verdict::Warning, text);
    }
    let mut http = Http::new(leader.clone());
    for agent in agents.iter().filter(|agent| agent["active"] == true).take(MAX_AGENTS) {
        let id = show::text(agent, "id");
        let path = format!("/agent/{}/version", escape(&id));
        let sent = now();
        match tokio::time::timeout(PATIENCE, http.send("GET", &path, None, Bytes::new())).await {
            Ok(Ok(answer)) if answer.status == 200 => {
                skew(&format!("agent {id}"), answer.date.as_deref(), sent, findings);
                let version: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let version = show::text(&version, "mezzo_version");
                if version != MEZZO_VERSION {
                    findings.add(
                        Verdict::Warning,
                        format!("agent {id} has version {version}, this program {MEZZO_VERSION}"),
                    );
                }
            }
            Ok(Ok(answer)) => {
                findings.add(Verdict::Wrong, format!("agent {id} answers {} through its link", answer.status));
            }
            Ok(Err(error)) => findings.add(Verdict::Wrong, format!("agent {id}, through its link: {error}")),
            Err(_) => findings.add(
                Verdict::Wrong,
                format!("agent {id} does not answer through its link within {} s", PATIENCE.as_secs()),
            ),
        }
    }
}

/// Numbers of the leader that are out of the ordinary.
async fn metrics(cluster: &mut Cluster, findings: &mut Findings) {
    let metrics = match cluster.get("/metrics/snapshot").await {
        Ok(metrics) => metrics,
        Err(failure) => return findings.add(Verdict::Wrong, format!("/metrics/snapshot: {failure}")),
    };
    let value = |name: &str| metrics.get(name).and_then(Value::as_f64).unwrap_or_default();
    for name in ["cpus", "mem"] {
        let percent = 100.0 * value(&format!("master/{name}_percent"));
        if percent > 90.0 {
            findings.add(Verdict::Warning, format!("{percent:.0} % of the cluster's {name} is used"));
        }
    }
    if value("master/slaves_unreachable") > 0.0 {
        let text = format!("{} agents are unreachable", value("master/slaves_unreachable"));
        findings.add(Verdict::Warning, text);
    }
    if value("registrar/state_store_ms/p99") > 1000.0 {
        let text = "writes of the registry take more than a second: the master's disk, or ZooKeeper, is slow";
        findings.add(Verdict::Wrong, text);
    }
    if value("master/uptime_secs") < 60.0 {
        findings.add(Verdict::Warning, format!("the leader started {:.0} s ago", value("master/uptime_secs")));
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `Tue, 24 Nov 2026 19:03:20 GMT` as seconds since the epoch.
fn http_date(text: &str) -> Option<f64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let month = i64::try_from(MONTHS.iter().position(|name| name == month)?).ok()? + 1;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let mut clock = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since the epoch of a civil date, the year beginning in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    #[allow(clippy::cast_precision_loss)] // seconds of this century fit
    Some((days * 86_400 + hours * 3600 + minutes * 60 + seconds) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_date_of_an_answer() {
        assert_eq!(http_date("Tue, 24 Nov 2026 19:03:20 GMT"), Some(1_795_547_000.0));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0.0));
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn clocks_that_differ_are_found() {
        let mut findings = Findings::default();
        skew("m", Some("Thu, 01 Jan 1970 00:00:00 GMT"), now(), &mut findings);
        assert!(findings.0[0].1.contains("NTP"), "{findings:?}");
    }
}
