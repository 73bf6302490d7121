//! The policy: one volume, made once; one entry after the other, each by a task; everything so that it can be killed at any
//! moment and go on.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use mezzo_sdk::{
    Context, Scheduler,
    offers::refuse_for,
    scheduler::Subscribed,
    v1::{self, OperationState, TaskState},
};

use crate::volume;

/// Of the store: the agent with the volume, how many entries are surely written, and the one that perhaps is.
const PLACE: &str = "place";
const WRITTEN: &str = "written";
const PENDING: &str = "pending";
/// Of the store: the task that writes it.
const TASK: &str = "task";

pub(crate) struct Journal {
    entries: VecDeque<String>,
    destroys: bool,
    place: Option<String>,
    written: u64,
    /// Operations whose outcome is not known yet.
    operations: BTreeSet<String>,
    /// What an earlier run of this program left behind is known.
    reconciled: bool,
    running: Option<String>,
    /// So that no task id is used twice.
    launches: u64,
    done: bool,
}

impl Journal {
    pub(crate) fn new(entries: Vec<String>, destroys: bool) -> Self {
        Self {
            entries: entries.into(),
            destroys,
            place: None,
            written: 0,
            operations: BTreeSet::new(),
            reconciled: false,
            running: None,
            launches: 0,
            done: false,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// What is to be done with the offer, if anything.
    fn use_for(&mut self, context: &mut Context<'_>, offer: &v1::Offer) -> Option<Vec<v1::offer::Operation>> {
        if !self.reconciled || self.running.is_some() || !self.operations.is_empty() {
            return None;
        }
        let Some(place) = &self.place else {
            let operations = volume::make(offer)?;
            // Stored first: whoever is killed now looks for the volume there, and does not make another one.
            context.put(PLACE, offer.agent_id.value.clone());
            self.place = Some(offer.agent_id.value.clone());
            self.operations.extend([volume::RESERVE, volume::CREATE].map(str::to_owned));
            return Some(operations);
        };
        if *place != offer.agent_id.value {
            return None;
        }
        let (volume, beside) = volume::find(offer)?;
        if self.destroys {
            self.operations.extend([volume::DESTROY, volume::UNRESERVE].map(str::to_owned));
            return Some(volume::unmake(volume, beside));
        }
        Some(vec![mezzo_sdk::scheduler::calls::launch(vec![self.task(context, offer, volume, beside)?])])
    }

    fn task(
        &mut self,
        context: &mut Context<'_>,
        offer: &v1::Offer,
        volume: v1::Resource,
        beside: Vec<v1::Resource>,
    ) -> Option<v1::TaskInfo> {
        let entry = self.entries.front()?.clone();
        context.put(PENDING, entry.clone());
        self.launches += 1;
        let id = format!("entry-{:.6}-{}", context.now().timestamp(), self.launches);
        context.put(TASK, id.clone());
        self.running = Some(id.clone());
        // A second try finds that the first one has written, if it has.
        let command = format!(
            "touch data/journal; lines() {{ wc -l < data/journal; }}; \
             [ $(lines) -gt {before} ] || printf '%s\\n' \"$ENTRY\" >> data/journal; [ $(lines) -eq {after} ]",
            before = self.written,
            after = self.written + 1,
        );
        let variable = v1::environment::Variable { name: "ENTRY".into(), value: Some(entry), ..Default::default() };
        Some(v1::TaskInfo {
            name: "entry".into(),
            task_id: v1::TaskId { value: id },
            agent_id: offer.agent_id.clone(),
            resources: beside.into_iter().chain([volume]).collect(),
            command: Some(v1::CommandInfo {
                value: Some(command),
                environment: Some(v1::Environment { variables: vec![variable] }),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// Nothing is left to write: the framework stays registered, for the next run.
    fn end_if_done(&mut self, context: &mut Context<'_>) {
        if self.entries.is_empty() && !self.destroys {
            println!("{} entries are in the journal", self.written);
            self.done = true;
            context.stop();
        }
    }
}

impl Scheduler for Journal {
    fn restored(&mut self, context: &mut Context<'_>, stored: &BTreeMap<String, Bytes>) {
        let text = |key: &str| stored.get(key).map(|value| String::from_utf8_lossy(value).into_owned());
        self.place = text(PLACE);
        self.written = text(WRITTEN).and_then(|text| text.parse().ok()).unwrap_or_default();
        self.running = text(TASK);
        // What an earlier run may not have finished comes first.
        if let Some(entry) = text(PENDING).filter(|_| !self.destroys) {
            self.entries.push_front(entry);
        }
        self.end_if_done(context);
    }

    fn known_tasks(&self) -> Vec<v1::scheduler::call::reconcile::Task> {
        let agent_id = self.place.clone().map(|value| v1::AgentId { value });
        let question = |id: &String| v1::scheduler::call::reconcile::Task {
            task_id: v1::TaskId { value: id.clone() },
            agent_id: agent_id.clone(),
        };
        self.running.iter().map(question).collect()
    }

    fn subscribed(&mut self, _: &mut Context<'_>, subscribed: &Subscribed) {
        self.reconciled = !subscribed.again; // the first time there is nothing to ask about
    }

    fn reconciled(&mut self, context: &mut Context<'_>) {
        self.reconciled = true;
        context.revive();
    }

    fn disconnected(&mut self, _: &mut Context<'_>, _: &str) {
        self.reconciled = false;
    }

    fn offered(&mut self, context: &mut Context<'_>, offers: Vec<v1::Offer>) {
        for offer in offers {
            match self.use_for(context, &offer) {
                // What is left over, and what comes of it, is wanted again at once.
                Some(operations) => context.accept([offer.id], operations, refuse_for(Duration::ZERO)),
                None => context.decline([offer.id], refuse_for(Duration::from_secs(1))),
            }
        }
    }

    fn operation_updated(&mut self, context: &mut Context<'_>, status: &v1::OperationStatus) {
        let Some(id) = status.operation_id.as_ref().map(|id| id.value.as_str()) else { return };
        println!("{id}: {} {}", status.state().as_str_name(), status.message());
        if matches!(status.state(), OperationState::OperationPending | OperationState::OperationUnreachable) {
            return;
        }
        self.operations.remove(id);
        match (id, status.state()) {
            (volume::UNRESERVE, OperationState::OperationFinished) => {
                self.done = true;
                [PLACE, WRITTEN, PENDING, TASK].into_iter().for_each(|key| context.remove(key));
                context.tear_down();
            }
            // It was not carried out: where the volume should be is open again.
            (volume::RESERVE, state) if state != OperationState::OperationFinished => {
                context.remove(PLACE);
                self.place = None;
                context.revive();
            }
            _ => context.revive(),
        }
    }

    fn updated(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        let id = status.task_id.value.as_str();
        match status.state() {
            TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskRunning | TaskState::TaskKilling => {
                return;
            }
            TaskState::TaskUnreachable => return, // as long as nothing is known, nobody else writes
            _ if self.running.as_deref() != Some(id) => return,
            TaskState::TaskFinished => {
                let entry = self.entries.pop_front().unwrap_or_default();
                self.written += 1;
                println!("written: {entry}");
                context.put(WRITTEN, self.written.to_string());
                context.remove(PENDING);
            }
            state => eprintln!("{id}: {} {}: once more", state.as_str_name(), status.message()),
        }
        self.running = None;
        context.remove(TASK);
        self.end_if_done(context);
        context.revive();
    }
}
