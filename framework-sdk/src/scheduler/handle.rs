//! The calls that a framework makes.

use bytes::Bytes;
use mezzo_api::v1::{
    self,
    scheduler::{Call, OfferConstraints, call},
};
use mezzo_sdk_core::scheduler::{CallError, calls};
use tokio::sync::{mpsc, oneshot};

use super::Command;

/// Makes calls; cheap to clone. Calls go out in the order in which they are made.
///
/// Those that return nothing are sent without waiting; should the master refuse one, an
/// [`Event::Rejected`](super::Event::Rejected) says so. After the driver's end they do nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

impl Handle {
    pub(super) fn new(commands: mpsc::UnboundedSender<Command>) -> Self {
        Self { commands }
    }

    /// Takes offers (all of one agent and one role) and uses them; what is left over is declined with `filters`.
    /// Every task that is launched is answered by a status, even if the call cannot be sent.
    pub fn accept(
        &self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        operations: Vec<v1::offer::Operation>,
        filters: Option<v1::Filters>,
    ) {
        self.send(calls::accept(offers.into_iter().collect(), operations, filters));
    }

    /// [`accept`](Self::accept) with one operation that launches these tasks.
    pub fn launch(
        &self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        tasks: Vec<v1::TaskInfo>,
        filters: Option<v1::Filters>,
    ) {
        self.accept(offers, vec![calls::launch(tasks)], filters);
    }

    /// Gives offers back. The same resources are not offered again for `filters.refuse_seconds` (5 s when unset).
    pub fn decline(&self, offers: impl IntoIterator<Item = v1::OfferId>, filters: Option<v1::Filters>) {
        self.send(calls::decline(offers.into_iter().collect(), filters));
    }

    /// Says that the maintenance of these agents suits.
    pub fn accept_inverse_offers(&self, offers: impl IntoIterator<Item = v1::OfferId>, filters: Option<v1::Filters>) {
        self.send(calls::accept_inverse_offers(offers.into_iter().collect(), filters));
    }

    /// Says that the maintenance of these agents does not suit.
    pub fn decline_inverse_offers(&self, offers: impl IntoIterator<Item = v1::OfferId>, filters: Option<v1::Filters>) {
        self.send(calls::decline_inverse_offers(offers.into_iter().collect(), filters));
    }

    /// Asks for offers for these roles (all when empty), and for what was declined before.
    pub fn revive(&self, roles: Vec<String>) {
        self.send(calls::revive(roles));
    }

    /// Asks for no offers for these roles (all when empty) until they are revived. Kept over reconnects.
    pub fn suppress(&self, roles: Vec<String>) {
        self.send(calls::suppress(roles));
    }

    /// Kills a task. May be repeated with a shorter grace.
    pub fn kill(&self, task: v1::TaskId, agent: Option<v1::AgentId>, policy: Option<v1::KillPolicy>) {
        self.send(calls::kill(task, agent, policy));
    }

    /// Acknowledges a status by hand; one that asks for no acknowledgement is passed over.
    pub fn acknowledge(&self, status: &v1::TaskStatus) {
        if let Some(call) = calls::acknowledge(status) {
            self.send(call);
        }
    }

    /// Acknowledges an operation's status by hand.
    pub fn acknowledge_operation(&self, status: &v1::OperationStatus) {
        if let Some(call) = calls::acknowledge_operation(status) {
            self.send(call);
        }
    }

    /// Asks for the latest status of these tasks, or of all that the master knows when empty. The driver asks by
    /// itself after each resubscription.
    pub fn reconcile(&self, tasks: Vec<call::reconcile::Task>) {
        self.send(calls::reconcile(tasks));
    }

    /// Asks for the latest status of these operations, or of all when empty.
    pub fn reconcile_operations(&self, operations: Vec<call::reconcile_operations::Operation>) {
        self.send(calls::reconcile_operations(operations));
    }

    /// Sends data to an executor; best effort.
    pub fn message(&self, agent: v1::AgentId, executor: v1::ExecutorId, data: impl Into<Bytes>) {
        self.send(calls::message(agent, executor, data.into()));
    }

    /// Shuts an executor down.
    pub fn shutdown_executor(&self, executor: v1::ExecutorId, agent: v1::AgentId) {
        self.send(calls::shutdown_executor(executor, agent));
    }

    /// Changes the framework's description, roles, suppressed roles and constraints.
    ///
    /// # Errors
    /// If the master refuses, or the driver ends before.
    pub async fn update_framework(
        &self,
        info: v1::FrameworkInfo,
        suppressed_roles: Vec<String>,
        offer_constraints: Option<OfferConstraints>,
    ) -> Result<(), CallError> {
        self.call(calls::update_framework(info, suppressed_roles, offer_constraints)).await
    }

    /// Removes the framework and kills all its tasks; the driver ends. Waits for the master if it is away.
    ///
    /// # Errors
    /// If the master refuses, or the driver ends before.
    pub async fn teardown(&self) -> Result<(), CallError> {
        self.call(calls::teardown()).await
    }

    /// Makes any call and waits for the master's answer. The framework id is filled in.
    ///
    /// # Errors
    /// If the call had no effect, or none that is known.
    pub async fn call(&self, call: Call) -> Result<(), CallError> {
        let (answer, outcome) = oneshot::channel();
        self.commands.send(Command::Call(Box::new(call), Some(answer))).map_err(|_| CallError::Ended)?;
        outcome.await.unwrap_or(Err(CallError::Ended))
    }

    fn send(&self, call: Call) {
        self.send_boxed(Box::new(call));
    }

    pub(super) fn send_boxed(&self, call: Box<Call>) {
        // when the driver has ended, its last event has told
        let _ = self.commands.send(Command::Call(call, None));
    }

    /// Sends acknowledgements, and leaves none behind.
    pub(super) fn acknowledge_all(&self, calls: &mut Vec<Call>) {
        if !calls.is_empty() {
            let _ = self.commands.send(Command::Handled(std::mem::take(calls)));
        }
    }
}
