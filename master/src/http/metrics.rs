//! `/metrics/snapshot`: Mesos' names, as far as there is something behind them (src/master/metrics.cpp).

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderValue, Response, StatusCode};
use mezzo_api::{
    resources::{Resources, Scalar},
    time::parse_duration,
    v1,
};
use mezzo_master_core::{counters::Counters, model::FrameworkState};
use mezzo_server::{
    http::{answer, machine::Machine, query::Query},
    prometheus::Histogram,
};

use super::{App, body::Body};
use crate::{
    identity::seconds_since_epoch,
    server::{Input, Stopped},
    view::View,
};

/// Names and values, in the order of the names.
pub(super) type Metrics = BTreeMap<String, f64>;

/// `/metrics/snapshot`; its `timeout` is read, and met at any length.
pub(super) async fn snapshot(app: &Arc<App>, query: &Query) -> Result<String, Box<Response<Body>>> {
    if let Some(Err(error)) = query.get("timeout").map(parse_duration) {
        let text = format!("Invalid timeout '{}': {error}.\n", query.get("timeout").unwrap_or_default());
        return Err(Box::new(answer::text(StatusCode::BAD_REQUEST, text)));
    }
    match collect(app).await {
        Ok(metrics) => Ok(serde_json::to_string(&metrics).unwrap_or_default()),
        Err(stopped) => Err(Box::new(answer::text(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()))),
    }
}

/// `/metrics`, in the text format of Prometheus.
pub(super) async fn prometheus(app: &Arc<App>, headers: &HeaderMap) -> Response<Body> {
    let (metrics, histograms) = match measured(app).await {
        Ok(measured) => measured,
        Err(stopped) => return answer::text(StatusCode::SERVICE_UNAVAILABLE, stopped.to_string()),
    };
    as_text(&metrics, &histograms, headers).await
}

/// Some metrics, in the text format of Prometheus.
pub(super) async fn as_text(metrics: &Metrics, histograms: &[Histogram], headers: &HeaderMap) -> Response<Body> {
    let text = mezzo_server::prometheus::render(metrics, histograms);
    let content_type = HeaderValue::from_static(mezzo_server::prometheus::CONTENT_TYPE);
    answer::packed(headers, answer::of_type(StatusCode::OK, content_type, text.into())).await
}

/// Those of a master that does not lead.
pub(super) fn of_standby(start_time: f64) -> Metrics {
    let mut metrics = Metrics::new();
    metrics.extend(Machine::read().metrics().map(|(name, value)| (name.to_owned(), value)));
    constants(&mut metrics);
    picture(&mut metrics, &View::default());
    metrics.extend(Counters::default().iter().map(|(name, _)| (name.to_owned(), 0.0)));
    metrics.insert("master/elected".into(), 0.0);
    metrics.insert("registrar/log/recovered".into(), 0.0);
    metrics.insert("master/uptime_secs".into(), seconds_since_epoch() - start_time);
    metrics
}

/// All of a leader, by Mesos' names.
pub(super) async fn collect(app: &App) -> Result<Metrics, Stopped> {
    let (mut metrics, _) = measured(app).await?;
    metrics.remove(LONGEST_WAIT);
    Ok(metrics)
}

/// Mezzo's own, which is not among Mesos' names.
const LONGEST_WAIT: &str = "master/framework_longest_wait_for_offer_secs";

#[allow(clippy::cast_precision_loss)] // counts are shown as doubles
async fn measured(app: &App) -> Result<(Metrics, Vec<Histogram>), Stopped> {
    let mut metrics = Metrics::new();
    metrics.extend(Machine::read().metrics().map(|(name, value)| (name.to_owned(), value)));
    constants(&mut metrics);
    let waiting = app.core.waiting();
    let numbers = app.core.ask(Input::Metrics).await?;
    let view = app.published.snapshot();
    picture(&mut metrics, &view);
    metrics.insert("master/event_queue_messages".into(), waiting as f64);
    metrics.insert("master/http_cache_hits".into(), app.rendered.hits() as f64);
    metrics.insert("master/operator_event_stream_subscribers".into(), app.published.subscribers() as f64);
    metrics.insert("master/uptime_secs".into(), seconds_since_epoch() - app.identity.start_time);
    metrics.insert(LONGEST_WAIT.into(), numbers.frameworks.longest_wait(&view).as_secs_f64());
    if app.flags.publish_per_framework_metrics {
        numbers.frameworks.metrics(&view, &mut metrics);
    }
    metrics.extend(numbers.metrics);
    Ok((metrics, numbers.histograms))
}

