//! A scheduler that is run: what it stores, when it acknowledges, how it fails over.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use mezzo_api::v1::{
    self,
    scheduler::{Call, call},
};
use mezzo_sdk::{
    Context, Scheduler,
    scheduler::{EndReason, Ended, FRAMEWORK_ID, RunError},
    store::{Change, MemoryStore, Store, StoreError, StoreFuture},
};

use super::{
    scheduler::{builder, master, subscribed, update},
    server::{Received, Server, Subscription, soon},
};

/// Stores each status, and notes what it was told.
#[derive(Default)]
struct Keeps {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Keeps {
    fn note(&self, what: &str) {
        self.seen.lock().unwrap().push(what.to_owned());
    }
}

impl Scheduler for Keeps {
    fn restored(&mut self, _: &mut Context<'_>, stored: &BTreeMap<String, Bytes>) {
        self.note(&format!("restored {:?}", stored.keys().collect::<Vec<_>>()));
    }

    fn known_tasks(&self) -> Vec<call::reconcile::Task> {
        vec![call::reconcile::Task { task_id: v1::TaskId { value: "old".into() }, agent_id: None }]
    }

    fn updated(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        self.note(&status.task_id.value);
        context.put(format!("task/{}", status.task_id.value), "seen");
        if status.task_id.value == "last" {
            context.stop();
        }
    }

    fn ended(&mut self, _: &mut Context<'_>, reason: &EndReason) {
        self.note(&reason.to_string());
    }
}

async fn accepted(master: &mut Server) -> Subscription {
    let subscription = master.subscription().await;
    subscription.accept("s");
    subscription.send(&subscribed());
    subscription
}

async fn next_call(master: &mut Server) -> Call {
    master.call().await.read()
}

#[tokio::test]
async fn a_status_is_stored_and_then_acknowledged_and_a_later_run_fails_over() {
    let mut master = master().await;
    let (store, scheduler) = (MemoryStore::new(), Keeps::default());
    let run = tokio::spawn(builder(master.address.to_string()).scheduler(scheduler, store.clone()).run());
    let subscription = accepted(&mut master).await;
    subscription.send(&update("first", 1));
    let acknowledged = next_call(&mut master).await;
    assert_eq!(acknowledged.acknowledge.unwrap().task_id.value, "first");
    assert_eq!(store.entries().keys().collect::<Vec<_>>(), [FRAMEWORK_ID, "task/first"]);
    subscription.send(&update("last", 2));
    let (_, ended) = soon(run).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Stopped);
    assert_eq!(store.entries().len(), 3, "what was asked for before the stop was stored");

    let scheduler = Keeps::default();
    let seen = scheduler.seen.clone();
    let run = builder(master.address.to_string()).scheduler(scheduler, store.clone());
    let control = run.control();
    let run = tokio::spawn(run.run());
    let subscription = accepted(&mut master).await;
    let subscribe: Call = subscription.request.read();
    assert_eq!(subscribe.framework_id.unwrap().value, "F");
    let asked = |call: &Call| {
        call.r#type() == call::Type::Reconcile && call.reconcile.as_ref().is_some_and(|ask| ask.tasks.len() == 1)
    };
    while !asked(&next_call(&mut master).await) {} // for the task of the earlier run, and for whatever there is
    assert_eq!(seen.lock().unwrap()[0], r#"restored ["task/first", "task/last"]"#);
    control.with(|_, context| context.tear_down()).await.unwrap();
    let (_, ended) = soon(run).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Driver(EndReason::TornDown));
    assert!(!store.entries().contains_key(FRAMEWORK_ID), "an id that is gone is not kept");
    assert!(control.with(|_, _| ()).await.is_err());
}

/// Has room for the framework's id alone.
struct Broken;

impl Store for Broken {
    fn load(&mut self) -> StoreFuture<'_, BTreeMap<String, Bytes>> {
        Box::pin(async { Ok(BTreeMap::new()) })
    }

    fn apply(&mut self, changes: Vec<Change>) -> StoreFuture<'_, ()> {
        let task = |change: &Change| matches!(change, Change::Put(key, _) if key.starts_with("task/"));
        let result = if changes.iter().any(task) { Err(StoreError::Key("full".into())) } else { Ok(()) };
        Box::pin(async { result })
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_acknowledged() {
    let mut master = master().await;
    let calls = Arc::new(Mutex::new(Vec::<Received>::new()));
    let noted = calls.clone();
    master.answer_calls(move |call| {
        noted.lock().unwrap().push(call.clone());
        super::server::Reply::status(202)
    });
    let run = tokio::spawn(builder(master.address.to_string()).scheduler(Keeps::default(), Broken).run());
    let subscription = accepted(&mut master).await;
    subscription.send(&update("first", 1));
    assert!(matches!(soon(run).await.unwrap(), Err(RunError::Store(_))));
    let kinds: Vec<_> = calls.lock().unwrap().iter().map(|call| call.read::<Call>().r#type()).collect();
    assert!(!kinds.contains(&call::Type::Acknowledge), "{kinds:?}");
}

/// Needs nothing of its own.
struct Idle;

impl Scheduler for Idle {}

#[tokio::test]
async fn the_defaults_decline_offers_and_let_agents_go_to_maintenance() {
    let mut master = master().await;
    let run = tokio::spawn(builder(master.address.to_string()).scheduler(Idle, MemoryStore::new()).run());
    let subscription = accepted(&mut master).await;
    let offer = v1::Offer { id: v1::OfferId { value: "O1".into() }, ..Default::default() };
    let inverse = v1::InverseOffer { id: v1::OfferId { value: "I1".into() }, ..Default::default() };
    subscription.send(&v1::scheduler::Event {
        r#type: Some(v1::scheduler::event::Type::Offers as i32),
        offers: Some(v1::scheduler::event::Offers { offers: vec![offer] }),
        ..Default::default()
    });
    assert_eq!(next_call(&mut master).await.decline.unwrap().offer_ids[0].value, "O1");
    subscription.send(&v1::scheduler::Event {
        r#type: Some(v1::scheduler::event::Type::InverseOffers as i32),
        inverse_offers: Some(v1::scheduler::event::InverseOffers { inverse_offers: vec![inverse] }),
        ..Default::default()
    });
    assert_eq!(next_call(&mut master).await.accept_inverse_offers.unwrap().inverse_offer_ids[0].value, "I1");
    run.abort();
}