/// What is always there, and the same on each leader: nothing waits in a queue when it answers.
fn constants(metrics: &mut Metrics) {
    metrics.insert("master/elected".into(), 1.0);
    metrics.insert("registrar/log/recovered".into(), 1.0);
    metrics.insert("registrar/log/ensemble_size".into(), 1.0);
    for name in [
        "allocator/event_queue_dispatches",
        "allocator/mesos/event_queue_dispatches",
        "master/event_queue_dispatches",
        "master/event_queue_http_requests",
    ] {
        metrics.insert(name.into(), 0.0);
    }
}

/// Operations that are known, by kind and state (src/master/metrics.cpp, OperationStates).
fn operations(metrics: &mut Metrics, view: &View) {
    use v1::{OperationState as State, offer::operation::Type as Kind};
    const STATES: [(&str, State); 8] = [
        ("pending", State::OperationPending),
        ("recovering", State::OperationRecovering),
        ("unreachable", State::OperationUnreachable),
        ("finished", State::OperationFinished),
        ("failed", State::OperationFailed),
        ("error", State::OperationError),
        ("dropped", State::OperationDropped),
        ("gone_by_operator", State::OperationGoneByOperator),
    ];
    const KINDS: [(&str, Option<Kind>); 9] = [
        ("", None),
        ("reserve/", Some(Kind::Reserve)),
        ("unreserve/", Some(Kind::Unreserve)),
        ("create/", Some(Kind::Create)),
        ("destroy/", Some(Kind::Destroy)),
        ("grow_volume/", Some(Kind::GrowVolume)),
        ("shrink_volume/", Some(Kind::ShrinkVolume)),
        ("create_disk/", Some(Kind::CreateDisk)),
        ("destroy_disk/", Some(Kind::DestroyDisk)),
    ];
    for (prefix, kind) in KINDS {
        let of_kind = || view.operations.values().filter(|one| kind.is_none_or(|kind| one.info.r#type() == kind));
        metrics.insert(format!("master/operations/{prefix}total"), count(of_kind().count()));
        for (name, state) in STATES {
            let in_state = of_kind().filter(|one| one.latest.state() == state).count();
            metrics.insert(format!("master/operations/{prefix}{name}"), count(in_state));
        }
    }
}

#[allow(clippy::cast_precision_loss)] // counts are shown as doubles
fn count(number: usize) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss)] // counts are shown as doubles
fn picture(metrics: &mut Metrics, view: &View) {
    let mut gauge = |name: &str, value: usize| metrics.insert(format!("master/{name}"), value as f64);
    let connected = view.agents.values().filter(|agent| agent.connected).count();
    let active = view.agents.values().filter(|agent| agent.active).count();
    gauge("slaves_connected", connected);
    gauge("slaves_disconnected", view.agents.len() - connected);
    gauge("slaves_active", active);
    gauge("slaves_inactive", view.agents.len() - active);
    gauge("slaves_unreachable", view.unreachable.len());
    let frameworks = view.present_frameworks().count();
    let active = view.present_frameworks().filter(|framework| framework.state == FrameworkState::Active).count();
    gauge("frameworks_connected", active);
    gauge("frameworks_disconnected", frameworks - active);
    gauge("frameworks_active", active);
    gauge("frameworks_inactive", frameworks - active);
    gauge("outstanding_offers", view.offers.len());
    operations(metrics, view);
    resources(metrics, view);
}

fn resources(metrics: &mut Metrics, view: &View) {
    type Part = fn(&Resources) -> Resources;
    let kinds: [(&str, Part); 2] = [("", Resources::non_revocable), ("_revocable", Resources::revocable)];
    for (suffix, part) in kinds {
        for name in ["cpus", "gpus", "mem", "disk"] {
            let amount = |of: &Resources| part(of).scalar(name);
            let total: Scalar = view.agents.values().map(|agent| amount(&agent.total)).sum();
            let used: Scalar = view.agents.values().map(|agent| amount(&agent.used)).sum();
            let (total, used) = (total.as_f64(), used.as_f64());
            let share = if total > 0.0 { used / total } else { 0.0 };
            metrics.insert(format!("master/{name}{suffix}_total"), total);
            metrics.insert(format!("master/{name}{suffix}_used"), used);
            metrics.insert(format!("master/{name}{suffix}_percent"), share);
        }
    }
}
